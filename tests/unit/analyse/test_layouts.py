"""Which edges a histogram's bins are cut by, when a baseline takes the place of another."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from detectors.baseline import from_table, identified
from schemas import rows as row_codec
from schemas.baselines import Baseline
from schemas.scopes import Family, Scope
from streams.analyse.partition import AnalysePartition, AnalyseRules
from streams.analyse.stage import AnalyseStage, AnalyseTopics
from streams.binnings import BinningIndex
from streams.clock import SystemClock
from streams.metrics import Metrics
from streams.stage import Position, TopicPartition
from tests.unit.analyse.pipeline import EPOCH, NoDetectors, Pipeline
from tests.unit.analyse.test_pipeline import Events

REPLACED_MS = EPOCH + 320_000
"""In the middle of a minute, at the start of a pane."""
MODEL = Scope(Family.PREDICTION, "m0", "1")


def baseline(seed: int, effective_from_ms: int) -> Baseline:
    amounts = np.random.default_rng(seed).normal(1e9, 3.0 + seed, 2_000)
    return from_table(MODEL, {"features.amount": amounts}, built_from="test", effective_from_ms=effective_from_ms)


@pytest.fixture(scope="module")
def replaced() -> tuple[Pipeline, Events, Baseline, Baseline]:
    """Traffic of one model with a baseline from the start, and another one later."""
    events, pipeline = Events(8, 20_000, 2), Pipeline(2)
    old, new = baseline(1, EPOCH), baseline(2, REPLACED_MS)
    for known in (old, new):
        pipeline.index.offer(known)
        pipeline.analyse.offer(known)
    for partition, values in events.batches(8):
        pipeline.send(partition, values)
    pipeline.end()
    return pipeline, events, old, new


def amounts_of(pipeline: Pipeline, window_s: int, segment: str = "") -> list[dict[str, Any]]:
    wanted = ("m0", segment, "features.amount", window_s)
    rows = pipeline.tables["numerics"].values()
    return [row for row in rows if (row["model"], row["segment"], row["quantity"], row["window_s"]) == wanted]


def test_bins_are_named_after_the_edges_that_cut_them(replaced: tuple[Pipeline, Events, Baseline, Baseline]) -> None:
    pipeline, events, old, new = replaced
    edges = {b.id: np.frombuffer(b.numeric[0].edges, "<f8") for b in (old, new)}
    rows = amounts_of(pipeline, 10) + amounts_of(pipeline, 60)
    seen = set()
    for row in rows:
        start, size = row["start_ms"], row["window_s"] * 1000
        inside = (events.model == 0) & (events.ts >= start) & (events.ts < start + size) & ~np.isnan(events.amount)
        values = events.amount[inside]
        assert row["count"] == len(values)
        assert row["mean"] == pytest.approx(values.mean(), rel=1e-12)
        seen.add(row["layout"])
        if start < REPLACED_MS < start + size:
            assert (row["layout"], row["bins"], row["counts"]) == ("mixed", [], [])
            continue
        assert row["layout"] == (old.id if start < REPLACED_MS else new.id)
        cells = np.searchsorted(edges[row["layout"]], values, side="right")
        cells[values == edges[row["layout"]][-1]] = 32
        bins, counts = np.unique(cells, return_counts=True)
        assert (row["bins"], row["counts"]) == (bins.tolist(), counts.tolist())
    assert seen == {old.id, new.id, "mixed"}


def test_a_window_in_two_layouts_is_not_compared(replaced: tuple[Pipeline, Events, Baseline, Baseline]) -> None:
    pipeline, _, _, _ = replaced
    straddling = [b for b in pipeline.bench.batches if b.start_ms < REPLACED_MS < b.start_ms + b.size_ms]
    behind = [b for b in pipeline.bench.batches if b.start_ms >= REPLACED_MS]
    assert straddling
    assert behind
    assert not any(compared(straddling))
    assert all(compared(behind))


def compared(batches: Iterable[Any]) -> list[bool]:
    """Whether the model's amounts have a reference, batch by batch."""
    found = []
    for batch in batches:
        scopes = batch.scopes.key
        for name, scope, has in zip(batch.numeric.name, batch.numeric.scope, batch.numeric.has_edges, strict=True):
            if name == "features.amount" and scopes[scope] == MODEL:
                found.append(bool(has))
    return found


