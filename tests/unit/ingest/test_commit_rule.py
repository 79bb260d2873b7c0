"""Rule 2 of the design, on the real class: random histories with crashes between any two steps.

Every event ends up counted once or late once; every life of a partition decides the same; a pane that is sent again
holds the same. Idle closes happen at random moments, which is what makes it hard.
"""

import collections
import random
from dataclasses import dataclass, field

import numpy as np
import pytest

from schemas.panes import Pane, column
from schemas.scopes import INVALID, Family
from streams.binnings import BinningIndex
from streams.ingest.partition import Commit, PartitionIngest, Source
from streams.ingest.scoping import PaneLimits
from tests.unit.ingest.events import decoded

SOURCE = Source(Family.PREDICTION, "predictions", 3, pane_ms=10_000, bound_ms=5_000)
LIMITS = PaneLimits(sample_rows=4)
EPOCH = 1_700_000_000_000


@dataclass
class Broker:
    """What outlives a worker: the committed position, the panes that were sent."""

    commit: Commit = field(default_factory=Commit)
    end: int = 0
    sent: dict[int, list[tuple[int, int, int]]] = field(default_factory=lambda: collections.defaultdict(list))


class CrashError(Exception):
    pass


class Worker:
    def __init__(self, events: list[int | None], broker: Broker, rng: random.Random, crash_ratio: float) -> None:
        self.events, self.broker, self.rng, self.crash_ratio = events, broker, rng, crash_ratio
        start = Commit.from_metadata(broker.commit.offset, broker.commit.to_metadata())
        self.partition = PartitionIngest(SOURCE, start, LIMITS, BinningIndex())
        self.offset = start.offset

    def maybe_crash(self) -> None:
        if self.rng.random() < self.crash_ratio:
            raise CrashError

    def read(self) -> bool:
        size = self.rng.randint(1, 30)
        batch = self.events[self.offset : min(self.offset + size, self.broker.end)]
        if not batch:
            return False
        offsets = np.arange(self.offset, self.offset + len(batch))
        stamps = EPOCH + offsets * 500
        self.partition.add(decoded(batch, [float(o) for o in offsets]), offsets, stamps)
        self.offset += len(batch)
        return True

    def emit(self) -> None:
        for pane in self.partition.closed():
            self.maybe_crash()
            self.send(pane)
        self.maybe_crash()
        self.broker.commit = self.partition.commit()

    def send(self, pane: Pane) -> None:
        bad = sum(sum(c.counts) for c in pane.counters if c.name == "reason")
        if pane.scope.model == INVALID:
            self.broker.sent[pane.start_ms].append((-1, bad, 0))
            return
        counted = int(column(pane.numeric.stats, np.float64).reshape(-1, 5)[0, 0]) if pane.numeric.names else 0
        assert counted == pane.rows
        self.broker.sent[pane.start_ms].append((pane.rows, 0, pane.late))

    def idle(self) -> None:
        """Close an idle partition: only ever at the end of the log, where no life can have read further."""
        if self.offset < self.broker.end:
            return
        plan = self.partition.plan_idle()
        if plan is None:
            return
        self.maybe_crash()
        self.broker.commit = plan
        self.maybe_crash()
        self.partition.close_idle(plan)
        self.emit()


def history(seed: int, crash_ratio: float, idle_ratio: float) -> tuple[Broker, list[int | None]]:
    rng = random.Random(seed)
    now, events = float(EPOCH), []
    for _ in range(400):
        now += rng.random() * 1000
        late_by = rng.random() * (5_000 if rng.random() < 0.97 else 15_000)
        events.append(None if rng.random() < 0.05 else int(now - late_by))
    broker = Broker()
    worker = Worker(events, broker, rng, crash_ratio)
    for _ in range(150):
        broker.end = min(len(events), broker.end + rng.choice((0, 0, rng.randint(1, 40))))
        try:
            worker.read()
            if rng.random() < 0.6:
                worker.emit()
            if rng.random() < idle_ratio:
                worker.idle()
            worker.maybe_crash()
        except CrashError:
            worker = Worker(events, broker, rng, crash_ratio)
    broker.end = len(events)
    last = Worker(events, broker, rng, 0.0)
    while last.read():
        last.emit()
    last.idle()
    return broker, events


@pytest.mark.parametrize("idle_ratio", [0.0, 0.1])
@pytest.mark.parametrize("block", range(4))
def test_every_event_is_counted_once_through_crashes(block: int, idle_ratio: float) -> None:
    for seed in range(block * 40, block * 40 + 40):
        broker, events = history(seed, 0.05, idle_ratio)
        rows = late = bad = 0
        for start, versions in broker.sent.items():
            good = [v for v in versions if v[0] >= 0]
            assert len(set(good)) <= 1, f"seed {seed}: pane {start} was sent with different values {good}"
            invalid = [v for v in versions if v[0] < 0]
            assert len(set(invalid)) == 1, f"seed {seed}: pane {start} was sent with different values {invalid}"
            rows += good[0][0] if good else 0
            late += good[0][2] if good else 0
            bad += invalid[0][1]
        assert bad == sum(e is None for e in events), f"seed {seed}"
        assert rows + late == sum(e is not None for e in events), f"seed {seed}"


@pytest.mark.parametrize("seed", range(30))
def test_without_idle_closes_lateness_is_the_oracles(seed: int) -> None:
    broker, events = history(seed, 0.05, 0.0)
    counts: collections.Counter[int] = collections.Counter()
    late, watermark = 0, -(2**60)
    for event in events:
        if event is None:
            continue
        start = event // 10_000 * 10_000
        if start + 10_000 <= watermark:
            late += 1
        else:
            counts[start] += 1
        watermark = max(watermark, event - 5_000)
    sent = {start: max(v[0] for v in versions) for start, versions in broker.sent.items()}
    assert {start: rows for start, rows in sent.items() if rows > 0} == dict(counts)
    assert sum(max(v[2] for v in versions) for versions in broker.sent.values()) == late
