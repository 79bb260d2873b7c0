"""Predictions as messages: JSON, one event each; or Arrow IPC streams of many events each."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from loadgen.columns import Column, Floats, Predictions
from loadgen.producer import Message

_encoder = msgspec.json.Encoder()
_DIGITS: Final = 6
Encode = Callable[[Predictions], Iterable[Message]]


def json_messages(predictions: Predictions) -> list[Message]:
    """One JSON message per prediction. NaN becomes null."""
    response = predictions.response
    columns: dict[str, list[Any]] = {"latency_ms": _listed(response.latency_ms)}
    if response.score is not None:
        columns["score"] = _listed(response.score)
    if response.decision is not None:
        columns["decision"] = response.decision.tolist()
    if response.cost_usd is not None:
        columns["cost_usd"] = _listed(response.cost_usd)
    columns["status"] = response.status.tolist()
    columns["segment"] = _objects(predictions.segment, len(predictions))
    columns["features"] = _objects(predictions.features, len(predictions))
    if response.gen_ai:
        columns["gen_ai"] = _objects(response.gen_ai, len(predictions))
    head = {"model": predictions.model, "model_version": predictions.model_version}
    encoded = []
    rows = zip(*columns.values(), strict=True)
    for event_id, ts_ms, row in zip(predictions.event_id, predictions.ts_ms.tolist(), rows, strict=True):
        event = {"event_id": event_id, "ts_ms": ts_ms, **head, **dict(zip(columns, row, strict=True))}
        encoded.append(Message(ts_ms, event_id.encode(), _encoder.encode(event)))
    return encoded


def arrow_messages(predictions: Predictions) -> list[Message]:
    """One Arrow IPC stream with all the predictions, or nothing if there are none."""
    if not len(predictions):
        return []
    response = predictions.response
    n = len(predictions)
    arrays: dict[str, pa.Array] = {
        "event_id": pa.array(predictions.event_id),
        "ts_ms": pa.array(predictions.ts_ms),
        "model": pa.array([predictions.model] * n).dictionary_encode(),
        "model_version": pa.array([predictions.model_version] * n).dictionary_encode(),
        "segment": _struct(predictions.segment),
        "latency_ms": _arrow(response.latency_ms),
        "status": _arrow(response.status),
        "features": _struct(predictions.features),
    }
    optional = {"score": response.score, "decision": response.decision, "cost_usd": response.cost_usd}
    arrays.update({name: _arrow(column) for name, column in optional.items() if column is not None})
    if response.gen_ai:
        arrays["gen_ai"] = _struct(response.gen_ai)
    batch = pa.record_batch(list(arrays.values()), names=list(arrays))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return [Message(int(predictions.ts_ms[-1]), predictions.event_id[0].encode(), sink.getvalue().to_pybytes(), n)]


def messages(seconds: Iterable[Sequence[Predictions]], encode: Encode = json_messages) -> Iterator[Message]:
    """The messages of a mix, second by second, all models merged by event time."""
    for models in seconds:
        yield from merge(*(encode(predictions) for predictions in models), key=lambda message: message.ts_ms)


def _listed(column: Column) -> list[Any]:
    """Python values of a column: floats rounded to what matters, NaN as None, which JSON writes as null."""
    if not np.issubdtype(column.dtype, np.floating):
        return list(column.tolist())
    numbers: Floats = column.astype(np.float64)
    values: list[Any] = np.round(numbers, _DIGITS).tolist()
    for place in np.flatnonzero(np.isnan(numbers)):
        values[place] = None
    return values


def _objects(columns: dict[str, Any], n: int) -> list[dict[str, Any]]:
    if not columns:
        return [{} for _ in range(n)]
    names = list(columns)
    rows = zip(*(_listed(column) for column in columns.values()), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _arrow(column: Column) -> pa.Array:
    if not np.issubdtype(column.dtype, np.floating):
        return pa.array(column.tolist()).dictionary_encode()
    return pa.array(column, from_pandas=True)


def _struct(columns: dict[str, Any]) -> pa.Array:
    return pa.StructArray.from_arrays([_arrow(column) for column in columns.values()], names=list(columns))
