"""A stage and a consumer that only note what they are told, around a real delivery."""

import asyncio
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from streams.clock import ManualClock
from streams.delivery import Delivery
from streams.stage import Batch, ConsumerRecord, Position, TopicPartition
from streams.wire import CommitRefusedError, Fetched, Found, StaleGenerationError

TP = TopicPartition("predictions", 0)
OTHER = TopicPartition("predictions", 1)


def records(tp: TopicPartition, start: int, end: int) -> list[Any]:
    return [ConsumerRecord(*tp, offset, 0, 0, None, b"v", None, -1, 1, ()) for offset in range(start, end)]


def fetched(
    start: int, end: int, epoch: int = 1, tp: TopicPartition = TP, size_bytes: int = 100, holes: int = 0
) -> Fetched:
    return Fetched(tp, records(tp, start + holes, end), start, end, epoch, highwater=end + 5, size_bytes=size_bytes)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110 - counters have no event
            await asyncio.sleep(0)


class FakeStage:
    name = "fake"
    topics = ("predictions",)

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.positions: dict[TopicPartition, Position] = {}
        self.starts: dict[TopicPartition, int | None] = {}
        self.errors: list[Exception] = []
        self.gate: asyncio.Event | None = None
        self.inside = 0

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def _enter(self, call: str, what: object) -> None:
        assert self.inside == 0, "two coroutines of a stage ran at the same time"
        self.inside += 1
        try:
            self.calls.append((call, what))
            await asyncio.sleep(0)
            if self.gate is not None and call != "tick":
                await self.gate.wait()
        finally:
            self.inside -= 1

    async def assigned(
        self, partitions: Mapping[TopicPartition, Position | None]
    ) -> Mapping[TopicPartition, int | None]:
        await self._enter("assigned", dict(partitions))
        return self.starts

    async def process(self, batch: Batch) -> None:
        await self._enter("process", (batch.tp, batch.records[0].offset, batch.records[-1].offset))
        if self.errors:
            raise self.errors.pop(0)
        self.positions[batch.tp] = Position(batch.records[-1].offset + 1, "m")

    async def tick(self) -> None:
        await self._enter("tick", None)

    async def revoked(self, partitions: AbstractSet[TopicPartition]) -> None:
        await self._enter("revoked", set(partitions))

    def committable(self) -> Mapping[TopicPartition, Position]:
        return self.positions

    def offsets(self) -> list[tuple[int, int]]:
        return [what[1:] for call, what in self.calls if call == "process"]  # type: ignore[index]


class FakeWire:
    def __init__(self) -> None:
        self.found = {TP: Found(None, 0, 1_000), OTHER: Found(None, 0, 1_000)}
        self.seeks: list[tuple[dict[TopicPartition, int], int]] = []
        self.commits: list[tuple[dict[TopicPartition, Position], int]] = []
        self.errors: list[Exception] = []
        self.generation = 1
        self.ahead: dict[TopicPartition, int] = {}

    async def find(self, partitions: AbstractSet[TopicPartition]) -> Mapping[TopicPartition, Found]:
        return {tp: self.found[tp] for tp in partitions}

    async def seek_to(self, starts: Mapping[TopicPartition, int], epoch: int, generation: int) -> None:
        if generation != self.generation:
            raise StaleGenerationError
        self.seeks.append((dict(starts), epoch))

    async def commit_positions(self, positions: Mapping[TopicPartition, Position], generation: int) -> None:
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        if generation != self.generation:
            raise CommitRefusedError
        self.commits.append((dict(positions), generation))

    def read_ahead(self) -> Mapping[TopicPartition, int]:
        return self.ahead


class Setup:
    def __init__(self) -> None:
        self.stage, self.wire, self.clock = FakeStage(), FakeWire(), ManualClock()
        self.delivery = Delivery(self.stage, self.clock, buffer_bytes=1_000, release_timeout_s=0.2)
        self.delivery.wire = self.wire
