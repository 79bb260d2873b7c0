"""Messages of every family: JSON, one event each; or Arrow IPC streams of many events each."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from loadgen.columns import Columns, FeatureReads, GpuSamples, Labels, Predictions
from loadgen.encode import arrow_messages, json_messages
from loadgen.producer import Message

_encode = msgspec.json.Encoder().encode


def json_of(columns: Columns) -> list[Message]:
    """One JSON message per event."""
    if isinstance(columns, Predictions):
        return json_messages(columns)
    keys, fields = _keys(columns), _fields(columns)
    names = list(fields)
    rows = zip(*(_listed(values) for values in fields.values()), strict=True)
    events = (dict(zip(names, row, strict=True)) for row in rows)
    return [
        Message(ts_ms, key.encode(), _encode({name: value for name, value in event.items() if value is not None}))
        for ts_ms, key, event in zip(columns.ts_ms.tolist(), keys, events, strict=True)
    ]


def arrow_of(columns: Columns) -> list[Message]:
    """One Arrow IPC stream with all the events, or nothing if there are none."""
    if isinstance(columns, Predictions):
        return arrow_messages(columns)
    if not len(columns):
        return []
    fields = _fields(columns)
    batch = pa.record_batch([_arrow(name, values) for name, values in fields.items()], names=list(fields))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return [Message(int(columns.ts_ms[-1]), _keys(columns)[0].encode(), sink.getvalue().to_pybytes(), len(columns))]


def _keys(columns: Labels | FeatureReads | GpuSamples) -> list[str]:
    match columns:
        case Labels():
            return columns.event_id
        case FeatureReads():
            return list(columns.key.tolist())
        case GpuSamples():
            return list(columns.gpu_uuid.tolist())


def _fields(columns: Labels | FeatureReads | GpuSamples) -> dict[str, Any]:
    """Message field → a list, an array, or a mapping of those."""
    n = len(columns)
    match columns:
        case Labels():
            model = [columns.model] * n
            return {"event_id": columns.event_id, "ts_ms": columns.ts_ms, "model": model, "label": columns.label}
        case FeatureReads():
            return {
                "event_id": columns.event_id,
                "ts_ms": columns.ts_ms,
                "feature_set": [columns.feature_set] * n,
                "model": [columns.model] * n,
                "values": columns.values,
                "source_ts_ms": columns.source_ts_ms,
            }
        case GpuSamples():
            return {
                "ts_ms": columns.ts_ms,
                "host": [columns.host] * n,
                "gpu_uuid": columns.gpu_uuid,
                "gpu_index": columns.gpu_index,
                "gpu_name": [columns.gpu_name] * n,
                "model": [columns.model] * n,
                **columns.gauges,
                "clocks_event_reasons": columns.clocks_event_reasons,
                "xid": columns.xid,
            }


def _listed(values: Any) -> list[Any]:  # noqa: ANN401 - a list, an array or a mapping of arrays
    if isinstance(values, Mapping):
        rows = zip(*(_listed(column) for column in values.values()), strict=True)
        return [dict(zip(values, row, strict=True)) for row in rows]
    if not isinstance(values, np.ndarray):
        return list(values)
    listed: list[Any] = values.tolist()
    if values.dtype.kind == "f":
        for place in np.flatnonzero(np.isnan(values)).tolist():
            listed[place] = None
    return listed


def _arrow(name: str, values: Any) -> pa.Array:  # noqa: ANN401 - a list, an array or a mapping of arrays
    if isinstance(values, Mapping):
        return pa.StructArray.from_arrays([_arrow(each, column) for each, column in values.items()], names=list(values))
    if name == "xid":
        return pa.array([list(codes) for codes in values], pa.list_(pa.int64()))
    if isinstance(values, np.ndarray) and values.dtype.kind != "U":
        return pa.array(values, from_pandas=True)
    texts = pa.array(values.tolist() if isinstance(values, np.ndarray) else values)
    return texts if name == "event_id" else texts.dictionary_encode()
