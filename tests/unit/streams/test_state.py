"""Snapshots: whole or not at all, whoever dies between two messages."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from streams.compacted import CompactedReader, Record
from streams.errors import HalcyonError
from streams.state import CHUNK_BYTES, KafkaStateStore


class DeadError(Exception):
    """The worker dies here."""


class Topic:
    """A topic before compaction: a producer that may die, and readers of what it left behind."""

    def __init__(self) -> None:
        self.log: list[Record] = []
        self.end = 0
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
        self.log.append(Record(self.end, key or b"", value))
        self.end += 1
        self.open += len(value or b"")
        self.most_open = max(self.most_open, self.open)

    async def barrier(self) -> None:
        self.open = 0

    async def read_log(self) -> list[Record]:
        return self.log.copy()

    def compact(self) -> None:
        """Keep the last of each key, and no tombstones."""
        last = {record.key: record for record in self.log if record.value is not None}
        gone = {record.key for record in self.log if record.value is None and last[record.key].offset < record.offset}
        self.log = [record for record in self.log if last[record.key] is record and record.key not in gone]

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
    chunk = next(record.key for record in topic.log if record.key.endswith(b"/1"))
    topic.send("state", b"other", chunk)
    with pytest.raises(HalcyonError, match="damaged"):
        await topic.store().load("analyse/0")


@pytest.mark.parametrize("asleep_before", range(5))
async def test_who_wakes_after_losing_the_state_changes_nothing(asleep_before: int) -> None:
    """A worker stops at some message of a snapshot, another takes over and saves, and the first one goes on."""
    topic = Topic()
    zombie = topic.store()
    await zombie.load("analyse/0")
    await zombie.save("analyse/0", state(3 * CHUNK_BYTES, 1))
    topic.sends_left = asleep_before
    with pytest.raises(DeadError):
        await zombie.save("analyse/0", state(4 * CHUNK_BYTES, 2))
    topic.sends_left = 1_000_000
    heir = topic.store()
    assert await heir.load("analyse/0") == state(3 * CHUNK_BYTES, 1)
    for mark in (3, 4, 5):
        await heir.save("analyse/0", state(3 * CHUNK_BYTES + mark, mark))
        # What the zombie sends now is everything, from the beginning: more than it would have had left.
        await zombie.save("analyse/0", state(4 * CHUNK_BYTES, 2))
        await zombie.save("analyse/0", state(2 * CHUNK_BYTES, 9))
        assert await topic.store().load("analyse/0") == state(3 * CHUNK_BYTES + mark, mark)


async def test_what_a_zombie_saved_before_the_heir_has_saved_anything_is_as_good_as_what_was_there() -> None:
    topic = Topic()
    zombie = topic.store()
    await zombie.load("analyse/0")
    await zombie.save("analyse/0", state(10, 1))
    heir = topic.store()
    assert await heir.load("analyse/0") == state(10, 1)
    await zombie.save("analyse/0", state(20, 2))
    assert await topic.store().load("analyse/0") == state(20, 2)
    await heir.save("analyse/0", state(10, 3))
    assert await topic.store().load("analyse/0") == state(10, 3)


async def test_former_terms_are_forgotten() -> None:
    topic = Topic()
    for life in range(5):
        store = topic.store()
        await store.load("analyse/0")
        await store.save("analyse/0", state(3 * CHUNK_BYTES, life))
        await store.save("analyse/0", state(3 * CHUNK_BYTES, life))
        topic.compact()
    # A claim, a marker, and two slots of three chunks; one life is always left until the next has saved.
    assert len(topic.log) == 1 + 1 + 6
    assert await topic.store().load("analyse/0") == state(3 * CHUNK_BYTES, 4)


async def test_a_claim_that_was_overtaken_is_told() -> None:
    topic = Topic()

    async def overtaken() -> list[Record]:
        topic.send("state", b"another", b"analyse/0/claim")
        topic.compact()
        return topic.log

    topic.read_log = overtaken  # type: ignore[method-assign]
    with pytest.raises(HalcyonError, match="claimed by another worker"):
        await topic.store().load("analyse/0")
