"""What is inserted together: messages of the ``rows`` topic, gathered per table. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import msgspec

from schemas import rows
from schemas.columns import Reason
from streams.stage import ConsumerRecord, TopicPartition

MAX_LOAD_BYTES: Final = 4 << 20
"""Of messages: some 19,000 histograms of 30 cells. Decoded into Python's numbers they take eleven times as much."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that could be decoded: rows of one table."""

    tp: TopicPartition
    record: ConsumerRecord[bytes, bytes]
    batch: rows.RowBatch


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that can never be inserted, and why."""

    record: ConsumerRecord[bytes, bytes]
    reason: Reason
    message: str


@dataclass(slots=True)
class Load:
    """Messages that go to ClickHouse together, one insert per table.

    Attributes
    ----------
    tables
        Logical table → its messages; a table leaves when its rows are acknowledged.
    rejected
        What goes to the dead letters.
    ends
        What may be committed once both are empty: the offset after the last message of each partition.
    rows, size_bytes
        Rows to insert, and bytes of all messages, as they were added.
    since_s
        When the first message was added, on the monotonic clock.
    """

    since_s: float
    tables: dict[str, list[Message]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    ends: dict[TopicPartition, int] = field(default_factory=dict)
    rows: int = 0
    size_bytes: int = 0

    def add(self, tp: TopicPartition, record: ConsumerRecord[bytes, bytes]) -> None:
        """Take one message; one that cannot be decoded is kept for the dead letters."""
        decoded = decode(tp, record)
        if isinstance(decoded, Rejected):
            self.rejected.append(decoded)
        elif len(decoded.batch):
            self.tables.setdefault(decoded.batch.table, []).append(decoded)
            self.rows += len(decoded.batch)
        self.size_bytes += len(record.value or b"")
        self.ends[tp] = record.offset + 1

    def full(self, batch_rows: int) -> bool:
        """Whether it should be sent without waiting for more."""
        return self.rows >= batch_rows or self.size_bytes >= MAX_LOAD_BYTES


def decode(tp: TopicPartition, record: ConsumerRecord[bytes, bytes]) -> Message | Rejected:
    """The rows of one message, or why there are none."""
    if record.value is None:
        return Rejected(record, Reason.NULL_VALUE, "a row batch without a value")
    try:
        return Message(tp, record, rows.decode(record.value))
    except msgspec.ValidationError as error:
        return Rejected(record, Reason.SCHEMA_MISMATCH, str(error))
    except msgspec.DecodeError as error:
        return Rejected(record, Reason.INVALID_FRAMING, str(error))


def merged(messages: Sequence[Message]) -> list[list[Any]]:
    """The columns of all messages of one table, in order."""
    if len(messages) == 1:
        return list(messages[0].batch.columns)
    columns: list[list[Any]] = [[] for _ in messages[0].batch.columns]
    for message in messages:
        for column, more in zip(columns, message.batch.columns, strict=True):
            column.extend(more)
    return columns


def token(table: str, messages: Sequence[Message]) -> str:
    """Names an insert: the same for the same messages, different for any others.

    ClickHouse drops an insert whose token it has seen, whatever its rows. Offsets alone would not do: a topic that was
    created anew has other rows under the same offsets. So the rows' own bytes are part of it.
    """
    digest = blake2b(table.encode(), digest_size=16)
    for message in messages:
        value = message.record.value or b""
        digest.update(f"\0{message.tp.topic}\0{message.tp.partition}\0{message.record.offset}\0{len(value)}\0".encode())
        digest.update(value)
    return f"{table}-{digest.hexdigest()}"