def test_segments_learn_anew_when_their_whole_gets_other_edges() -> None:
    events, pipeline = Events(9, 40_000, 2), Pipeline(2, AnalyseRules())
    old, new = baseline(1, EPOCH), baseline(2, REPLACED_MS)
    for known in (old, new):
        pipeline.index.offer(known)
        pipeline.analyse.offer(known)
    for partition, values in events.batches(9):
        pipeline.send(partition, values)
    pipeline.end()
    learned = [b for b in pipeline.baselines if b.scope.whole == MODEL and b.scope.segment == "country=DE"]
    edges = [next(q.edges for q in b.numeric if q.name == "features.amount") for b in learned]
    assert edges == [old.numeric[0].edges, new.numeric[0].edges]
    assert learned[1].effective_from_ms > REPLACED_MS


class Outside:
    """Store, feed and producer of a stage: one state, the baselines that are known, what was sent."""

    def __init__(self, raw: bytes, known: list[Baseline]) -> None:
        self.raw, self.known, self.partitions = raw, known, 1
        self.sent: list[tuple[str, bytes]] = []

    async def load(self, key: str) -> bytes:
        return self.raw

    async def read_all(self) -> list[Baseline]:
        return self.known

    def poll(self) -> list[Baseline]:
        return []

    async def count(self) -> int:
        return self.partitions

    def send(self, topic: str, value: bytes, **_: Any) -> None:
        self.sent.append((topic, value))


async def test_a_baseline_that_was_published_while_nobody_analysed_is_taken_up() -> None:
    events, pipeline = Events(10, 4_000, 1, 60_000), Pipeline(1)
    for partition, values in events.batches(10):
        pipeline.send(partition, values)
    missed = baseline(1, EPOCH + 120_000)
    outside = Outside(pipeline.analyse.snapshot(), [missed])
    taken = AnalysePartition(0, AnalyseRules(), NoDetectors())
    stage = AnalyseStage(
        AnalyseTopics("panes", "rows", "findings", "baselines"), lambda _: taken, outside, outside, outside,  # type: ignore[arg-type]
        outside.count, 60.0, Metrics(), SystemClock(),
    )  # fmt: skip
    await stage.assigned({TopicPartition("panes", 0): Position(0)})
    assert not taken.offer(missed), "it is known by now"
    batches = [row_codec.decode(value) for topic, value in outside.sent if topic == "rows"]
    assert [batch.table for batch in batches] == ["baselines"], "its edges must be in ClickHouse beside the bins"


async def test_a_baseline_waits_only_where_its_panes_come() -> None:
    fresh = baseline(1, EPOCH)
    outside = Outside(b"", [fresh])
    outside.partitions = 3
    taken = {number: AnalysePartition(number, AnalyseRules(), NoDetectors()) for number in range(3)}
    outside.raw = taken[0].snapshot()
    stage = AnalyseStage(
        AnalyseTopics("panes", "rows", "findings", "baselines"), taken.__getitem__, outside, outside, outside,  # type: ignore[arg-type]
        outside.count, 60.0, Metrics(), SystemClock(),
    )  # fmt: skip
    await stage.assigned({TopicPartition("panes", number): Position(0) for number in range(3)})
    waiting = [number for number, part in taken.items() if part._baselining._offered]
    assert waiting == [MODEL.pane_partition(3)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_baseline_with_the_edges_of_another_goes_on_under_their_name(order: tuple[int, int]) -> None:
    """Whichever is heard of first: panes are cut and named alike."""
    first = baseline(1, EPOCH)
    second = identified(replace(first, layout=first.id, effective_from_ms=REPLACED_MS, rows=9))
    index = BinningIndex()
    for place in order:
        index.offer((first, second)[place])
    found = [index.find(MODEL, start) for start in (EPOCH - 1, EPOCH, REPLACED_MS - 1, REPLACED_MS)]
    assert [one.layout if one else None for one in found] == [None, first.id, first.id, first.id]
    rows = {tuple(one.rows_of(("features.amount",)).tolist()) for one in found if one}
    assert len(rows) == 1
    assert second.id != first.id
