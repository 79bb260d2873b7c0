"""Baselines of latency, errors and scores that follow the hours of the day, and what they do not excuse."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from detectors.protocol import Bools, Floats, NumericColumns, Role, ScopeColumns, WindowBatch
from detectors.registry import make, restore
from schemas.scopes import Family
from tests.laws.seasons import MONDAY_MS, volumes

HOUR_MS = 3_600_000
ROWS = 5_000
N = 3
KNOWN = 14 * 24
kinds = pytest.mark.parametrize("kind", ["latency", "errors", "score_mean"])


def tide(hour: int) -> float:
    """A rhythm on the logarithm, from -0.5 at four in the morning to 0.5 at four in the afternoon."""
    return -0.5 * float(np.cos(2 * np.pi * (hour - 4) / 24))


def window(i: int, factor: float, rng: np.random.Generator) -> WindowBatch:
    """Hour ``i``: latencies and errors are ``factor`` times the baseline's, scores its logarithm in deviations off."""
    empty, ids = volumes(N)(MONDAY_MS + i * HOUR_MS, np.full(N, float(ROWS))), np.arange(N)
    k = 2 * N
    cells, noise, many = np.zeros((k, 34), np.int64), rng.normal(0, 0.01, (k, 1)), np.full(k, ROWS)
    numeric = NumericColumns(
        series=1_000 + np.arange(k), scope=np.tile(ids, 2), name=["latency_ms"] * N + ["score"] * N,
        role=np.repeat([int(Role.LATENCY), int(Role.SCORE)], N), rows=many, count=many,
        mean=0.3 + 0.1 * (np.log(factor) + noise[:, 0]), m2=many * 0.01, min=np.full(k, np.nan), max=np.full(k, np.nan),
        quantiles=np.array([20.0, 50.0, 80.0]) * factor * np.exp(noise), has_baseline=many > 0, has_edges=many < 0,
        cur=cells, ref=cells, edges=np.full((k, 33), np.nan), ref_count=many, ref_rows=many,
        ref_mean=np.full(k, 0.3), ref_std=np.full(k, 0.1), ref_quantiles=np.tile([20.0, 50.0, 80.0], (k, 1)),
    )  # fmt: skip
    errors = rng.binomial(ROWS, min(0.1 * factor, 1.0), N)
    scopes: ScopeColumns = replace(
        empty.scopes, family=[Family.PREDICTION] * N, errors=errors, ref_error_ratio=np.full(N, 0.1),
        series={"errors": ids + 50},
    )  # fmt: skip
    return replace(empty, size_ms=HOUR_MS, numeric=numeric, scopes=scopes)


def over(kind: str, hours: int, factor: Callable[[int], float], *, seasonal: bool = True) -> Bools:
    """Which of the first scope's hours are over their limit."""
    rng, detector, told = np.random.default_rng(7), make(kind, {"window_s": 3600, "seasonal": seasonal}), []
    for i in range(hours):
        scores = detector.step(window(i, factor(i), rng))
        told.append(bool(scores.score[0] >= scores.floor[0] and scores.score[0] > scores.noise[0]))
    return np.array(told)


def from_night(i: int) -> float:
    return float(np.exp(tide(i % 24) - tide(4)))


@kinds
def test_a_baseline_of_the_night_flags_no_afternoon_once_the_day_is_known(kind: str) -> None:
    assert over(kind, KNOWN, from_night, seasonal=False)[-24:].sum() > 6
    assert not over(kind, KNOWN, from_night)[-7 * 24 :].any()


@kinds
def test_what_is_too_much_at_night_is_found_though_the_afternoon_has_more(kind: str) -> None:
    begins = KNOWN + 2

    def harmed(i: int) -> float:
        return float(np.exp(tide(i % 24))) * (1.7 if i >= begins else 1)

    assert not over(kind, begins + 3, harmed, seasonal=False)[begins:].any()
    assert over(kind, begins + 3, harmed)[begins:].all()


@kinds
def test_what_stays_too_much_is_no_rhythm(kind: str) -> None:
    def moved(i: int) -> float:
        return float(np.exp(tide(i % 24))) * (3 if i >= KNOWN else 1)

    assert over(kind, KNOWN + 14 * 24, moved)[KNOWN:].mean() > 0.9
    assert over(kind, KNOWN, lambda i: 2.0 if i >= 24 else 1.0)[24:].all()


@kinds
def test_one_bad_day_does_not_excuse_the_next(kind: str) -> None:
    hours = over(kind, KNOWN + 30, lambda i: 2.0 if i >= KNOWN and i % 24 == 12 else 1.0)
    assert np.flatnonzero(hours).tolist() == [KNOWN + 12]
    again = over(kind, KNOWN + 48, lambda i: 2.0 if i >= KNOWN and i % 24 == 12 else 1.0)
    assert np.flatnonzero(again).tolist() == [KNOWN + 12, KNOWN + 36]


@kinds
def test_rhythms_are_saved_and_forgotten(kind: str) -> None:
    rng, detector = np.random.default_rng(1), make(kind, {"window_s": 3600})
    for i in range(4 * 24):
        detector.step(window(i, from_night(i), rng))
    again = restore(kind, detector.to_bytes(), {"window_s": 3600})
    afternoon = window(4 * 24 + 16, from_night(16), rng)
    told: list[Floats] = [part.step(afternoon).reference for part in (detector, again)]
    np.testing.assert_array_equal(told[0], told[1])
    assert (told[0] > {"latency": 20.0, "errors": 0.15, "score_mean": 0.35}[kind]).all()
    series = afternoon.scopes.series["errors"] if kind == "errors" else afternoon.numeric.series
    detector.forget(series)
    anew = detector.step(afternoon).reference
    assert (anew < told[0]).all()


def test_a_new_baseline_of_the_same_score_keeps_its_rhythm_and_one_of_another_score_does_not() -> None:
    def rebased(i: int, mean: float, std: float) -> WindowBatch:
        found = window(i, from_night(i), rng)
        ref_mean, ref_std = np.full(2 * N, mean), np.full(2 * N, std)
        return replace(found, numeric=replace(found.numeric, ref_mean=ref_mean, ref_std=ref_std))

    rng, detector = np.random.default_rng(3), make("score_mean", {"window_s": 3600})
    for i in range(KNOWN):
        detector.step(window(i, from_night(i), rng))
    saved = detector.to_bytes()
    # Learned at noon: at the next one it is as it was, and at night a low mean is expected.
    higher = [detector.step(rebased(i, 0.38, 0.12)) for i in range(KNOWN, KNOWN + 24)]
    assert not any((one.score > one.floor).any() for one in higher)
    assert min(one.reference[0] for one in higher) < 0.33
    assert max(one.reference[0] for one in higher) > 0.37
    other = restore("score_mean", saved, {"window_s": 3600}).step(rebased(KNOWN, 300.0, 50.0))
    np.testing.assert_array_equal(other.reference, 300.0)
