"""Fetched batches, taken apart within bounds: what a producer sends must neither fill the memory nor stop the reader.

aiokafka decompresses a batch whatever becomes of it, so that some kilobytes make gigabytes; and it raises for a record
whose headers are not UTF-8, again and again, because the next fetch brings the same record. Here a batch is opened in a
buffer of limited size. One that does not fit, or cannot be read, is passed on as it was stored, as one record in the
place of all: whoever decodes it finds a :class:`~schemas.codecs.refused.Refused`, which goes to the dead letters.
"""

import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import cramjam
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

from schemas.codecs.refused import Refused
from schemas.columns import Reason

MAX_HEADERS: Final = 1_000
"""Of one record; further ones are not read."""

_PREFIX: Final = struct.Struct(">qi")
_ATTRIBUTES_AT: Final = 21
_COUNT_AT: Final = 57
_HEAD_BYTES: Final = 61
_CODEC: Final = 0x07
_LOOKED_INTO_BYTES: Final = 1 << 20
"""In smaller batches so many headers that they matter find no room; in larger ones they are counted beforehand."""
_FIRST_BUFFER_BYTES: Final = 4 << 20
_KEPT_BUFFER_BYTES: Final = 16 << 20
_FULL: Final = "failed to write whole buffer"
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEAD_BYTES: Final = 16
_UNREADABLE: Final = (CorruptRecordException, cramjam.DecompressionError, ValueError, IndexError, struct.error)

_buffers = threading.local()


class _TooLargeError(Exception):
    """It would become more than it may."""


@dataclass(frozen=True, slots=True)
class _StandIn:
    """One record in the place of several."""

    offset: int
    timestamp: int
    timestamp_type: int
    value: bytes | None
    key: bytes | None = None
    checksum: None = None
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)


class BoundedRecords:
    """What a fetch brought of one partition, for aiokafka's fetcher: it asks for one batch after the other.

    Parameters
    ----------
    data
        Batches as they are stored; the last may be cut short.
    max_bytes
        What a batch may become when it is decompressed.
    """

    @classmethod
    def within(cls, max_bytes: int) -> "Callable[[bytes], BoundedRecords]":
        """What takes the place of aiokafka's class, for all consumers of a process: it has no other place for it."""
        return partial(cls, max_bytes=max_bytes)

    def __init__(self, data: bytes, max_bytes: int) -> None:
        self._records = MemoryRecords(data)
        self._data = memoryview(data)
        self._at = 0
        self._max_bytes = max_bytes

    def size_in_bytes(self) -> int:
        """As it was fetched."""
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        """Whether another whole batch is there."""
        return bool(self._records.has_next())

    def next_batch(self) -> Any:  # noqa: ANN401 - one of aiokafka's batches, or ours in its place
        """The next batch, None after the last."""
        batch: Any = self._records.next_batch()
        if batch is None:
            return None
        end = self._at + _PREFIX.size + _PREFIX.unpack_from(self._data, self._at)[1]
        raw, self._at = self._data[self._at : end], end
        # Batches of the old formats are not written by any broker that is supported.
        return batch if batch.magic < 2 or batch.is_control_batch else _Bounded(batch, raw, self._max_bytes)


class _Bounded:
    """A batch that is taken apart when it is iterated over; what else the fetcher asks of it is the batch's own."""

    def __init__(self, batch: Any, raw: memoryview, max_bytes: int) -> None:  # noqa: ANN401 - likewise
        self._batch, self._raw, self._max_bytes = batch, raw, max_bytes
        self.validate_crc: Callable[[], bool] = batch.validate_crc
        self.producer_id: int = batch.producer_id
        self.base_offset: int = batch.base_offset
        self.next_offset: int = batch.next_offset
        self.is_control_batch: bool = batch.is_control_batch
        self.is_transactional: bool = batch.is_transactional

    def __iter__(self) -> Iterator[Any]:
        taken = 0
        try:
            for record in self._opened():
                yield record if len(record.headers) <= MAX_HEADERS else _with_fewer_headers(record)
                taken += 1
        except _TooLargeError as error:
            yield self._refused(Reason.TOO_LARGE, str(error), taken)
        except _UNREADABLE as error:
            yield self._refused(Reason.INVALID_BATCH, f"the batch cannot be read: {error}", taken)

    def _opened(self) -> Any:  # noqa: ANN401 - likewise
        codec = self._batch.attributes & _CODEC
        if not codec:
            _look_into(self._raw[_HEAD_BYTES:])
            return self._batch
        payload = _decompressed(codec, self._raw[_HEAD_BYTES:], self._max_bytes)
        _look_into(payload)
        return type(self._batch)(_uncompressed(self._raw, payload))

    def _refused(self, reason: Reason, words: str, taken: int) -> _StandIn:
        count: int = struct.unpack_from(">i", self._raw, _COUNT_AT)[0]
        left = max(min(count, self.next_offset - self.base_offset) - taken, 1)
        value = Refused.of(self._raw, reason, words, left)
        return _StandIn(self.next_offset - 1, self._batch.max_timestamp, self._batch.timestamp_type, value)


