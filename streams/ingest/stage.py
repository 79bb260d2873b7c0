"""The ingest stage: decode, count, send what the watermark has passed, say what may be committed."""

import logging
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas import panes
from schemas.codecs import DECODERS, Limits
from schemas.columns import DeadLetter, Decoded
from schemas.panes import Watermark
from schemas.scopes import Family
from streams import dead_letters
from streams.baselines import BaselineFeed
from streams.binnings import BinningIndex
from streams.clock import Clock
from streams.ingest.partition import NEVER, Commit, PartitionIngest, Source
from streams.ingest.scoping import PaneLimits
from streams.metrics import Metrics
from streams.stage import Batch, ConsumerRecord, Position, TopicPartition
from streams.state import Sender

Ints = NDArray[np.int64]

log = logging.getLogger(__name__)

_HEARTBEAT_S: Final = 5.0


class Brokers(Protocol):
    """What ingest asks the brokers."""

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        ...

    async def bounds(self, partitions: AbstractSet[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """First offset, and the offset after the last record, of each partition."""
        ...


@dataclass(frozen=True, slots=True)
class IngestTopics:
    """Where ingest reads and writes: source topic → family of its events, and the names of its outputs."""

    sources: Mapping[str, Family]
    panes: str
    dead_letters: str


@dataclass(frozen=True, slots=True)
class IngestTimes:
    """The rules of event time, in the units of the settings."""

    pane_ms: int
    bound_ms: int
    idle_timeout_s: float


@dataclass(slots=True)
class _Partition:
    """A source partition in work: its panes, and what is known of its reader."""

    ingest: PartitionIngest
    committable: Position
    next_offset: int
    last_event_s: float
    checked_s: float
    idle: bool = False
    plan: Position | None = None
    announced: tuple[int, bool] = (NEVER, False)
    announced_s: float = 0.0
    late: int = 0
    useless_since_ms: int | None = None
    read_through_ms: int = 0
    foreign_end: int | None = None
    """Where the log ended when this life first asked: no earlier one has read beyond it."""

    def read(self, stamps: Ints, events: Ints) -> None:
        """Note the append times of a batch, and which of its records held events."""
        if len(events):
            self.useless_since_ms = int(stamps[events[-1]])
        elif self.useless_since_ms is None:
            self.useless_since_ms = int(stamps[0])
        self.read_through_ms = int(stamps[-1])

    def useless_for(self, timeout_s: float) -> bool:
        """Whether nothing but undecodable messages has come for so long, in append time, that no earlier life read."""
        if self.useless_since_ms is None or self.foreign_end is None or self.next_offset < self.foreign_end:
            return False
        return self.read_through_ms - self.useless_since_ms >= timeout_s * 1_000


class IngestStage:
    """Stage 1.

    Parameters
    ----------
    topics, times, pane_limits, decode_limits
        Where, when, and how much.
    producer
        Acknowledged writes.
    brokers
        Partition counts and ends.
    feed
        The baselines, for their bins.
    metrics, clock
        What is told, and what time it is (idleness only: no event is judged by it).
    """

    name = "ingest"

    def __init__(  # noqa: PLR0913, PLR0917 - what a stage is made of; put together in build.py
        self, topics: IngestTopics, times: IngestTimes, pane_limits: PaneLimits, decode_limits: Limits,
        producer: Sender, brokers: Brokers, feed: BaselineFeed, metrics: Metrics, clock: Clock,
    ) -> None:  # fmt: skip
        self._topics, self._times = topics, times
        self._pane_limits, self._decode_limits = pane_limits, decode_limits
        self._producer, self._brokers, self._feed = producer, brokers, feed
        self._metrics, self._clock = metrics, clock
        self._binnings = BinningIndex()
        self._open: dict[TopicPartition, _Partition] = {}
        self._revoked: dict[TopicPartition, _Partition] = {}
        self._source_partitions: dict[str, int] = {}
        self._pane_partitions = 1
        self.committed: Callable[[], Mapping[TopicPartition, Position | None]] = self.committable
        """What the brokers are known to have; whoever runs the stage gives the transport's word for it."""

    @property
    def topics(self) -> Sequence[str]:
        """The source topics."""
        return tuple(self._topics.sources)

    async def start(self) -> None:
        """Learn the bins in force and how many partitions there are."""
        self._binnings.offer_all(await self._feed.read_all())
        self._pane_partitions = await self._brokers.partitions(self._topics.panes)
        for topic in self._topics.sources:
            self._source_partitions[topic] = await self._brokers.partitions(topic)

    async def stop(self) -> None:
        """Let go of the baselines."""
        self._feed.close()

    async def assigned(
        self, partitions: Mapping[TopicPartition, Position | None]
    ) -> Mapping[TopicPartition, int | None]:
        """Begin where the last life of each partition stopped."""
        for topic in {tp.topic for tp in partitions}:
            self._source_partitions[topic] = await self._brokers.partitions(topic)
        now = self._clock.monotonic_s()
        self._revoked, self._open = {}, {}
        for tp, position in partitions.items():
            commit = _commit_of(tp, position)
            source = Source(
                self._topics.sources[tp.topic], tp.topic, tp.partition, self._times.pane_ms, self._times.bound_ms
            )
            ingest = PartitionIngest(source, commit, self._pane_limits, self._binnings)
            start = Position(commit.offset, commit.to_metadata())
            # Checked at the first tick: a partition that holds nothing to read must not keep the others waiting.
            self._open[tp] = _Partition(ingest, start, commit.offset, now, now - self._times.idle_timeout_s)
        return {}

    async def process(self, batch: Batch) -> None:
        """Count one batch, and send the panes that its events have closed."""
        began = self._clock.monotonic_s()
        tp = TopicPartition(batch.topic, batch.partition)
        part = self._open[tp]
        records = batch.records
        offsets = np.array([r.offset for r in records], np.int64)
        stamps = np.array([r.timestamp for r in records], np.int64)
        decode = DECODERS[self._topics.sources[batch.topic]]
        decoded = decode([r.value for r in records], [r.headers for r in records], stamps, self._decode_limits)
        for dead in decoded.dead:
            if not part.ingest.seen_before(int(offsets[dead.record])):
                self._bury(batch, records[dead.record], dead)
        part.ingest.add(decoded, offsets, stamps)
        part.next_offset = int(offsets[-1]) + 1
        part.read(stamps, decoded.columns.record)
        if len(decoded.columns):
            part.last_event_s, part.idle = began, False
        await self._send_closed(tp, part, must_wait=bool(decoded.dead))
        self._tell(batch, part, decoded, began)

    async def tick(self) -> None:
        """Take in new baselines, close what is idle, repeat watermarks now and then."""
        self._binnings.offer_all(self._feed.poll())
        now = self._clock.monotonic_s()
        await self._close_idle({tp: part for tp, part in self._open.items() if self._quiet(part, now)}, now)
        for tp, part in self._open.items():
            if part.plan is not None:
                await self._send_closed(tp, part, must_wait=True)
            elif part.announced_s and now - part.announced_s >= _HEARTBEAT_S:
                self._announce(tp, part, always=True)

    def _quiet(self, part: _Partition, now: float) -> bool:
        timeout_s = self._times.idle_timeout_s
        return (
            part.plan is None
            and now - part.checked_s >= timeout_s
            and now - part.last_event_s >= (timeout_s if part.ingest.max_ts_ms > NEVER else 0)
        )

    async def revoked(self, partitions: AbstractSet[TopicPartition]) -> None:
        """Nothing is left to flush: what is not out yet is rebuilt by the next owner from what is committed."""
        self._revoked = {tp: self._open.pop(tp) for tp in partitions if tp in self._open}
        for tp in partitions:
            self._metrics.forget_partition(self.name, tp.topic, tp.partition)

    def committable(self) -> Mapping[TopicPartition, Position]:
        """What is out and acknowledged."""
        return {tp: part.committable for tp, part in (*self._revoked.items(), *self._open.items())}

    # -- out ---------------------------------------------------------------------------------------------------------

    async def _send_closed(self, tp: TopicPartition, part: _Partition, *, must_wait: bool) -> None:
        if part.plan is not None:
            if self.committed().get(tp) != part.plan:
                return
            part.plan = None
        closed = part.ingest.closed()
        for pane in closed:
            self._send(panes.encode(pane), pane.scope.pane_partition(self._pane_partitions))
        self._announce(tp, part)
        if closed or must_wait:
            # Only what the brokers have acknowledged may be committed.
            await self._producer.barrier()
            self._metrics.panes_emitted(tp.topic, len(closed))
            for kind, count in part.ingest.capped.items():
                self._metrics.capped(kind, count)
            part.ingest.capped.clear()
        commit = part.ingest.commit()
        part.committable = Position(commit.offset, commit.to_metadata())

    def _send(self, raw: bytes, partition: int) -> None:
        self._producer.send(self._topics.panes, raw, partition=partition)

    def _announce(self, tp: TopicPartition, part: _Partition, *, always: bool = False) -> None:
        """Tell every partition of panes how far this source has come, when it has come a pane further."""
        size = self._times.pane_ms
        through = part.ingest.watermark_ms // size if part.ingest.watermark_ms > NEVER else NEVER
        state = (through, part.idle)
        if state == part.announced and not always:
            return
        now = self._clock.monotonic_s()
        part.announced, part.announced_s = state, now
        horizon = part.ingest.max_ts_ms
        if horizon > NEVER:
            horizon += int((now - part.last_event_s) * 1000) - self._times.bound_ms
        message = panes.encode(
            Watermark(
                part.ingest.source.family, tp.topic, tp.partition, self._source_partitions[tp.topic],
                part.ingest.watermark_ms, part.idle, horizon, part.next_offset,
            )
        )  # fmt: skip
        for partition in range(self._pane_partitions):
            self._send(message, partition)

    def _bury(self, batch: Batch, record: ConsumerRecord[bytes, bytes], dead: DeadLetter) -> None:
        headers = dead_letters.headers(record, dead.reason.value, dead.message, dead.events)
        self._producer.send(self._topics.dead_letters, record.value, key=record.key, headers=headers)
        self._metrics.dead_lettered(batch.topic, dead.reason.value, dead.events)

    # -- idleness ----------------------------------------------------------------------------------------------------

    async def _close_idle(self, quiet: Mapping[TopicPartition, _Partition], now: float) -> None:
        """Close partitions at whose end nothing has come for the idle timeout, or nothing but bad messages.

        The end is asked from the brokers: a broker that does not answer is no reason to believe that nothing comes.
        Bad messages do not move event time: without an end to them the other partitions would wait for good.
        """
        bounds = await self._brokers.bounds(quiet.keys())
        for tp, part in quiet.items():
            part.checked_s = now
            first, end = bounds.get(tp, (0, -1))
            if part.foreign_end is None and end >= 0:
                part.foreign_end = end
            useless = part.useless_for(self._times.idle_timeout_s)
            if not useless and (end < 0 or (part.next_offset < end and first < end)):
                continue
            if part.plan is not None:
                continue
            plan = part.ingest.plan_idle()
            if plan is not None:
                # From here on the plan decides about every event; what follows from it is sent once it is durable.
                part.ingest.close_idle(plan)
                part.plan = part.committable = Position(plan.offset, plan.to_metadata())
                log.info("%s[%d] is idle: its open panes are closed", tp.topic, tp.partition)
            part.idle = True
            await self._send_closed(tp, part, must_wait=True)

    # -- telling -----------------------------------------------------------------------------------------------------

    def _tell(self, batch: Batch, part: _Partition, decoded: Decoded, began: float) -> None:
        ingest = part.ingest
        events = len(decoded.columns) + sum(d.events for d in decoded.dead)
        self._metrics.events_read(self.name, batch.topic, batch.partition, events)
        self._metrics.lag(self.name, batch.topic, batch.partition, batch.lag)
        self._metrics.batch_handled(self.name, events, self._clock.monotonic_s() - began)
        self._metrics.windows_open(self.name, sum(part.ingest.open_panes for part in self._open.values()))
        if ingest.late > part.late:
            self._metrics.late(self.name, batch.topic, ingest.late - part.late)
            part.late = ingest.late
        # Labels say when they became known, which may be days before they are sent: nobody is behind for that.
        if ingest.watermark_ms > NEVER and ingest.source.family is not Family.LABEL:
            delay_s = (self._clock.now_ms() - ingest.watermark_ms) / 1000
            self._metrics.watermark_delay(self.name, batch.topic, batch.partition, delay_s)


def _commit_of(tp: TopicPartition, position: Position | None) -> Commit:
    """Where to begin; a position without our metadata (an operator reset the offsets) begins afresh there."""
    if position is None:
        return Commit()
    if not position.metadata:
        log.warning(
            "%s[%d] begins at offset %d afresh: the commit says no more", tp.topic, tp.partition, position.offset
        )
        return Commit(position.offset, position=position.offset)
    return Commit.from_metadata(position.offset, position.metadata)
