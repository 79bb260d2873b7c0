"""How large an Arrow IPC stream will be in memory, read from its headers before anything is decompressed.

A few kilobytes of zstd can hold terabytes of zeros. The IPC format puts the uncompressed length in front of every
compressed buffer and the lengths of all buffers into a flatbuffer header, so the sum is known without the library.
"""

import struct
from typing import Final

_CONTINUATION: Final = 0xFFFFFFFF
_DICTIONARY_BATCH: Final = 2
_RECORD_BATCH: Final = 3
_MAX_METADATA: Final = 2**31


def decompressed_bytes(stream: bytes) -> int:
    """Bytes that the compressed buffers of ``stream`` take once they are decompressed; 0 where none is.

    Raises
    ------
    ValueError
        When the headers point outside of the stream.
    """
    total, at = 0, 0
    try:
        while at + 8 <= len(stream):
            continuation, size = struct.unpack_from("<II", stream, at)
            if continuation != _CONTINUATION or size == 0 or size >= _MAX_METADATA:
                break
            body = at + 8 + size
            length, needed = _message(stream, at + 8, body)
            total += needed
            if length < 0:
                raise ValueError("an IPC message with a negative body length")
            at = body + length
    except struct.error as error:
        raise ValueError("an IPC header that points outside of the message") from error
    return total


def _message(raw: bytes, at: int, body: int) -> tuple[int, int]:
    """Body length of the flatbuffer ``Message`` at ``at``, and the bytes its buffers decompress to."""
    table = at + _u32(raw, at)
    kind_at, header_at, length_at = (_field(raw, table, number) for number in (1, 2, 3))
    length = struct.unpack_from("<q", raw, length_at)[0] if length_at else 0
    kind = raw[kind_at] if kind_at and 0 <= kind_at < len(raw) else 0
    if not header_at or kind not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return length, 0
    batch = header_at + _u32(raw, header_at)
    if kind == _DICTIONARY_BATCH:
        data_at = _field(raw, batch, 1)
        if not data_at:
            return length, 0
        batch = data_at + _u32(raw, data_at)
    return length, _batch(raw, batch, body)


def _batch(raw: bytes, batch: int, body: int) -> int:
    buffers_at = _field(raw, batch, 2)
    if not buffers_at or not _field(raw, batch, 3):
        return 0  # not compressed: what is in memory is what is in the message
    vector = buffers_at + _u32(raw, buffers_at)
    needed = 0
    for number in range(_u32(raw, vector)):
        offset, length = struct.unpack_from("<qq", raw, vector + 4 + 16 * number)
        if length < 0 or offset < 0:
            raise ValueError("an IPC buffer with a negative offset or length")
        if length >= 8:
            said = struct.unpack_from("<q", raw, body + offset)[0]
            needed += max(said, 0)  # -1 marks a buffer that was left as it is
    return needed


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
