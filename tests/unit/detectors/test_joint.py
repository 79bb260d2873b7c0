"""How quantities stand to each other: found where that changes, silent where it does not."""

from dataclasses import replace

import numpy as np
import pytest
from msgspec.structs import replace as with_fields

from detectors.baseline import MAX_JOINT, from_table
from detectors.drift import pairs
from detectors.drift.joint import PairDrift
from detectors.explain import explain
from detectors.registry import make, restore
from schemas.baselines import decode, encode
from schemas.scopes import Family, Scope
from tests.laws.joint import HARMS, KINDS, LONGEST, SAMPLE, Rows, Streams, contest, delays, factors, false_alarms
from tests.laws.world import Seen, World

MODEL = Scope(Family.PREDICTION, "payouts", "1")


@pytest.mark.parametrize("rows", [200, 2_000, 200_000])
@pytest.mark.parametrize("how", [{}, {"heavy": True}, {"shapes": True}], ids=["normal", "heavy tails", "shapes"])
def test_nothing_is_found_where_nothing_changes(rows: int, how: dict[str, bool]) -> None:
    assert not false_alarms(1, scopes=4, windows=30, rows=rows, k=30, **how)


def test_values_that_come_in_bursts_are_no_change() -> None:
    assert not false_alarms(2, scopes=4, windows=30, rows=200, k=20, burst=4)


@pytest.mark.parametrize(
    ("harm", "most"),
    [("0.6 between two features is gone", 8), ("two features swap", 8), ("the score follows one no more", 12)],
)
def test_what_stands_otherwise_is_found(harm: str, most: int) -> None:
    found = [delays(harm, seed=seed, rows=2_000) for seed in range(3)]
    assert np.median(found) <= most


def test_a_model_of_few_events_is_found_out_later_but_is() -> None:
    assert delays("0.6 between two features is gone", seed=1, rows=40) < LONGEST


@pytest.mark.parametrize("harm", ["0.6 is 0.4", "0.35 where nothing was"])
def test_the_largest_change_of_a_pair_sees_more_than_principal_components(harm: str) -> None:
    power = np.mean([contest(seed, harm, windows=200) for seed in range(3)], axis=0)
    assert power[0] > power[1]


def test_both_ends_of_a_broken_pair_are_told_and_with_whom() -> None:
    streams = Streams(3, 1, 10)
    for _ in range(15):
        streams.step(2_000)
    broken = HARMS["0.6 between two features is gone"](factors(10))
    for _ in range(9):
        streams.step(2_000, broken)
    said = streams.step(2_000, broken)
    assert said["multivariate"][0] == {"features.f00", "features.f01"}
    assert not said["association"][0]


def tables(seed: int, rows: int = 2_000) -> tuple[Rows, dict[str, np.ndarray]]:
    drawn = Rows(seed, 10)
    return drawn, dict(zip(drawn.names, drawn.draw(rows).T, strict=True))


def watched(kind: str, table: dict[str, np.ndarray]) -> tuple[PairDrift, World]:
    baseline = from_table(MODEL, table, built_from="test", effective_from_ms=0)
    detector = make(kind)
    assert isinstance(detector, PairDrift)
    detector.rebase(0, baseline)
    return detector, World({MODEL: baseline})


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_from_what_to_what_with_whom_and_on_how_many_rows(kind: str) -> None:
    rows, table = tables(1)
    detector, world = watched(kind, table)
    broken = HARMS["the score follows one no more"](rows.rho)
    broken = HARMS["0.6 between two features is gone"](broken)
    seen = [Seen(SAMPLE, sample=(rows.names, rows.draw(SAMPLE, broken))) for _ in range(12)]
    *_, scores = [detector.step(world.window({MODEL: one}, i * 60_000)) for i, one in enumerate(seen)]
    at = list(scores.quantity).index("features.f00")
    other, usual = ("with f01", 0.6) if kind == "multivariate" else ("with score", 0.4)
    assert scores.label is not None
    assert scores.label[at] == other
    assert scores.reference[at] == pytest.approx(usual, abs=0.08)
    assert scores.value[at] == pytest.approx(0.0, abs=0.15)
    assert scores.threshold is not None
    assert scores.value[at] < scores.threshold[at] < scores.reference[at]
    assert 500 < scores.rows[at] <= 12 * SAMPLE
    sentence = explain(scores, at, MODEL, 0)
    assert f"features.f00 ({other}) of payouts 1: correlation" in sentence
    assert "baseline 0." in sentence


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_seen_of_a_series_that_is_gone_is_forgotten_and_its_reference_with_its_scope(kind: str) -> None:
    rows, table = tables(2)
    detector, world = watched(kind, table)
    window = world.window({MODEL: Seen(SAMPLE, sample=(rows.names, rows.draw(SAMPLE)))})
    first = detector.step(window)
    detector.forget(first.series[:1])
    np.testing.assert_array_equal(detector.step(replace(window)).score, first.score)
    detector.drop_reference(0)
    assert not len(detector.step(window).series)


