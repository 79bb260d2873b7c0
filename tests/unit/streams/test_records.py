"""Fetched batches are opened within bounds, and one that cannot be read stops nobody."""

import struct
from typing import Any

import cramjam
import pytest
from aiokafka.record.memory_records import MemoryRecords

from schemas.codecs.refused import Refused
from schemas.columns import Reason
from streams.records import MAX_HEADERS, BoundedRecords
from tests.harness.batches import CODEC_AT, CODECS, COUNT_AT, HEAD, TIME_MS, Headers, batch, hand_made, with_crc

MIB = 1 << 20
PACKED = [name for name in CODECS if name != "none"]


def read(data: bytes, max_bytes: int = 64 * MIB) -> list[Any]:
    """All records, as aiokafka's fetcher takes them."""
    records, found = BoundedRecords(data, max_bytes), []
    while records.has_next():
        one = records.next_batch()
        assert one.validate_crc()
        found += list(one)
    return found


def seen(records: list[Any]) -> list[tuple[Any, ...]]:
    return [(r.offset, r.timestamp, r.timestamp_type, r.key, r.value, list(r.headers)) for r in records]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [1, 1_000, 3 * MIB])
def test_good_batches_are_read_as_the_client_reads_them(codec: str, size: int) -> None:
    headers: Headers = [("a", b"1"), ("b", None)]
    data = batch(codec, b"x" * size, b"y", headers=headers) + batch(codec, b"z", base=2)
    theirs, stock = [], MemoryRecords(data)
    while stock.has_next():
        theirs += list(stock.next_batch() or ())
    assert seen(read(data)) == seen(theirs)
    assert [record.offset for record in theirs] == [0, 1, 2]


@pytest.mark.parametrize("codec", PACKED)
def test_a_bomb_is_passed_on_as_it_is(codec: str) -> None:
    bomb = batch(codec, *[b"\0" * MIB] * 20, base=7)
    good = batch(codec, b"good", base=27)

    first, second = read(bomb + good, max_bytes=4 * MIB)

    assert (second.offset, second.value) == (27, b"good")
    # The last offset of the batch: what is read next, and what is committed, follows it.
    assert (first.offset, first.timestamp, first.key) == (26, TIME_MS + 19, None)
    assert isinstance(first.value, Refused)
    assert (bytes(first.value), first.value.events) == (bomb, 20)
    assert first.value.reason is Reason.TOO_LARGE
    assert "4194304 bytes" in first.value.words


@pytest.mark.parametrize("codec", PACKED)
def test_what_fits_exactly_is_read(codec: str) -> None:
    data = batch(codec, b"\0" * MIB)
    whole = len(batch("none", b"\0" * MIB)) - HEAD
    assert read(data, max_bytes=whole)[0].value == b"\0" * MIB
    assert isinstance(read(data, max_bytes=whole - 1)[0].value, Refused)


def test_snappy_in_blocks_is_bounded_too() -> None:
    body = b"\x82SNAPPY\x00" + struct.pack("!ii", 1, 1)
    for _ in range(8):
        block = bytes(cramjam.snappy.compress_raw(b"\0" * MIB))
        body += struct.pack("!i", len(block)) + block
    (record,) = read(hand_made(2, body), max_bytes=4 * MIB)
    assert record.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("size", [-4, 0, 1 << 30])
def test_snappy_blocks_that_lie_about_their_length(size: int) -> None:
    # A negative length sent the client's own loop round for ever.
    (record,) = read(hand_made(2, b"\x82SNAPPY\x00" + struct.pack("!iii", 1, 1, size) + b"xxxx"))
    assert record.value.reason is Reason.INVALID_BATCH


@pytest.mark.parametrize("codec", range(1, 8))
def test_what_is_not_compressed_as_it_says(codec: int) -> None:
    (record,) = read(hand_made(codec, b"this is nothing of the kind", count=3))
    assert record.value.reason is Reason.INVALID_BATCH
    assert record.value.events == 3


def test_headers_that_are_not_utf_8_stop_nobody() -> None:
    spoilt = batch("none", b"a", b"b", b"c", headers=[("name", b"")]).replace(b"name", b"na\xffe", 3)
    spoilt = with_crc(spoilt.replace(b"na\xffe", b"name", 1))
    with pytest.raises(UnicodeDecodeError):
        list(MemoryRecords(spoilt).next_batch() or ())

    good, rest, after = read(spoilt + batch("none", b"after", base=3))

    assert (good.value, after.value) == (b"a", b"after")
    assert (rest.offset, rest.value.reason, rest.value.events) == (2, Reason.INVALID_BATCH, 2)
    assert bytes(rest.value) == spoilt


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_headers_beyond_the_bound_are_not_read(codec: str) -> None:
    headers: Headers = [(str(number), b"") for number in range(MAX_HEADERS + 5)]
    few, many = batch(codec, b"few", headers=headers[:-5]), batch(codec, b"many", headers=headers, base=1)
    first, second = read(few + many)
    assert [len(record.headers) for record in (first, second)] == [MAX_HEADERS, MAX_HEADERS]
    assert (second.offset, second.value, second.key, second.headers[0]) == (1, b"many", b"key", ("0", b""))


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_a_record_of_nothing_but_headers_is_refused_before_it_is_parsed(codec: str) -> None:
    headers: Headers = [("", None)] * 600_000
    (record,) = read(batch(codec, b"value", headers=headers))
    assert record.value.reason is Reason.TOO_LARGE
    assert "600000 headers" in record.value.words


def test_a_count_that_cannot_be_true_counts_no_more_than_there_are_offsets() -> None:
    raw = bytearray(hand_made(3, b"nothing", count=3))
    struct.pack_into(">i", raw, COUNT_AT, 2_000_000_000)
    (record,) = read(with_crc(bytes(raw)))
    assert record.value.events == 3


def test_a_broken_checksum_is_left_to_the_client() -> None:
    raw = bytearray(batch("lz4", b"value"))
    raw[17] ^= 1
    assert not BoundedRecords(bytes(raw), MIB).next_batch().validate_crc()


def test_a_batch_that_is_cut_short_waits_for_the_next_fetch() -> None:
    whole, cut = batch("lz4", b"value"), batch("lz4", b"other", base=1)[:-1]
    records = BoundedRecords(whole + cut, MIB)
    assert records.size_in_bytes() == len(whole + cut)
    assert [record.value for record in records.next_batch()] == [b"value"]
    assert not records.has_next()
    assert records.next_batch() is None


def test_markers_of_transactions_are_the_clients_own_business() -> None:
    raw = bytearray(batch("none", b"\0\0\0\0\0\0"))
    raw[CODEC_AT] |= 0x20
    assert type(BoundedRecords(with_crc(bytes(raw)), MIB).next_batch()) is type(MemoryRecords(bytes(raw)).next_batch())
