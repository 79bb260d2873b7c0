"""Arrow IPC messages into frames: whole columns of all messages that have the same schema, nothing copied for one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from schemas.codecs.arrow_views import index_array
from schemas.codecs.ipc_guard import Size, schema_bytes, size_of
from schemas.codecs.limits import Limits
from schemas.codecs.morgue import Morgue
from schemas.columns import Ints, Reason

ARROW_ERRORS: Final = (
    pa.ArrowException, OSError, ValueError, TypeError, LookupError, NotImplementedError, MemoryError, OverflowError,
)  # fmt: skip
"""What pyarrow raises for bytes that are not what they say."""


_IN_PARTS: Final = frozenset({"event_id"})
"""Columns of which few rows are ever read: they stay in as many pieces as they came in."""


class ColumnError(ValueError):
    """A column that cannot be what its name says."""


@dataclass(frozen=True, slots=True)
class Message:
    """The record batches of one message."""

    record: int
    batches: Sequence[Any]
    rows: int


class Frame:
    """Columns of n events: ``record`` and ``index`` int64[n] say which message's, and which of its events."""

    def __init__(self, columns: dict[str, Any], record: Ints, index: Ints) -> None:
        self.columns = columns
        self.record = record
        self.index = index

    def __len__(self) -> int:
        return len(self.record)

    def get(self, path: str) -> pa.Array | None:
        """The column at ``a`` or ``a/b``: a flat column ``a.b``, or the field ``b`` of a struct column ``a``."""
        flat = self.columns.get(path.replace("/", "."))
        if flat is not None or "/" not in path:
            return flat
        outer, inner = path.split("/")
        column = self.columns.get(outer)
        if column is None or pa.types.is_null(column.type):
            return None
        if not pa.types.is_struct(column.type):
            raise ColumnError(f"column `{outer}` is {column.type}, expected a struct")
        return children(column).get(inner)

    def filtered(self, keep: Ints) -> "Frame":
        """The events at places ``keep``."""
        at = index_array(keep)
        columns = {name: column.take(at) for name, column in self.columns.items()}
        return Frame(columns, self.record[keep], self.index[keep])


def children(column: pa.Array) -> dict[str, Any]:
    """The fields of a struct column, null where the struct is; of fields with one name the last."""
    kind = column.type
    fields = column.flatten() if column.null_count else [column.field(place) for place in range(kind.num_fields)]
    return {kind.field(place).name: field for place, field in enumerate(fields)}


def frame(messages: Sequence[Message]) -> Frame:
    """One frame of all events of messages that share a schema."""
    batches = [batch for message in messages for batch in message.batches if batch.num_rows]
    record = np.repeat([message.record for message in messages], [message.rows for message in messages])
    index = np.concatenate([np.arange(message.rows) for message in messages])
    names = batches[0].schema.names
    if len(batches) == 1:
        return Frame(dict(zip(names, batches[0].columns, strict=True)), record, index)
    whole = pa.Table.from_batches(batches).unify_dictionaries()
    columns = {
        name: column if name in _IN_PARTS else _whole(column) for name, column in zip(names, whole.columns, strict=True)
    }
    return Frame(columns, record, index)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def read(records: Sequence[int], payloads: Sequence[bytes], limits: Limits, morgue: Morgue) -> list[list[Message]]:
    """The readable messages, those with the same schema together; the others go to the morgue."""
    by_schema: dict[bytes, list[Message]] = {}
    for record, payload in zip(records, payloads, strict=True):
        try:
            too_large = _excess(size_of(payload), limits)
            if too_large:
                morgue.add(record, Reason.TOO_LARGE, too_large)
                continue
            message = _read_one(record, payload)
        except ARROW_ERRORS as error:
            morgue.add(record, Reason.INVALID_ARROW, str(error) or type(error).__name__)
            continue
        if message.rows > limits.max_events_per_message:
            text = f"{message.rows} events in one message, at most {limits.max_events_per_message} are read"
            morgue.add(record, Reason.TOO_LARGE, text, message.rows)
        elif not message.rows:
            morgue.add(record, Reason.NULL_VALUE, "an Arrow stream without an event")
        else:
            by_schema.setdefault(schema_bytes(payload), []).append(message)
    return list(by_schema.values())


def _excess(size: Size, limits: Limits) -> str:
    """What of a message is too much, ``""`` for nothing."""
    if size.decompressed_bytes > limits.max_decompressed_bytes:
        return f"{size.decompressed_bytes} bytes when decompressed, at most {limits.max_decompressed_bytes} are read"
    if size.values > limits.max_values_per_message:
        return f"{size.values} values in all columns together, at most {limits.max_values_per_message} are read"
    return ""


def _read_one(record: int, payload: bytes) -> Message:
    with pa.ipc.open_stream(pa.py_buffer(payload)) as stream:
        batches = list(stream)
        # offsets and indices come from outside: nothing may follow them before they are known to stay within bounds
        for batch in batches:
            batch.validate(full=True)
        return Message(record, batches, sum(batch.num_rows for batch in batches))
