"""Snapshots: whole or not at all, whoever dies between two messages."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from streams.compacted import CompactedReader
from streams.errors import HalcyonError
from streams.state import CHUNK_BYTES, KafkaStateStore


class DeadError(Exception):
    """The worker dies here."""


class Topic:
    """A compacted topic: a producer that may die, and readers of what it left behind."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes | None] = {}
        self.sends_left = 1_000_000
        self.open = 0
        self.most_open = 0

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] | None = None,
        partition: int | None = None,
    ) -> None:
        del topic, headers, partition
        if not self.sends_left:
            raise DeadError
        self.sends_left -= 1
        self.records[key or b""] = value
        self.open += len(value or b"")
        self.most_open = max(self.most_open, self.open)

    async def barrier(self) -> None:
        self.open = 0

    async def read_to_end(self) -> list[tuple[bytes, bytes | None]]:
        return list(self.records.items())

    def close(self) -> None: ...

    def store(self) -> KafkaStateStore:
        async def partitions() -> int:
            return 4

        def reader(_: int) -> CompactedReader:
            return cast("CompactedReader", cast("Any", self))

        return KafkaStateStore("state", partitions, self, reader)


def state(size: int, mark: int) -> bytes:
    return bytes([mark]) * size


async def test_a_later_life_finds_what_was_saved_last() -> None:
    topic = Topic()
    first = topic.store()
    assert await first.load("analyse/0") is None
    for mark, size in ((1, 10), (2, 3 * CHUNK_BYTES + 5), (3, 2 * CHUNK_BYTES)):
        await first.save("analyse/0", state(size, mark))
        assert await topic.store().load("analyse/0") == state(size, mark)
    assert await topic.store().load("analyse/1") is None


@pytest.mark.parametrize("messages", range(4))
async def test_who_dies_half_way_leaves_the_former_snapshot_whole(messages: int) -> None:
    topic = Topic()
    store = topic.store()
    await store.load("analyse/0")
    await store.save("analyse/0", state(4 * CHUNK_BYTES, 1))
    await store.save("analyse/0", state(3 * CHUNK_BYTES, 2))
    topic.sends_left = messages
    with pytest.raises(DeadError):
        await store.save("analyse/0", state(3 * CHUNK_BYTES + 1, 3))
    topic.sends_left = 1_000_000
    later = topic.store()
    assert await later.load("analyse/0") == state(3 * CHUNK_BYTES, 2)
    await later.save("analyse/0", state(CHUNK_BYTES, 4))
    assert await topic.store().load("analyse/0") == state(CHUNK_BYTES, 4)


async def test_a_large_state_is_not_in_flight_all_at_once() -> None:
    topic = Topic()
    store = topic.store()
    await store.load("analyse/0")
    await store.save("analyse/0", state(30 * CHUNK_BYTES, 1))
    assert topic.most_open <= 9 * CHUNK_BYTES


async def test_a_damaged_snapshot_is_not_guessed() -> None:
    topic = Topic()
    store = topic.store()
    await store.load("analyse/0")
    await store.save("analyse/0", state(2 * CHUNK_BYTES, 1))
    chunk = next(key for key in topic.records if key.endswith(b"/1"))
    topic.records[chunk] = b"other"
    with pytest.raises(HalcyonError, match="damaged"):
        await topic.store().load("analyse/0")
