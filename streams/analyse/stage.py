"""The analyse stage: fold each partition of ``panes``, send what follows, save the state before the offset."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from schemas import baselines as baseline_codec
from schemas import findings as finding_codec
from schemas import panes as pane_codec
from schemas import rows as row_codec
from schemas.baselines import Baseline
from schemas.findings import Finding
from schemas.rows import RowBatch
from streams.analyse.closing import NEVER
from streams.analyse.partition import AnalysePartition, Output
from streams.analyse.rows import baseline_rows
from streams.baselines import BaselineFeed, topic_key
from streams.clock import Clock
from streams.memory import give_back
from streams.metrics import Metrics
from streams.stage import Batch, Position, TopicPartition
from streams.state import Sender, StateStore

log = logging.getLogger(__name__)

_BYTES_IN_FLIGHT: Final = 8 << 20
"""What may be on its way to the brokers: the rows of a window of many scopes are tens of megabytes."""
_BREATH_S: Final = 0.05
_FORMAT: Final = "a1;"
"""How commit metadata begins; the offset follows at which the saved state stands."""
_WINDOWS: Final = {60_000: "1m", 300_000: "5m", 3_600_000: "1h"}


@dataclass(frozen=True, slots=True)
class AnalyseTopics:
    """Where analyse reads and writes."""

    panes: str
    rows: str
    findings: str
    baselines: str


@dataclass(slots=True)
class _Partition:
    """A partition in work. Before ``silent_until`` an earlier life has said what there is to say."""

    analyse: AnalysePartition
    committable: Position | None
    saved_s: float
    saved_offset: int
    silent_until: int = 0

    @property
    def is_unsaved(self) -> bool:
        """Whether there is something to save. A state that is behind the commit must not be: it would leave a gap."""
        return self.analyse.offset > max(self.saved_offset, self.silent_until - 1)


class AnalyseStage:
    """Stage 2.

    Parameters
    ----------
    topics
        Where.
    new_partition
        Makes the state of a partition, empty.
    store, producer, feed
        Snapshots, acknowledged writes, baselines.
    count_partitions
        How many partitions ``panes`` has.
    snapshot_interval_s
        Between two snapshots: how much is folded again after a crash.
    metrics, clock
        What is told, and the pace of snapshots.
    """

    name = "analyse"

    def __init__(  # noqa: PLR0913, PLR0917 - what a stage is made of; put together in build.py
        self, topics: AnalyseTopics, new_partition: Callable[[int], AnalysePartition], store: StateStore,
        producer: Sender, feed: BaselineFeed, count_partitions: Callable[[], Awaitable[int]],
        snapshot_interval_s: float, metrics: Metrics, clock: Clock,
    ) -> None:  # fmt: skip
        self._topics = topics
        self._new_partition = new_partition
        self._store, self._producer, self._feed = store, producer, feed
        self._count_partitions = count_partitions
        self._pane_partitions = 1
        self._interval_s = snapshot_interval_s
        self._metrics, self._clock = metrics, clock
        self._open: dict[TopicPartition, _Partition] = {}
        self._revoked: dict[TopicPartition, _Partition] = {}
        self._sent_bytes = 0

    @property
    def topics(self) -> Sequence[str]:
        """The topic ``panes``."""
        return (self._topics.panes,)

    async def start(self) -> None:
        """Nothing: what it needs is read with the partitions."""

    async def stop(self) -> None:
        """Let go of the baselines."""
        self._feed.close()

    async def assigned(
        self, partitions: Mapping[TopicPartition, Position | None]
    ) -> Mapping[TopicPartition, int | None]:
        """Load each partition's state; reading goes on at the committed offset.

        A state that is gone is made anew out of the log: from its beginning, silently up to where the lost one stood.
        """
        self._open, self._revoked = {}, {}
        self._pane_partitions = await self._count_partitions()
        baselines = await self._feed.read_all()
        known = {baseline.id: baseline for baseline in baselines}
        now = self._clock.monotonic_s()
        starts: dict[TopicPartition, int | None] = {}
        for tp, position in partitions.items():
            analyse = self._new_partition(tp.partition)
            raw, silent_until = await self._store.load(_key(tp)), 0
            if raw is not None:
                missing = analyse.restore(raw, known)
                if missing:
                    log.warning("%s[%d]: baselines %s are gone; their scopes learn anew", *tp, ", ".join(missing))
            elif position is not None:
                starts[tp], silent_until = 0, _state_offset(position)
                self._metrics.state_lost(self.name)
                log.warning(
                    "%s[%d] was read up to offset %d, but its state is gone from the state topic: making it anew from "
                    "what the topic still holds, silently up to there. What detectors had learned before that is lost.",
                    *tp, silent_until,
                )  # fmt: skip
            # Also beside a state: what was published while nobody analysed is in no snapshot, and ingest bins by it.
            for baseline in baselines:
                if self._concerns(baseline, tp) and analyse.offer(baseline):
                    for rows in baseline_rows(baseline, analyse.offset):
                        self._send(rows)
            self._open[tp] = _Partition(analyse, position, now, analyse.offset, silent_until)
        return starts

    async def process(self, batch: Batch) -> None:
        """Fold a batch, and send what follows from it."""
        began = breath = self._clock.monotonic_s()
        part = self._open[batch.tp]
        for record in batch.records:
            message = pane_codec.decode(record.value or b"")
            for output in part.analyse.take(message, record.offset):
                if record.offset >= part.silent_until or _is_baseline(output):
                    self._send(output)
                    if self._sent_bytes >= _BYTES_IN_FLIGHT:
                        await self._drain()
                if self._clock.monotonic_s() - breath > _BREATH_S:
                    # A backlog is many windows in one batch: heartbeats and health pages must not wait for all of them.
                    await asyncio.sleep(0)
                    breath = self._clock.monotonic_s()
        self._tell(batch, part, began)
        if part.is_unsaved and self._clock.monotonic_s() - part.saved_s >= self._interval_s:
            await self._save(batch.tp, part)

    async def tick(self) -> None:
        """Take in baselines from elsewhere, and save the state at the pace of snapshots."""
        for baseline in self._feed.poll():
            for tp, part in self._open.items():
                if self._concerns(baseline, tp):
                    part.analyse.offer(baseline)
        now = self._clock.monotonic_s()
        for tp, part in self._open.items():
            if part.is_unsaved and now - part.saved_s >= self._interval_s:
                await self._save(tp, part)

    async def revoked(self, partitions: AbstractSet[TopicPartition]) -> None:
        """Save everything: the next owner goes on at the last message."""
        self._revoked = {}
        for tp in partitions:
            part = self._open.pop(tp, None)
            if part is not None:
                if part.is_unsaved:
                    await self._save(tp, part)
                self._revoked[tp] = part
            self._metrics.forget_partition(self.name, tp.topic, tp.partition)

    def committable(self) -> Mapping[TopicPartition, Position]:
        """What the saved states stand for."""
        parts = (*self._revoked.items(), *self._open.items())
        return {tp: part.committable for tp, part in parts if part.committable is not None}

    def _concerns(self, baseline: Baseline, tp: TopicPartition) -> bool:
        """Whether a scope's panes come to this partition: baselines of other scopes would only wait there."""
        return bool(baseline.scope.pane_partition(self._pane_partitions) == tp.partition)

    async def _save(self, tp: TopicPartition, part: _Partition) -> None:
        """Outputs acknowledged, then the state, then the offset: never in another order."""
        began = self._clock.monotonic_s()
        await self._drain()
        raw = part.analyse.snapshot()
        offset = part.analyse.committable()
        part.saved_offset = part.analyse.offset
        await self._store.save(_key(tp), raw)
        part.committable = Position(offset, f"{_FORMAT}{part.saved_offset}")
        part.saved_s = self._clock.monotonic_s()
        self._metrics.snapshot_taken(tp.partition, len(raw), part.saved_s - began)
        del raw
        give_back()

    async def _drain(self) -> None:
        await self._producer.barrier()
        self._sent_bytes = 0

    def _send(self, output: Output) -> None:
        if isinstance(output, RowBatch):
            raw = row_codec.encode(output)
            self._producer.send(self._topics.rows, raw, key=output.table.encode())
        elif isinstance(output, Baseline):
            raw = baseline_codec.encode(output)
            self._producer.send(self._topics.baselines, raw, key=topic_key(output))
        else:
            if isinstance(output, Finding):
                self._metrics.findings_emitted(output.detector)
            raw = finding_codec.encode(output)
            self._producer.send(self._topics.findings, raw, partition=0)
        self._sent_bytes += len(raw)

    def _tell(self, batch: Batch, part: _Partition, began: float) -> None:
        now = self._clock.monotonic_s()
        self._metrics.events_read(self.name, batch.topic, batch.partition, len(batch.records))
        self._metrics.lag(self.name, batch.topic, batch.partition, batch.lag)
        self._metrics.batch_handled(self.name, len(batch.records), now - began)
        self._metrics.scopes_tracked(self.name, sum(len(p.analyse.registry.known()) for p in self._open.values()))
        self._metrics.windows_open(self.name, sum(p.analyse.open_windows for p in self._open.values()))
        self._count(part.analyse)
        through = part.analyse.through_ms()
        if through > NEVER:
            delay_s = (self._clock.now_ms() - through) / 1000
            self._metrics.watermark_delay(self.name, batch.topic, batch.partition, delay_s)

    def _count(self, analyse: AnalysePartition) -> None:
        for size_ms, count in analyse.closed.items():
            self._metrics.windows_closed(_WINDOWS.get(size_ms, f"{size_ms // 1000}s"), count)
        self._metrics.windows_corrected(
            _WINDOWS.get(analyse.pane_ms, f"{analyse.pane_ms // 1000}s"), analyse.late_panes
        )
        self._metrics.capped("scope", analyse.registry.capped)
        analyse.closed.clear()
        analyse.late_panes = analyse.registry.capped = 0


def _key(tp: TopicPartition) -> str:
    return f"analyse/{tp.partition}"


def _state_offset(position: Position) -> int:
    """The offset at which the state stood that was saved before this commit; the commit's own if it does not say."""
    number = position.metadata.removeprefix(_FORMAT)
    return int(number) if number.isdecimal() else position.offset


def _is_baseline(output: Output) -> bool:
    """What must be on its topics whoever made it: ids are hashes of the content, so saying it again changes nothing."""
    return isinstance(output, Baseline) or (isinstance(output, RowBatch) and output.table == "baselines")
