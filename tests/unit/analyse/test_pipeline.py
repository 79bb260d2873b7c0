"""From raw messages to rows: every number against an oracle in numpy."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.histograms import log
from schemas.scopes import INVALID
from streams.analyse.learner import LearnRules
from streams.analyse.partition import AnalysePartition, AnalyseRules
from tests.unit.analyse.pipeline import EPOCH, NoDetectors, Pipeline


class Events:
    """Seeded predictions over several partitions, out of order within the bound."""

    def __init__(self, seed: int, n: int, partitions: int, span_ms: int = 600_000) -> None:
        rng = np.random.default_rng(seed)
        base = np.sort(rng.integers(0, span_ms, n))
        self.ts = EPOCH + np.maximum(base - rng.integers(0, 4_900, n), 0)
        self.partition = rng.integers(0, partitions, n)
        self.model = rng.integers(0, 3, n)
        self.country = rng.integers(0, 2, n)
        self.latency = np.exp(rng.normal(3, 1, n))
        self.amount = rng.normal(1e9, 3.0, n)
        self.amount[rng.random(n) < 0.1] = np.nan
        self.kind = rng.integers(0, 4, n)
        self.ok = rng.random(n) < 0.9

    def message(self, i: int) -> bytes:
        amount = None if np.isnan(self.amount[i]) else self.amount[i]
        return json.dumps(
            {
                "ts_ms": int(self.ts[i]),
                "event_id": f"e{i}",
                "model": f"m{self.model[i]}",
                "model_version": "1",
                "latency_ms": self.latency[i],
                "status": "ok" if self.ok[i] else "timeout",
                "segment": {"country": "DE" if self.country[i] else "FR"},
                "features": {"amount": amount, "kind": f"k{self.kind[i]}"},
            }
        ).encode()

    def batches(self, seed: int) -> Iterator[tuple[int, list[bytes]]]:
        rng = np.random.default_rng(seed)
        start = 0
        while start < len(self.ts):
            stop = start + int(rng.integers(1, 400))
            for p in np.unique(self.partition[start:stop]).tolist():
                places = start + np.flatnonzero(self.partition[start:stop] == p)
                yield p, [self.message(i) for i in places.tolist()]
            start = stop


def quantile(row: dict[str, object], q: float) -> float:
    return float(log.quantile(np.array(row["bins"]), np.array(row["counts"]), np.array([q]))[0])


@pytest.mark.parametrize("seed", [1, 2])
def test_windows_equal_the_oracle(seed: int) -> None:
    events = Events(seed, 20_000, 3)
    pipeline = Pipeline(3)
    for partition, values in events.batches(seed):
        pipeline.send(partition, values)
    pipeline.end()
    assert sum(ingest.late for ingest in pipeline.ingest) == 0
    for size_s in (10, 60, 300):
        check_numerics(pipeline, events, size_s)
        check_categories(pipeline, events, size_s)


def groups(events: Events, size_s: int) -> Iterator[tuple[tuple[str, str, int], NDArray[np.int64]]]:
    start = events.ts // (size_s * 1000) * (size_s * 1000)
    for model in range(3):
        for segment in ("", "country=DE", "country=FR"):
            inside = events.model == model
            if segment:
                inside = inside & (events.country == (segment == "country=DE"))
            for window in np.unique(start[inside]).tolist():
                yield (f"m{model}", segment, window), np.flatnonzero(inside & (start == window))


def check_numerics(pipeline: Pipeline, events: Events, size_s: int) -> None:
    rows = {
        (r["model"], r["segment"], r["start_ms"], r["quantity"]): r
        for r in pipeline.tables["numerics"].values()
        if r["window_s"] == size_s
    }
    volumes = {
        (r["model"], r["segment"], r["start_ms"]): r["rows"]
        for r in pipeline.tables["volumes"].values()
        if r["window_s"] == size_s and r["model"] != INVALID
    }
    expected = dict(groups(events, size_s))
    assert {key: len(places) for key, places in expected.items()} == volumes
    for (model, segment, start), places in expected.items():
        for name, given in (("latency_ms", events.latency[places]), ("features.amount", events.amount[places])):
            values = given[~np.isnan(given)]
            row = rows[model, segment, start, name]
            assert row["count"] == len(values)
            assert row["mean"] == pytest.approx(values.mean(), rel=1e-12)
            assert row["m2"] == pytest.approx(((values - values.mean()) ** 2).sum(), rel=1e-6, abs=1e-9)
            assert (row["min"], row["max"]) == (values.min(), values.max())
            bins, counts = log.histogram(values)
            if name == "latency_ms" or row["layout"] == "":
                assert (row["bins"], row["counts"]) == (bins.tolist(), counts.tolist())
        for q in (0.5, 0.95, 0.99):
            exact = np.quantile(events.latency[places], q, method="inverted_cdf")
            assert quantile(rows[model, segment, start, "latency_ms"], q) == pytest.approx(exact, rel=0.0101)


def check_categories(pipeline: Pipeline, events: Events, size_s: int) -> None:
    found = {
        (r["model"], r["segment"], r["start_ms"], r["quantity"]): dict(zip(r["values"], r["counts"], strict=True))
        for r in pipeline.tables["categories"].values()
        if r["window_s"] == size_s
    }
    for key, places in groups(events, size_s):
        kinds, counts = np.unique(events.kind[places], return_counts=True)
        assert found[*key, "features.kind"] == {
            f"k{k}": c for k, c in zip(kinds.tolist(), counts.tolist(), strict=True)
        }
        good = int(events.ok[places].sum())
        wanted = {"ok": good, "timeout": len(places) - good}
        assert found[*key, "status"] == {k: c for k, c in wanted.items() if c}


def test_a_baseline_is_learned_and_bins_are_exact_from_its_pane_on() -> None:
    events = Events(3, 30_000, 2)
    learn = LearnRules(rows=2_000, panes=10, lead_ms=30_000)
    pipeline = Pipeline(2, AnalyseRules(learn=learn))
    for partition, values in events.batches(3):
        pipeline.send(partition, values)
    pipeline.end()
    wholes = {b.scope.model: b for b in pipeline.baselines if not b.scope.segment}
    assert set(wholes) == {"m0", "m1", "m2"}
    assert {b.scope.segment for b in pipeline.baselines} == {"", "country=DE", "country=FR"}
    binned = 0
    for (model, segment, start), places in groups(events, 10):
        whole = wholes[model]
        if start < whole.effective_from_ms:
            continue
        row = next(
            r for r in pipeline.tables["numerics"].values()
            if (r["model"], r["segment"], r["start_ms"], r["quantity"], r["window_s"])
            == (model, segment, start, "features.amount", 10)
        )  # fmt: skip
        amounts = events.amount[places]
        edges = np.frombuffer(next(q.edges for q in whole.numeric if q.name == "features.amount"), "<f8")
        amounts = amounts[~np.isnan(amounts)]
        cells = np.searchsorted(edges, amounts, side="right")
        cells[amounts == edges[-1]] = 32
        bins, counts = np.unique(cells, return_counts=True)
        assert row["layout"] == whole.id
        assert (row["bins"], row["counts"]) == (bins.tolist(), counts.tolist())
        binned += 1
    assert binned > 100


def test_a_restored_partition_says_the_same() -> None:
    """Snapshots at random places; the log is read again from the committed offset of each."""
    events = Events(4, 12_000, 2)
    learn = LearnRules(rows=500, panes=5, lead_ms=20_000)
    rules = AnalyseRules(learn=learn)
    first = Pipeline(2, rules)
    for partition, values in events.batches(4):
        first.send(partition, values)
    first.end()
    rng = np.random.default_rng(4)
    second = Pipeline(2, rules)
    second.log = first.log
    known = {b.id: b for b in first.baselines}
    place = 0
    while place < len(first.log):
        stop = place + int(rng.integers(1, 60))
        second.log = first.log[:stop]
        second.read = second.analyse.committable()
        second.analyse_new()
        place = stop
        raw, committed = second.analyse.snapshot(), second.analyse.committable()
        second.analyse = AnalysePartition(0, rules, NoDetectors())
        assert second.analyse.restore(raw, known) == []
        assert second.analyse.committable() >= committed
        second.read = committed
        second.analyse_new()
    assert repr(second.tables) == repr(first.tables)  # NaN is not equal to itself
    assert [b.id for b in second.baselines] == [b.id for b in first.baselines]