@pytest.mark.parametrize("kind", KINDS)
def test_a_baseline_from_before_pairs_were_kept_is_not_ready_and_the_cap_holds(kind: str) -> None:
    rows, table = tables(2)
    baseline = from_table(MODEL, table, built_from="test", effective_from_ms=0)
    window = World({MODEL: baseline}).window({MODEL: Seen(SAMPLE, sample=(rows.names, rows.draw(SAMPLE)))})
    for params, given in (({}, with_fields(baseline, joint=None)), ({"max_scopes": 0}, baseline)):
        detector = make(kind, params)
        assert isinstance(detector, PairDrift)
        detector.rebase(0, given)
        assert not detector.step(window).ready.any()


@pytest.mark.parametrize("kind", KINDS)
def test_saved_in_the_midst_of_it_it_goes_on(kind: str) -> None:
    rows, table = tables(4)
    detector, world = watched(kind, table)
    windows = [world.window({MODEL: Seen(SAMPLE, sample=(rows.names, rows.draw(SAMPLE)))}) for _ in range(6)]
    for window in windows[:3]:
        detector.step(window)
    heir = restore(kind, detector.to_bytes())
    for window in windows[3:]:
        np.testing.assert_array_equal(detector.step(window).score, heir.step(replace(window)).score)


def test_a_baseline_keeps_the_closest_pairs_and_travels() -> None:
    rng = np.random.default_rng(5)
    root = rng.normal(size=600)
    table = {f"features.f{i:03d}": rng.normal(size=600) for i in range(MAX_JOINT + 20)}
    table |= {f"features.z{i}": root + rng.normal(size=600) for i in range(3)} | {"score": rng.normal(size=600)}
    baseline = decode(encode(from_table(MODEL, table, built_from="test", effective_from_ms=0)))
    assert baseline.joint is not None
    names = baseline.joint.names
    assert len(names) == MAX_JOINT
    assert {"score", "features.z0", "features.z1", "features.z2"} <= set(names)
    q, v, rows = np.frombuffer(baseline.joint.pairs, "<f4").reshape(3, -1)
    first, second = np.triu_indices(len(names), 1)
    close = (first == names.index("features.z0")) & (second == names.index("features.z1"))
    assert np.tanh(q[close]) == pytest.approx(0.48, abs=0.1)
    assert (rows <= 600).all()
    assert (v > 0).all()


def test_rare_values_constants_and_nulls_make_no_pairs() -> None:
    rng = np.random.default_rng(6)
    ref = np.array([[900, 100], [1_000, 0], [500, 500]])
    scores = pairs.rank_scores(ref)
    cells = np.stack((rng.random(60) < 0.1, np.zeros(60, bool), rng.random(60) < 0.5), axis=1).astype(np.int64)
    seen = scores[np.arange(3), cells]
    assert np.isnan(pairs.correlations(seen, pairs.others(ref)).q).all()
    assert np.isfinite(pairs.correlations(seen).q).tolist() == [False, True, False]
    seen[:50] = np.nan
    assert np.isnan(pairs.correlations(seen).q).all()


@pytest.mark.parametrize("burst", [1, 5])
def test_rows_that_come_together_count_for_fewer(burst: int) -> None:
    rows = Rows(7, 10, burst=burst)
    table = rows.draw(4_000)
    ranks = (2 * np.argsort(np.argsort(table, axis=0), axis=0) / len(table) - 1) * np.sqrt(3)
    q = pairs.correlations(ranks).q
    worth = pairs.independent(ranks, q, pairs.influence(ranks, q))
    assert np.median(1 / worth) == pytest.approx(burst, rel=0.35)
