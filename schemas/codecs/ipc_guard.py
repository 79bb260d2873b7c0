"""How large an Arrow IPC stream will be in memory, read from its headers before anything is decompressed.

A few kilobytes of zstd can hold terabytes of zeros. The IPC format puts the uncompressed length in front of every
compressed buffer and the lengths of all buffers into a flatbuffer header, so the sum is known without the library.

Columns can also be long without any bytes: a list of two thousand million nulls takes four. Their declared lengths
stand in the same headers. Dictionaries count again for each batch behind them, because each batch brings them along.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_CONTINUATION: Final = 0xFFFFFFFF
_DICTIONARY_BATCH: Final = 2
_RECORD_BATCH: Final = 3
_MAX_METADATA: Final = 2**31
_KNOWN_BYTES: Final = 4_096
"""Longer headers are not remembered."""
_HEAD: Final = struct.Struct("<II").unpack_from
_I64: Final = struct.Struct("<q").unpack_from


@dataclass(frozen=True, slots=True)
class Size:
    """What a stream comes to.

    Attributes
    ----------
    decompressed_bytes
        That its compressed buffers take once they are decompressed; 0 where none is.
    values
        Entries of all columns, of what is nested in them, and of the dictionaries they use.
    """

    decompressed_bytes: int
    values: int


@dataclass(frozen=True, slots=True)
class _Header:
    """A message: its kind, the length of its body, entries of its columns, where compressed buffers begin."""

    kind: int
    length: int
    values: int = 0
    buffers: tuple[int, ...] = ()


def size_of(stream: bytes) -> Size:
    """How large ``stream`` is.

    Raises
    ------
    ValueError
        When the headers point outside of the stream.
    """
    total, values, words, at = 0, 0, 0, 0
    try:
        while at + 8 <= len(stream):
            continuation, size = _HEAD(stream, at)
            if continuation != _CONTINUATION or size == 0 or size >= _MAX_METADATA:
                break
            body = at + 8 + size
            header = (_known if size <= _KNOWN_BYTES else _header)(stream[at + 8 : body])
            for offset in header.buffers:
                said: int = _I64(stream, body + offset)[0]
                total += max(said, 0)  # -1 marks a buffer that was left as it is
            if header.kind == _DICTIONARY_BATCH:
                words += header.values
            elif header.kind == _RECORD_BATCH:
                values += header.values + words
            at = body + header.length
    except struct.error as error:
        raise ValueError("an IPC header that points outside of the message") from error
    return Size(total, values)


def _header(raw: bytes) -> _Header:
    """What the flatbuffer ``Message`` says."""
    table = _u32(raw, 0)
    kind_at, header_at, length_at = (_field(raw, table, number) for number in (1, 2, 3))
    length: int = _I64(raw, length_at)[0] if length_at else 0
    if length < 0:
        raise ValueError("an IPC message with a negative body length")
    kind = raw[kind_at] if kind_at and 0 <= kind_at < len(raw) else 0
    if not header_at or kind not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return _Header(kind, length)
    batch = header_at + _u32(raw, header_at)
    if kind == _DICTIONARY_BATCH:
        data_at = _field(raw, batch, 1)
        if not data_at:
            return _Header(kind, length)
        batch = data_at + _u32(raw, data_at)
    return _Header(kind, length, _values(raw, batch), _compressed(raw, batch))


_known = lru_cache(maxsize=512)(_header)
"""Messages of one producer have the same few headers, but for the lengths of their texts."""


def _values(raw: bytes, batch: int) -> int:
    nodes_at = _field(raw, batch, 1)
    if not nodes_at:
        return 0
    vector = nodes_at + _u32(raw, nodes_at)
    lengths = struct.unpack_from(f"<{2 * _u32(raw, vector)}q", raw, vector + 4)[::2]
    if min(lengths, default=0) < 0:
        raise ValueError("an IPC column with a negative length")
    return sum(lengths)


def _compressed(raw: bytes, batch: int) -> tuple[int, ...]:
    buffers_at = _field(raw, batch, 2)
    if not buffers_at or not _field(raw, batch, 3):
        return ()  # not compressed: what is in memory is what is in the message
    vector = buffers_at + _u32(raw, buffers_at)
    found = []
    for number in range(_u32(raw, vector)):
        offset, length = struct.unpack_from("<qq", raw, vector + 4 + 16 * number)
        if length < 0 or offset < 0:
            raise ValueError("an IPC buffer with a negative offset or length")
        if length >= 8:
            found.append(offset)
    return tuple(found)


def schema_bytes(stream: bytes) -> bytes:
    """The schema message at the beginning of a stream: equal bytes are equal schemas."""
    return stream[: 8 + _u32(stream, 4)]


def _u32(raw: bytes, at: int) -> int:
    if at < 0:
        raise ValueError("an IPC header that points outside of the message")
    value: int = struct.unpack_from("<I", raw, at)[0]
    return value


def _field(raw: bytes, table: int, number: int) -> int:
    """Place of a field of a flatbuffer table, 0 when it is not there."""
    back: int = struct.unpack_from("<i", raw, table)[0]
    vtable = table - back
    if vtable < 0 or table < 0:
        raise ValueError("an IPC header that points outside of the message")
    size, slot = struct.unpack_from("<H", raw, vtable)[0], 4 + 2 * number
    if slot + 2 > size:
        return 0
    offset: int = struct.unpack_from("<H", raw, vtable + slot)[0]
    return table + offset if offset else 0
