"""Predictions as messages: JSON, one event each; or Arrow IPC streams of many events each."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, repeat
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from loadgen.columns import Column, Columns, Floats, Predictions
from loadgen.producer import Message

_encode = msgspec.json.Encoder().encode
_DIGITS: Final = 6
Encode = Callable[[Columns], Iterable[Message]]


def json_messages(predictions: Predictions) -> list[Message]:
    """One JSON message per prediction. NaN becomes null."""
    response = predictions.response
    columns: dict[str, Iterable[Any]] = {
        "event_id": predictions.event_id,
        "ts_ms": predictions.ts_ms.tolist(),
        "model": repeat(predictions.model),
        "model_version": repeat(predictions.model_version),
        "latency_ms": _listed(response.latency_ms),
    }
    columns.update({name: _listed(column) for name, column in _optional(predictions).items()})
    columns["status"] = response.status.tolist()
    columns["segment"] = _objects(predictions.segment, len(predictions))
    columns["features"] = _objects(predictions.features, len(predictions))
    if response.gen_ai:
        columns["gen_ai"] = _objects(response.gen_ai, len(predictions))
    # A loop and not a map: other threads of this process get their turn between two events.
    values = [_encode(event) for event in map(_shape(tuple(columns)), *columns.values())]
    return list(map(Message, predictions.ts_ms.tolist(), map(str.encode, _keys(predictions)), values))


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
        "latency_ms": _arrow(response.latency_ms),
        "status": _arrow(response.status),
    }
    arrays.update({name: _arrow(column) for name, column in _optional(predictions).items()})
    nested: dict[str, dict[str, Any]] = {
        "segment": predictions.segment,
        "features": predictions.features,
        "gen_ai": response.gen_ai,
    }
    # A struct without fields has no length.
    arrays.update({name: _struct(columns) for name, columns in nested.items() if columns})
    batch = pa.record_batch(list(arrays.values()), names=list(arrays))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return [Message(int(predictions.ts_ms[-1]), _keys(predictions)[0].encode(), sink.getvalue().to_pybytes(), n)]


def messages(seconds: Iterable[Sequence[Columns]], encode: Encode) -> Iterator[Message]:
    """The messages of a mix, second by second, all models merged by event time."""
    for models in seconds:
        yield from by_time(encode(predictions) for predictions in models)


def by_time(parts: Iterable[Iterable[Message]]) -> list[Message]:
    """Messages of several sources in one order; what falls together stays in the order of its sources."""
    return sorted(chain.from_iterable(parts), key=attrgetter("ts_ms"))


def _optional(predictions: Predictions) -> dict[str, Column]:
    response = predictions.response
    columns = {
        "score": response.score,
        "decision": response.decision,
        "cost_usd": response.cost_usd,
        "host": predictions.host,
        "gpu_uuid": predictions.gpu_uuid,
    }
    return {name: column for name, column in columns.items() if column is not None}


def _keys(predictions: Predictions) -> list[str]:
    return predictions.event_id if predictions.key is None else predictions.key.tolist()


@lru_cache(maxsize=256)
def _shape(names: tuple[str, ...]) -> type[msgspec.Struct]:
    """A struct of these fields: the quickest object to fill, and to encode."""
    places = {f"f{place}": name for place, name in enumerate(names)}
    return msgspec.defstruct("Event", list(places), rename=places, gc=False)


def _listed(column: Column) -> list[Any]:
    """Python values of a column: floats rounded to what matters, NaN as None, which JSON writes as null."""
    if not np.issubdtype(column.dtype, np.floating):
        return list(column.tolist())
    numbers: Floats = column.astype(np.float64)
    values: list[Any] = np.round(numbers, _DIGITS).tolist()
    for place in np.flatnonzero(np.isnan(numbers)):
        values[place] = None
    return values


def _objects(columns: dict[str, Any], n: int) -> Iterable[Any]:
    if not columns:
        return repeat({}, n)
    return map(_shape(tuple(columns)), *(_listed(column) for column in columns.values()))


def _arrow(column: Column) -> pa.Array:
    if not np.issubdtype(column.dtype, np.floating):
        return pa.array(column.tolist()).dictionary_encode()
    return pa.array(column, from_pandas=True)


def _struct(columns: dict[str, Any]) -> pa.Array:
    return pa.StructArray.from_arrays([_arrow(column) for column in columns.values()], names=list(columns))
