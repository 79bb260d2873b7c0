"""Ingest and analyse joined by a list in place of a topic: the whole way of an event, without a broker."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detectors.protocol import Role, WindowBatch
from schemas.baselines import Baseline
from schemas.codecs import decode_predictions
from schemas.findings import Finding
from schemas.panes import Watermark, decode, encode
from schemas.rows import TABLES, RowBatch
from schemas.scopes import Family, Scope
from streams.analyse.partition import AnalysePartition, AnalyseRules, Output
from streams.binnings import BinningIndex
from streams.ingest.partition import Commit, PartitionIngest, Source
from streams.ingest.scoping import PaneLimits
from tests.harness.outside import KEY

EPOCH = 1_700_000_000_000 // 3_600_000 * 3_600_000


class NoDetectors:
    """A bench without detectors, which keeps what it was shown."""

    sizes_ms = frozenset({10_000, 60_000})
    paired_ms = 300_000

    def __init__(self) -> None:
        self.batches: list[WindowBatch] = []

    def wants(self, size_ms: int) -> frozenset[Role]:
        return frozenset(Role)

    def wants_sample(self, scope: Scope) -> bool:
        return False

    def step(self, batch: WindowBatch, version: int, baseline_ids: list[str]) -> Iterator[RowBatch | Finding]:
        self.batches.append(batch)
        yield from ()

    def rebase(self, scope: int, baseline: Baseline) -> None: ...

    def forget(self, scope: int, series: Any) -> None: ...

    def to_parts(self) -> Any:
        return None

    def load_parts(self, parts: Any) -> None: ...


@dataclass
class Pipeline:
    """Source partitions, one partition of panes, and the tables."""

    partitions: int
    rules: AnalyseRules = field(default_factory=AnalyseRules)
    limits: PaneLimits = field(default_factory=PaneLimits)
    bench: NoDetectors = field(default_factory=NoDetectors)
    tables: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)
    baselines: list[Baseline] = field(default_factory=list)
    log: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.index = BinningIndex()
        self.ingest = [self._new_ingest(p) for p in range(self.partitions)]
        self.offsets = [0] * self.partitions
        self.analyse = AnalysePartition(0, self.rules, self.bench)
        self.read = 0

    def _new_ingest(self, partition: int) -> PartitionIngest:
        source = Source(Family.PREDICTION, "predictions", partition, self.rules.pane_ms, 5_000)
        return PartitionIngest(source, Commit(), self.limits, self.index)

    def send(self, partition: int, values: Sequence[bytes]) -> None:
        """One micro-batch of raw messages of a source partition."""
        ingest = self.ingest[partition]
        start = self.offsets[partition]
        offsets = np.arange(start, start + len(values))
        self.offsets[partition] = start + len(values)
        ingest.add(decode_predictions(list(values)), offsets, np.zeros(len(values), np.int64))
        self.flush(partition)

    def flush(self, partition: int, *, idle: bool = False) -> None:
        ingest = self.ingest[partition]
        if idle and (plan := ingest.plan_idle()):
            ingest.close_idle(plan)
        self.log += [encode(pane) for pane in ingest.closed()]
        mark = Watermark(
            "prediction", "predictions", partition, self.partitions, ingest.watermark_ms, idle, ingest.max_ts_ms
        )
        self.log.append(encode(mark))
        self.analyse_new()

    def analyse_new(self) -> None:
        while self.read < len(self.log):
            for output in self.analyse.take(decode(self.log[self.read]), self.read):
                self.keep(output)
            self.read += 1

    def keep(self, output: Output) -> None:
        if isinstance(output, Baseline):
            self.baselines.append(output)
            self.index.offer(output)
        if isinstance(output, RowBatch):
            names = TABLES[output.table]
            key = [n for n in names if n in KEY]
            table = self.tables.setdefault(output.table, {})
            for values in zip(*output.columns, strict=True):
                row = dict(zip(names, values, strict=True))
                place = tuple(row[n] for n in key)
                if place not in table or table[place]["version"] <= row["version"]:
                    table[place] = row

    def end(self) -> None:
        for partition in range(self.partitions):
            self.flush(partition, idle=True)
