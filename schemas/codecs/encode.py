"""Encoders for producers and tests: one event as JSON, many as one Arrow IPC stream."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

_json: Final = msgspec.json.Encoder()
_UNIQUE: Final = frozenset({"event_id", "trace_id"})
"""Texts that hardly ever repeat."""


def encode_json(event: msgspec.Struct) -> bytes:
    """One event as JSON, the fields that are not set left out.

    Examples
    --------
    >>> from schemas.predictions import Prediction
    >>> encode_json(Prediction(ts_ms=1767225600000, model="cards", score=0.25))
    b'{"ts_ms":1767225600000,"model":"cards","score":0.25}'
    """
    return _json.encode(event)


def encode_arrow(events: Sequence[msgspec.Struct] | Mapping[str, Any]) -> bytes:
    """Many events as one Arrow IPC stream (``application/vnd.apache.arrow.stream``).

    Parameters
    ----------
    events
        Structs of one family, or columns: field → array or list, or a mapping of those for ``segment``, ``features``,
        ``values`` and ``gen_ai``. Columns are much faster.

    Raises
    ------
    ValueError
        When structs differ in the names of their features or segments, or columns in length: one schema holds for
        the whole stream. Encode such events apart.
    """
    columns = events if isinstance(events, Mapping) else _columns(events)
    table = pa.table({name: _array(name, values) for name, values in columns.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded


def _array(name: str, values: object) -> pa.Array:
    if isinstance(values, Mapping):
        children = [_array(child, column) for child, column in values.items()]
        return pa.StructArray.from_arrays(children, names=list(values))
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    array = pa.array(values, from_pandas=isinstance(values, np.ndarray))
    # texts that repeat travel once, and need not be looked up again by whoever reads them
    return array.dictionary_encode() if pa.types.is_string(array.type) and name not in _UNIQUE else array


def _columns(events: Sequence[msgspec.Struct]) -> dict[str, Any]:
    rows = [msgspec.to_builtins(event) for event in events]
    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        columns[name] = _nested(name, values) if any(isinstance(value, dict) for value in values) else values
    return columns


def _nested(name: str, values: list[Any]) -> pa.Array:
    """A struct column, null where an event has none."""
    names = {frozenset(value) for value in values if value is not None}
    if name != "gen_ai" and len(names) > 1:
        raise ValueError(f"events differ in the names of their {name}: encode those of one schema at a time")
    children = list(dict.fromkeys(child for value in values for child in value or ()))
    arrays = [_array(child, [None if value is None else value.get(child) for value in values]) for child in children]
    null = pa.array([value is None for value in values])
    return pa.StructArray.from_arrays(arrays, names=children, mask=null)
