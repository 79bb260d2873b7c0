"""A log, a state store and a producer that die when told to: what outlives a life is what a broker would have."""

import random
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.alerts import header
from streams.alert.policy import AlertPolicy
from streams.alert.stage import ORIGIN_HEADER, AlertStage, AlertTopics, ControlRecord, Published
from streams.clock import ManualClock
from streams.metrics import Metrics
from streams.stage import Batch, ConsumerRecord, Position, TopicPartition

ALERT_PARTITIONS = 3
FINDINGS = TopicPartition("findings", 0)
Headers = Sequence[tuple[str, bytes]]


class Crash(Exception):  # noqa: N818 - it is no error of ours
    """kill -9."""


@dataclass
class Sent:
    value: bytes | None
    key: bytes | None
    headers: Headers


def record(topic: str, offset: int, value: bytes) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord(topic, 0, offset, 0, 0, None, value, None, 0, len(value), ())


@dataclass
class World:
    """What survives: topics, the latest snapshot, the committed position."""

    findings: list[bytes]
    rng: random.Random
    crash_ratio: float = 0.0
    logs: dict[tuple[str, int], list[Sent]] = field(default_factory=lambda: defaultdict(list))
    states: dict[str, bytes] = field(default_factory=dict)
    control: list[bytes] = field(default_factory=list)
    committed: Position | None = None
    crashes: int = 0

    def maybe_crash(self) -> None:
        if self.rng.random() < self.crash_ratio:
            self.crashes += 1
            raise Crash

    def alerts(self) -> list[Sent]:
        return [sent for partition in range(ALERT_PARTITIONS) for sent in self.logs["alerts", partition]]


class Outside:
    """Sender, store, alert log and control feed of one life."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pending: dict[tuple[str, int], list[Sent]] = defaultdict(list)
        self.control_next = 0
        self.closed = False

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers | None = None,
        partition: int | None = None,
    ) -> None:
        if partition is None:
            partition = zlib.crc32(key or b"") % (ALERT_PARTITIONS if topic == "alerts" else 1)
        self.pending[topic, partition].append(Sent(value, key, headers or ()))
        self.world.maybe_crash()

    def deliver(self, until: Callable[[int], int]) -> None:
        """Of each partition's messages in flight a prefix arrives."""
        for place, sent in self.pending.items():
            count = until(len(sent))
            self.world.logs[place] += sent[:count]
            del sent[:count]

    async def barrier(self) -> None:
        self.world.maybe_crash()
        self.deliver(lambda count: count)
        self.world.maybe_crash()

    async def load(self, key: str) -> bytes | None:
        return self.world.states.get(key)

    async def save(self, key: str, raw: bytes) -> None:
        self.world.maybe_crash()
        self.world.states[key] = raw
        self.world.maybe_crash()

    async def ends(self) -> dict[int, int]:
        self.world.maybe_crash()
        return {partition: len(self.world.logs["alerts", partition]) for partition in range(ALERT_PARTITIONS)}

    async def source_end(self) -> int:
        return len(self.world.findings)

    async def published_since(self, ends: Mapping[int, int]) -> Published:
        tail = [sent for p in range(ALERT_PARTITIONS) for sent in self.world.logs["alerts", p][ends.get(p, 0) :]]
        ids = frozenset(header(sent.headers, "ce_id") for sent in tail)
        return Published(ids, max((int(header(sent.headers, ORIGIN_HEADER)) for sent in tail), default=-1))

    async def seek(self, positions: Mapping[int, int]) -> None:
        self.control_next = positions.get(0, 0)

    async def poll(self) -> list[ControlRecord]:
        new = self.world.control[self.control_next :]
        start, self.control_next = self.control_next, len(self.world.control)
        return [ControlRecord("control", 0, start + place, value) for place, value in enumerate(new)]

    async def close(self) -> None:
        self.closed = True


class Life:
    """One worker, from its start to its end or death."""

    def __init__(self, world: World, policy: AlertPolicy) -> None:
        self.world, self.outside, self.clock = world, Outside(world), ManualClock()
        self.stage = AlertStage(
            policy,
            AlertTopics(),
            sender=self.outside,
            states=self.outside,
            alert_log=self.outside,
            control=self.outside,
            clock=self.clock,
            metrics=Metrics(),
        )

    async def run(self, between: Callable[[int], None] = lambda _: None) -> None:
        """Read to the end; `between` is called with the offset reached after each batch."""
        world, stage = self.world, self.stage
        await stage.start()
        wanted = await stage.assigned({FINDINGS: world.committed})
        start = wanted.get(FINDINGS)
        offset = start if start is not None else world.committed.offset if world.committed else 0
        while offset < len(world.findings):
            size = world.rng.randint(1, 12)
            values = world.findings[offset : offset + size]
            records = [record("findings", offset + place, value) for place, value in enumerate(values)]
            await stage.process(Batch("findings", 0, records, len(world.findings)))
            offset += len(values)
            between(offset)
            self.outside.deliver(lambda count: world.rng.randint(0, count))
            self.clock.advance(world.rng.choice([0.1, 1.0, 4.0]))
            await stage.tick()
            world.maybe_crash()
            self.commit()
            world.maybe_crash()
        await stage.tick()
        await stage.revoked({FINDINGS})
        self.commit()
        await stage.stop()

    def commit(self) -> None:
        self.world.committed = self.stage.committable().get(FINDINGS, self.world.committed)


async def live(world: World, policy: AlertPolicy, between: Callable[[int], None] = lambda _: None) -> None:
    """Lives until one ends by itself."""
    while True:
        life = Life(world, policy)
        try:
            await life.run(between)
        except Crash:
            life.outside.deliver(lambda count: world.rng.randint(0, count))
            continue
        return
