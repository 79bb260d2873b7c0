"""A baseline of the first minutes is followed by one of the first day, exact and the same in every life."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.days import still_fits
from schemas.baselines import CELLS, Baseline, NumericBaseline
from schemas.findings import Finding, Kind, Severity
from schemas.panes import decode
from schemas.scopes import Family, Scope
from streams.analyse.course import EvenRows
from streams.analyse.learner import LearnRules
from streams.analyse.partition import AnalysePartition, AnalyseRules, Output
from streams.ingest.scoping import PaneLimits
from streams.windows.samples import Sample
from tests.unit.analyse.pipeline import EPOCH, NoDetectors, Pipeline

HOUR = 3_600_000
PANE = 300_000
WHOLE = Scope(Family.PREDICTION, "m", "1")
PART = Scope(Family.PREDICTION, "m", "1", "country=DE")
"""Its one segment."""


class Traffic:
    """One model, a few events a minute, an amount and a country that follow the hour."""

    def __init__(self, seed: int, hours: int, jump_at_h: int = 10_000) -> None:
        rng = np.random.default_rng(seed)
        self.ts = EPOCH + np.sort(rng.integers(0, hours * HOUR, hours * 150))
        evening = np.sin((self.ts - EPOCH) / HOUR / 24 * 2 * np.pi)
        later = self.ts >= EPOCH + jump_at_h * HOUR
        self.amount = rng.normal(size=len(self.ts)) + 0.5 * evening + 8 * later
        self.latency = np.exp(rng.normal(3, 0.3, len(self.ts)))
        self.night = rng.random(len(self.ts)) < 0.5 + 0.3 * evening
        self.german = rng.random(len(self.ts)) < 0.5
        self.ok = rng.random(len(self.ts)) < 0.98

    def batches(self) -> Iterator[list[bytes]]:
        """The messages of each quarter of an hour."""
        for places in np.split(np.arange(len(self.ts)), np.flatnonzero(np.diff(self.ts // (HOUR // 4))) + 1):
            yield [self._message(i) for i in places.tolist()]

    def _message(self, i: int) -> bytes:
        return json.dumps(
            {
                "ts_ms": int(self.ts[i]),
                "event_id": f"e{i}",
                "model": "m",
                "model_version": "1",
                "latency_ms": self.latency[i],
                "status": "ok" if self.ok[i] else "timeout",
                "segment": {"country": "DE"} if self.german[i] else {},
                "features": {"amount": self.amount[i], "kind": "night" if self.night[i] else "day"},
            }
        ).encode()


def rules(*days: int) -> AnalyseRules:
    return AnalyseRules(pane_ms=PANE, learn=LearnRules(rows=300, panes=4, max_rows=400, lead_ms=PANE, days=days))


def play(traffic: Traffic, *days: int) -> Pipeline:
    pipeline = Pipeline(1, rules(*days), PaneLimits(sample_rows=64))
    for values in traffic.batches():
        pipeline.send(0, values)
    pipeline.end()
    return pipeline


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return Traffic(1, 54)


@pytest.fixture(scope="module")
def played(traffic: Traffic) -> Pipeline:
    return play(traffic, 1, 2)


def learned(pipeline: Pipeline, scope: Scope) -> list[Baseline]:
    return [b for b in pipeline.baselines if b.scope == scope]


def part_of(baseline: Baseline, name: str) -> NumericBaseline:
    return next(part for part in baseline.numeric if part.name == name)


def span(baseline: Baseline, traffic: Traffic, scope: Scope) -> NDArray[np.bool_]:
    """The events of the whole days that end two panes before a baseline takes effect."""
    end = (baseline.effective_from_ms - 2 * PANE) // HOUR * HOUR
    inside = (traffic.ts >= end - baseline.learned_days * 24 * HOUR) & (traffic.ts < end)
    places: NDArray[np.bool_] = inside & (traffic.german if scope.segment else True)
    return places


@pytest.mark.parametrize("scope", [WHOLE, PART])
def test_whole_days_follow_the_first_minutes_and_every_count_is_exact(
    played: Pipeline, traffic: Traffic, scope: Scope
) -> None:
    first, *later = learned(played, scope)
    assert [b.learned_days for b in (first, *later)] == [0, 1, 2]
    assert part_of(first, "features.amount").count < 1_000
    for baseline in later:
        events = np.flatnonzero(span(baseline, traffic, scope))
        amount = part_of(baseline, "features.amount")
        assert (baseline.rows, amount.count) == (len(events), len(events))
        assert amount.mean == pytest.approx(traffic.amount[events].mean(), rel=1e-9)
        assert amount.edges == part_of(first, "features.amount").edges
        edges = np.frombuffer(amount.edges, "<f8")
        cells = np.bincount(np.searchsorted(edges, traffic.amount[events], side="right"), minlength=CELLS)
        assert np.frombuffer(amount.counts, "<u4").tolist() == cells.tolist()
        kinds = {part.name: dict(zip(part.values, part.counts, strict=True)) for part in baseline.categories}
        night = int(traffic.night[events].sum())
        assert kinds["features.kind"] == {"night": night, "day": len(events) - night}
        assert part_of(baseline, "latency_ms").p50 == pytest.approx(np.median(traffic.latency[events]), rel=0.02)
        assert baseline.rows / baseline.panes == pytest.approx(len(events) / baseline.learned_days / 288)


def test_the_counts_are_the_sum_of_the_stored_windows(played: Pipeline) -> None:
    baseline = learned(played, WHOLE)[1]
    end = (baseline.effective_from_ms - 2 * PANE) // HOUR * HOUR
    rows = [
        row for row in played.tables["numerics"].values()
        if (row["quantity"], row["segment"], row["window_s"]) == ("features.amount", "", 3600)
        and end - 24 * HOUR <= row["start_ms"] < end
    ]  # fmt: skip
    assert {row["layout"] for row in rows} == {learned(played, WHOLE)[0].id}
    total = np.zeros(CELLS, np.int64)
    for row in rows:
        total[row["bins"]] += row["counts"]
    assert np.frombuffer(part_of(baseline, "features.amount").counts, "<u4").tolist() == total.tolist()


def test_windows_go_on_in_the_same_layout(played: Pipeline) -> None:
    """No window is mixed by a baseline that keeps the edges, and none is without a reference."""
    first, second, _ = learned(played, WHOLE)
    assert (second.layout, second.laid_out) == (first.id, first.id)
    starts = second.effective_from_ms - 10 * HOUR, second.effective_from_ms + 10 * HOUR
    layouts = {
        row["layout"] for row in played.tables["numerics"].values()
        if row["quantity"] == "features.amount" and starts[0] <= row["start_ms"] < starts[1]
    }  # fmt: skip
    assert layouts == {first.id}


def test_a_rhythm_is_known_to_stray_for_the_whole_and_its_segments(played: Pipeline) -> None:
    whole, part = learned(played, WHOLE), learned(played, PART)
    assert part_of(whole[0], "features.amount").wander == ()
    assert part_of(whole[1], "features.amount").wander[1] > 0.5
    assert part_of(part[1], "features.amount").wander == pytest.approx(part_of(whole[1], "features.amount").wander)
    kind = {p.name: p.wander for p in whole[1].categories}["features.kind"]
    assert kind > 0.15
    assert {p.name: p.wander for p in part[1].categories}["features.kind"] == pytest.approx(kind)


def test_its_rows_are_of_the_whole_day(played: Pipeline, traffic: Traffic) -> None:
    """Every hour has its share of them: an even choice among all events."""
    sample = learned(played, WHOLE)[1]
    column = sample.sample_names.index("features.amount")
    rows = np.frombuffer(sample.sample, "<f4").reshape(-1, len(sample.sample_names))[:, column]
    amounts = traffic.amount.astype(np.float32)
    by_value = dict(zip(amounts.tolist(), ((traffic.ts - EPOCH) // HOUR).tolist(), strict=True))
    hours = np.array([by_value[value] for value in rows.tolist()])
    assert len(rows) == 400
    assert (np.diff(hours) >= 0).all(), "in the order of time"
    shares = np.bincount(hours - hours.min(), minlength=24)
    assert len(shares) == 24
    assert ((shares - 400 / 24) ** 2 / (400 / 24)).sum() < 49.7, "chi-square of 23 degrees of freedom at 0.1 %"


class Alarmed(NoDetectors):
    """A bench that finds something in the hours that it is told of."""

    sizes_ms = frozenset({PANE})

    def __init__(self, kind: Kind, severity: Severity, *hours: int, detector: str = "x", value: float = 1.0) -> None:
        super().__init__()
        self.kind, self.severity, self.hours = kind, severity, hours
        self.detector, self.value = detector, value

    def step(self, batch: Any, version: int, baseline_ids: list[str]) -> Iterator[Any]:
        if (batch.start_ms - EPOCH) // HOUR in self.hours:
            yield Finding(
                id="f", scope=WHOLE, kind=self.kind, detector=self.detector, quantity="q", firing=True,
                window_start_ms=batch.start_ms, window_ms=PANE, severity=self.severity, score=1.0, value=self.value,
                baseline=0.0, threshold=0.5, unit="", rows=1, confidence_ratio=1.0, since_ms=batch.start_ms, summary="",
            )  # fmt: skip


def outputs(analyse: AnalysePartition, log: list[bytes], start: int) -> list[bytes]:
    said: list[Output] = []
    for offset in range(start, len(log)):
        said += analyse.take(decode(log[offset]), offset)
    return [msgspec.msgpack.encode(one) for one in said]


@pytest.mark.parametrize("at", [0.12, 0.45, 0.7])
def test_a_later_life_goes_on_to_the_same_baselines(played: Pipeline, at: float) -> None:
    """Saved in the middle of a day and taken up by another life: not a byte of what follows differs."""
    known: dict[str, Baseline] = {}
    cut = int(len(played.log) * at)
    first = AnalysePartition(0, played.rules, Alarmed(Kind.NULLS, Severity.TICKET, 5, 6, 7))
    for offset in range(cut):
        said = first.take(decode(played.log[offset]), offset)
        known |= {b.id: b for b in said if isinstance(b, Baseline)}
    heir = AnalysePartition(0, played.rules, Alarmed(Kind.NULLS, Severity.TICKET, 5, 6, 7))
    assert heir.restore(first.snapshot(), known) == []
    assert outputs(heir, played.log, first.committable()) == outputs(first, played.log, cut)


def test_a_snapshot_from_before_days_were_learned_loads(played: Pipeline) -> None:
    cut = len(played.log) // 5
    first = AnalysePartition(0, played.rules, NoDetectors())
    for offset in range(cut):
        list(first.take(decode(played.log[offset]), offset))
    parts = msgspec.msgpack.decode(first.snapshot(), strict=False)
    del parts["baselines"]["days"]
    heir = AnalysePartition(0, played.rules, NoDetectors())
    assert heir.restore(msgspec.msgpack.encode(parts), {b.id: b for b in played.baselines}) == []
    said: list[Output] = []
    for offset in range(first.committable(), len(played.log)):
        said += heir.take(decode(played.log[offset]), offset)
    days = [b.learned_days for b in said if isinstance(b, Baseline) and b.scope == WHOLE]
    assert days == [1], "the day begins where it was loaded, so that there is no second one here"


def test_nothing_follows_where_it_is_turned_off(traffic: Traffic) -> None:
    short = Traffic(2, 27)
    assert [b.learned_days for b in learned(play(short), WHOLE)] == [0]


def replay(played: Pipeline, bench: NoDetectors) -> list[Baseline]:
    partition = AnalysePartition(0, played.rules, bench)
    said: list[Output] = []
    for offset, raw in enumerate(played.log):
        said += partition.take(decode(raw), offset)
    return [b for b in said if isinstance(b, Baseline) and b.scope == WHOLE and "first traffic" not in b.built_from]


@pytest.mark.parametrize("hours", [2, 6])
def test_hours_with_a_fault_are_left_out_and_made_up_for_if_they_are_many(
    played: Pipeline, traffic: Traffic, hours: int
) -> None:
    plain = replay(played, NoDetectors())[0]
    baseline = replay(played, Alarmed(Kind.NULLS, Severity.TICKET, *range(5, 5 + hours)))[0]
    start = (plain.effective_from_ms - 2 * PANE) // HOUR * HOUR - 24 * HOUR
    hour = (traffic.ts - start) // HOUR
    at = [5 - (start - EPOCH) // HOUR + i for i in range(hours)]
    taught = (hour >= 0) & (hour < 24) & ~np.isin(hour, at)
    if hours > 4:
        taught |= np.isin(hour, [24 + i for i in at])
        assert baseline.effective_from_ms == start + (24 + at[-1] + 1) * HOUR + 2 * PANE
    else:
        assert baseline.effective_from_ms == plain.effective_from_ms
    assert baseline.rows == int(taught.sum())
    assert part_of(baseline, "features.amount").mean == pytest.approx(traffic.amount[taught].mean(), rel=1e-9)
    assert f"without {hours} h" in baseline.built_from
    assert baseline.rows / baseline.panes == pytest.approx(plain.rows / plain.panes, rel=0.02)


@pytest.mark.parametrize(("share", "left_out"), [(0.05, False), (0.6, True)])
def test_values_far_out_are_a_fault_where_they_are_many(played: Pipeline, share: float, left_out: bool) -> None:
    plain = replay(played, NoDetectors())[0]
    found = Alarmed(Kind.DRIFT, Severity.TICKET, 5, 6, detector="range", value=share)
    assert (replay(played, found)[0].rows < plain.rows) is left_out


def test_what_goes_on_for_days_is_learned_in_the_end(played: Pipeline) -> None:
    """An hour is passed over once: the second day teaches whatever it is like."""
    plain = replay(played, NoDetectors())[0]
    for kind, severity in ((Kind.NULLS, Severity.TICKET), (Kind.LATENCY, Severity.PAGE)):
        learned_late = replay(played, Alarmed(kind, severity, *range(60)))
        assert [b.effective_from_ms - plain.effective_from_ms for b in learned_late] == [24 * HOUR]
        assert "without 24 h" in learned_late[0].built_from


def test_drift_alone_keeps_no_hour_from_teaching_but_is_told(played: Pipeline) -> None:
    plain = replay(played, NoDetectors())[0]
    drifted = replay(played, Alarmed(Kind.DRIFT, Severity.TICKET, *range(4, 9)))[0]
    assert (drifted.id, drifted.effective_from_ms) == (plain.id, plain.effective_from_ms)
    assert drifted.built_from.endswith("drift was found in 5 h")


def test_edges_that_say_nothing_any_more_are_cut_anew_and_then_counted_exactly() -> None:
    """From the third hour on everything is far above what the first minutes had."""
    traffic = Traffic(3, 54, jump_at_h=4)
    pipeline = play(traffic, 1)
    first, recut, exact = learned(pipeline, WHOLE)
    assert (recut.learned_days, recut.layout) == (0, "")
    assert (exact.learned_days, exact.layout) == (1, recut.id)
    counts = [np.frombuffer(part_of(b, "features.amount").counts, "<u4") for b in (first, recut, exact)]
    assert not still_fits(counts[0].astype(np.int64), np.eye(CELLS, dtype=np.int64)[-1] * 1000)
    assert counts[1].max() < 0.1 * counts[1].sum()
    assert counts[2].max() < 0.1 * counts[2].sum()
    assert counts[2].sum() == exact.rows
    # The segment has learned anew what its whole's new edges tell apart, and its day as well.
    edges = [part_of(b, "features.amount").edges for b in learned(pipeline, PART)]
    assert part_of(recut, "features.amount").edges in edges


def test_a_baseline_that_somebody_published_is_followed_by_none(played: Pipeline) -> None:
    first = learned(played, WHOLE)[0]
    given = msgspec.structs.replace(first, learned_days=-1, effective_from_ms=EPOCH + 2 * HOUR, id="given")
    partition = AnalysePartition(0, played.rules, NoDetectors())
    partition.offer(given)
    said: list[Output] = []
    for offset, raw in enumerate(played.log):
        said += partition.take(decode(raw), offset)
    assert [b.learned_days for b in said if isinstance(b, Baseline) and b.scope == WHOLE] == []


def sample(hashes: list[int], ts: int) -> Sample:
    array = np.array(hashes, np.uint64)
    return Sample(("x",), array, np.full(len(array), ts), ("",) * len(array), array.astype(np.float32)[:, None])


def test_rows_that_are_dropped_leave_the_others_their_chance() -> None:
    """Whatever is forgotten of an hour: of all other events, those of lowest hash below the limit are there."""
    rows = EvenRows()
    rows.add(sample([1, 5, 9], 0), 4)
    rows.add(sample([2, 3, 8], 1), 4)
    assert rows.sample is not None
    assert rows.sample.hash.tolist() == [1, 2, 3, 5]
    rows.drop(1, 2)
    rows.add(sample([4, 6, 7, 10], 2), 4)
    again = EvenRows.from_parts(msgspec.msgpack.decode(msgspec.msgpack.encode(rows.to_parts())))
    assert again.sample is not None
    # 8 was once dropped, so nothing from there on comes in: 9 of the first hour would have had no chance either.
    assert again.sample.hash.tolist() == [1, 4, 5, 6]
    again.add(sample([0, 11], 3), 4)
    assert again.sample.hash.tolist() == [0, 1, 4, 5]