def _with_fewer_headers(record: Any) -> _StandIn:  # noqa: ANN401 - likewise
    return _StandIn(
        record.offset, record.timestamp, record.timestamp_type, record.value, record.key,
        headers=record.headers[:MAX_HEADERS],
    )  # fmt: skip


def _uncompressed(raw: memoryview, payload: memoryview) -> bytes:
    """The same batch as if it had never been compressed."""
    head = bytearray(raw[:_HEAD_BYTES])
    head[_ATTRIBUTES_AT + 1] &= ~_CODEC & 0xFF
    _PREFIX.pack_into(head, 0, _PREFIX.unpack_from(raw)[0], _HEAD_BYTES - _PREFIX.size + len(payload))
    return b"".join((head, payload))


def _look_into(payload: memoryview) -> None:
    """Raise where a large batch holds a record with too many headers: each would take fifty times its size."""
    if len(payload) <= _LOOKED_INTO_BYTES:
        return
    # aiokafka's function takes nothing but a bytearray.
    buffer, at = bytearray(payload), 0
    while at < len(buffer):
        length, begin = decode_varint(buffer, at)
        if length < 0:
            raise ValueError("a record of negative length")
        if length > 2 * MAX_HEADERS:
            count = _headers_at(buffer, begin)
            if count > MAX_HEADERS:
                raise _TooLargeError(f"a record with {count} headers, at most {MAX_HEADERS} are read")
        at = begin + length


def _headers_at(buffer: bytearray, at: int) -> int:
    """How many headers the record says it has whose attributes stand at ``at``."""
    _, at = decode_varint(buffer, at + 1)
    _, at = decode_varint(buffer, at)
    for _ in ("key", "value"):
        size, at = decode_varint(buffer, at)
        at += max(size, 0)
    return int(decode_varint(buffer, at)[0])


# -- decompression within a bound ------------------------------------------------------------------------------------


def _decompressed(codec: int, data: memoryview, max_bytes: int) -> memoryview:
    """The payload, in a buffer that is used again by the next call in this thread."""
    size = min(max(_FIRST_BUFFER_BYTES, len(getattr(_buffers, "buffer", b""))), max_bytes)
    while True:
        free = memoryview(_buffer(size))[:size]
        try:
            count = _INTO[codec](data, free)
        except KeyError:
            raise ValueError(f"compression {codec} is not known") from None
        except cramjam.DecompressionError as error:
            if _FULL not in str(error):
                raise
            if size >= max_bytes:
                raise _TooLargeError(f"more than {max_bytes} bytes when decompressed") from None
            size = min(4 * size, max_bytes)
        else:
            return free[:count]


def _buffer(size: int) -> bytearray:
    known: bytearray | None = getattr(_buffers, "buffer", None)
    if known is not None and len(known) >= size:
        return known
    buffer = bytearray(size)
    if size <= _KEPT_BUFFER_BYTES:
        _buffers.buffer = buffer  # what is larger comes too seldom to be held for ever
    return buffer


def _snappy_into(data: memoryview, free: memoryview) -> int:
    if bytes(data[:8]) != _XERIAL:
        return _block_into(data, free)
    at, filled = _XERIAL_HEAD_BYTES, 0
    while at < len(data):
        size: int = struct.unpack_from("!i", data, at)[0]
        if size <= 0:
            raise ValueError("a block of no length")
        filled += _block_into(data[at + 4 : at + 4 + size], free[filled:])
        at += 4 + size
    return filled


def _block_into(block: memoryview, free: memoryview) -> int:
    # The block says itself how long it becomes, and is believed only where there is room.
    if cramjam.snappy.decompress_raw_len(block) > len(free):
        raise cramjam.DecompressionError(_FULL)
    return int(cramjam.snappy.decompress_raw_into(block, free))


_INTO: Final[dict[int, Callable[[memoryview, memoryview], int]]] = {
    1: cramjam.gzip.decompress_into,
    2: _snappy_into,
    3: cramjam.lz4.decompress_into,
    4: cramjam.zstd.decompress_into,
}
"""Kafka's number of a codec → decompresses into a buffer, returns how many bytes, raises when there is no room."""
