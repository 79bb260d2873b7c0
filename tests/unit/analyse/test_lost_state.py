"""A state that is gone from its topic is made anew out of the log: what follows is as if it had never gone."""

import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest

from schemas import baselines as baseline_codec
from schemas import rows as row_codec
from schemas.baselines import Baseline
from schemas.rows import TABLES
from streams.analyse.partition import AnalysePartition, AnalyseRules
from streams.analyse.stage import AnalyseStage, AnalyseTopics
from streams.clock import ManualClock
from streams.metrics import Metrics, render
from streams.stage import Batch, ConsumerRecord, Position, TopicPartition
from tests.unit.analyse.pipeline import KEY, NoDetectors, Pipeline
from tests.unit.analyse.test_pipeline import Events

TP = TopicPartition("panes", 0)
WINDOWED = ("volumes", "numerics", "categories")


@dataclass
class Outside:
    """What outlives a worker: the log, the state, the commit, and the rows that were sent."""

    log: list[bytes]
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
        return list(self.known)

    def poll(self) -> list[Any]:
        return []

    async def count(self) -> int:
        return 1

    async def live(self, rng: random.Random, messages: int) -> Metrics:
        """One life, over so many messages, that ends by dying."""
        clock, metrics = ManualClock(), Metrics()
        stage = AnalyseStage(
            AnalyseTopics("panes", "rows", "findings", "baselines"),
            lambda number: AnalysePartition(number, AnalyseRules(), NoDetectors()),
            self, self, self, self.count, 5.0, metrics, clock,  # type: ignore[arg-type]
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

    def rows(self) -> dict[tuple[Any, ...], set[tuple[Any, ...]]]:
        """Every row that was sent, by its key: all that was ever said about it."""
        found: dict[tuple[Any, ...], set[tuple[Any, ...]]] = defaultdict(set)
        for topic, value in self.sent:
            if topic != "rows":
                continue
            batch = row_codec.decode(value)
            if batch.table in WINDOWED:
                places = [i for i, name in enumerate(TABLES[batch.table]) if name in KEY]
                for row in zip(*batch.columns, strict=True):
                    found[batch.table, *(row[i] for i in places)].add(tuple(map(str, row)))
        return found


@pytest.fixture(scope="module")
def log() -> list[bytes]:
    events, pipeline = Events(12, 6_000, 3), Pipeline(3)
    for partition, values in events.batches(12):
        pipeline.send(partition, values)
    return pipeline.log


@pytest.mark.parametrize("seed", range(6))
async def test_rows_are_those_of_a_life_that_kept_its_state(log: list[bytes], seed: int) -> None:
    calm, stormy, rng = Outside(log), Outside(log), random.Random(seed)
    await calm.live(rng, len(log))
    wiped = 0
    for _ in range(20):
        lost = not stormy.states and stormy.committed is not None
        behind = stormy.committed.offset if lost and stormy.committed is not None and rng.random() < 0.7 else 0
        metrics = await stormy.live(rng, behind + rng.randint(50, 500))
        counted = b'halcyon_lost_states_total{stage="analyse"} 1.0' in render(metrics.registry)[0]
        assert counted == lost
        if stormy.states and wiped < 4 and rng.random() < 0.3:
            stormy.states.clear()
            wiped += 1
    assert wiped
    await stormy.live(rng, len(log))
    assert stormy.rows() == calm.rows()


async def test_nothing_is_saved_or_committed_before_the_new_state_has_come_to_where_the_lost_one_stood(
    log: list[bytes],
) -> None:
    outside, rng = Outside(log), random.Random(1)
    await outside.live(rng, 900)
    committed, said = outside.committed, len(outside.sent)
    outside.states.clear()
    await outside.live(rng, 400)
    assert (outside.states, outside.committed, len(outside.sent)) == ({}, committed, said)
