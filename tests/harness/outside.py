"""What outlives a worker of the analyse stage, in one process: its log, its state, its commit, and what it has said."""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from schemas import baselines as baseline_codec
from schemas import findings as finding_codec
from schemas import rows as row_codec
from schemas.baselines import Baseline
from schemas.findings import Finding
from schemas.rows import TABLES
from streams.analyse.partition import AnalysePartition
from streams.analyse.stage import AnalyseStage, AnalyseTopics
from streams.clock import ManualClock
from streams.metrics import Metrics
from streams.stage import Batch, ConsumerRecord, Position, TopicPartition

TP: Final = TopicPartition("panes", 0)
KEY: Final = (
    "family", "model", "model_version", "segment", "quantity", "counter", "detector", "window_s", "start_ms", "part",
    "baseline_id",
)  # fmt: skip


@dataclass
class Outside:
    """One partition of ``panes``, read by one life after another.

    Parameters
    ----------
    log
        Its messages; more may be appended.
    new_partition
        Makes the state of a partition, empty.
    saved_every_s
        Between two snapshots, of a clock that goes on by 1.25 s with every ten messages.
    """

    log: Sequence[bytes]
    new_partition: Callable[[int], AnalysePartition]
    saved_every_s: float = 5.0
    states: dict[str, bytes] = field(default_factory=dict)
    committed: Position | None = None
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    known: list[Baseline] = field(default_factory=list)

    async def load(self, key: str) -> bytes | None:
        return self.states.get(key)

    async def save(self, key: str, raw: bytes) -> None:
        self.states[key] = raw

    def send(self, topic: str, value: bytes, **_: Any) -> None:
        if topic == "baselines":
            self.known.append(baseline_codec.decode(value))
        self.sent.append((topic, value))

    async def barrier(self) -> None: ...

    async def read_all(self) -> list[Baseline]:
        return list({baseline.id: baseline for baseline in self.known}.values())

    def poll(self) -> list[Any]:
        return []

    async def count(self) -> int:
        return 1

    async def live(self, rng: random.Random, messages: int) -> Metrics:
        """One life, over so many messages, that ends by dying: what it has not saved is gone."""
        clock, metrics = ManualClock(), Metrics()
        stage = AnalyseStage(
            AnalyseTopics("panes", "rows", "findings", "baselines"), self.new_partition,
            self, self, self, self.count, self.saved_every_s, metrics, clock,  # type: ignore[arg-type]
        )  # fmt: skip
        starts = await stage.assigned({TP: self.committed})
        start = starts.get(TP)
        offset = start if start is not None else self.committed.offset if self.committed else 0
        end = min(len(self.log), offset + messages)
        while offset < end:
            size = rng.randint(1, 20)
            values = self.log[offset : min(offset + size, end)]
            records: list[ConsumerRecord[bytes, bytes]] = [
                ConsumerRecord(TP.topic, TP.partition, offset + i, 0, 0, None, value, None, 0, len(value), ())
                for i, value in enumerate(values)
            ]
            await stage.process(Batch(TP.topic, TP.partition, records, len(self.log)))
            offset += len(values)
            clock.advance(rng.choice((0.5, 2.0)))
            await stage.tick()
            self.committed = stage.committable().get(TP, self.committed)
        return metrics

    # -- what was said -----------------------------------------------------------------------------------------------

    def rows(self, *tables: str) -> dict[tuple[Any, ...], set[tuple[Any, ...]]]:
        """Every row of some tables that was sent, by its key: all that was ever said about it.

        Those of a baseline are the same in every version: its id is the hash of what it says.
        """
        found: dict[tuple[Any, ...], set[tuple[Any, ...]]] = defaultdict(set)
        for topic, value in self.sent:
            if topic != "rows":
                continue
            batch = row_codec.decode(value)
            if batch.table in tables:
                places = [i for i, name in enumerate(TABLES[batch.table]) if name in KEY]
                kept = [i for i, n in enumerate(TABLES[batch.table]) if (batch.table, n) != ("baselines", "version")]
                for row in zip(*batch.columns, strict=True):
                    found[batch.table, *(row[i] for i in places)].add(tuple(str(row[i]) for i in kept))
        return found

    def findings(self) -> dict[str, set[bytes]]:
        """Every finding that was sent, by its id: all that was ever said under it."""
        found: dict[str, set[bytes]] = defaultdict(set)
        for topic, value in self.sent:
            finding = finding_codec.decode(value) if topic == "findings" else None
            if isinstance(finding, Finding):
                found[finding.id].add(value)
        return found

    def baselines(self) -> dict[str, set[bytes]]:
        """Every baseline that was sent, by its id."""
        found: dict[str, set[bytes]] = defaultdict(set)
        for baseline in self.known:
            found[baseline.id].add(baseline_codec.encode(baseline))
        return found
