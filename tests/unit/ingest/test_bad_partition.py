"""A partition that gets nothing but bad messages does not keep the others waiting."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from schemas import panes
from schemas.panes import Watermark
from streams.clock import ManualClock
from streams.config import load_settings
from streams.ingest.build import ingest_stage
from streams.ingest.stage import IngestStage
from streams.metrics import Metrics
from streams.rehearsal import Log, record
from streams.stage import Batch, Position, TopicPartition

SOURCE = TopicPartition("predictions", 0)
TIMEOUT_S = 30
START_MS = 1_770_000_000_000
END = 10**9


class Brokers:
    """The partition goes on for ever."""

    def __init__(self, end: int) -> None:
        self.end = end

    async def partitions(self, topic: str) -> int:
        return 1

    async def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        return dict.fromkeys(partitions, (0, self.end))


class NoBaselines:
    """None, ever."""

    async def start(self) -> list[Any]:
        return []

    async def read_all(self) -> list[Any]:
        return []

    def poll(self) -> list[Any]:
        return []


class World:
    def __init__(self, end_at_first: int) -> None:
        self.clock, self.log, self.brokers, self.offset = ManualClock(), Log(), Brokers(end_at_first), 0
        settings = load_settings(env={"HALCYON_TIME__IDLE_TIMEOUT_S": str(TIMEOUT_S)})
        self.stage: IngestStage = ingest_stage(
            settings, self.clock, Metrics(), self.log, cast("Any", self.brokers), cast("Any", NoBaselines())
        )

    async def begin(self) -> None:
        await self.stage.start()
        await self.stage.assigned({SOURCE: None})
        await self.stage.tick()
        self.brokers.end = END

    async def read(self, values: list[bytes], at_s: float) -> None:
        """A batch that was appended at this time."""
        stamp_ms = START_MS + int(at_s * 1_000)
        records = [
            record(SOURCE.topic, SOURCE.partition, self.offset + i, stamp_ms, value, ())
            for i, value in enumerate(values)
        ]
        self.offset += len(values)
        await self.stage.process(Batch(SOURCE.topic, SOURCE.partition, records, END))

    async def bad(self, seconds: int) -> None:
        """Bad messages, one batch a second."""
        for second in range(1, seconds + 1):
            self.clock.advance(1)
            await self.read([b"oops"] * 5, second)
            await self.stage.tick()
            await self.stage.tick()

    def idle(self) -> bool:
        """What the partition is said to be."""
        sent = [panes.decode(value or b"") for _, value in self.log.sent["panes", 0]]
        said = [message.idle for message in sent if isinstance(message, Watermark)]
        return bool(said) and said[-1]

    def rows(self) -> int:
        """Events in panes that are out."""
        sent = [panes.decode(value or b"") for _, value in self.log.sent["panes", 0]]
        return sum(pane.rows for pane in sent if isinstance(pane, panes.Pane) and pane.scope.model == "m")


def good() -> bytes:
    return msgspec.json.encode({"ts_ms": START_MS, "model": "m", "latency_ms": 1.0})


async def test_bad_messages_alone_make_a_partition_idle() -> None:
    world = World(end_at_first=0)
    await world.begin()
    await world.read([good()], 0)
    await world.bad(TIMEOUT_S - 1)
    assert not world.idle()
    assert world.rows() == 0
    await world.bad(2 * TIMEOUT_S)
    assert world.idle()
    assert world.rows() == 1


async def test_what_an_earlier_life_may_have_read_is_no_reason_to_decide_anew() -> None:
    world = World(end_at_first=10**6)
    await world.begin()
    await world.read([good()], 0)
    await world.bad(4 * TIMEOUT_S)
    assert not world.idle()


async def test_a_plan_is_committed_before_it_takes_effect() -> None:
    world = World(end_at_first=0)
    world.stage.committed = dict[TopicPartition, Position | None]
    await world.begin()
    await world.read([good()], 0)
    await world.bad(4 * TIMEOUT_S)
    assert world.rows() == 0
    world.stage.committed = world.stage.committable
    await world.stage.tick()
    assert world.rows() == 1
