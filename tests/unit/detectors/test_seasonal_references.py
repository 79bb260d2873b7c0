"""Baselines of latency and errors that follow the hours of the day, and what they do not excuse."""

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
kinds = pytest.mark.parametrize("kind", ["latency", "errors"])


def tide(hour: int) -> float:
    """A rhythm on the logarithm, from -0.5 at four in the morning to 0.5 at four in the afternoon."""
    return -0.5 * float(np.cos(2 * np.pi * (hour - 4) / 24))


def window(i: int, factor: float, rng: np.random.Generator) -> WindowBatch:
    """Hour ``i``, with latencies and errors ``factor`` times those of the baseline."""
    empty, ids = volumes(N)(MONDAY_MS + i * HOUR_MS, np.full(N, float(ROWS))), np.arange(N)
    columns = {name: np.full(N, np.nan) for name in ("mean", "m2", "min", "max", "ref_mean", "ref_std")}
    cells = np.zeros((N, 34), np.int64)
    noise = rng.normal(0, 0.01, (N, 1))
    numeric = NumericColumns(
        series=1_000 + ids, scope=ids, name=["latency_ms"] * N, role=np.full(N, int(Role.LATENCY)),
        rows=np.full(N, ROWS), count=np.full(N, ROWS), quantiles=np.array([20.0, 50.0, 80.0]) * factor * np.exp(noise),
        has_baseline=np.ones(N, np.bool_), has_edges=np.zeros(N, np.bool_), cur=cells, ref=cells,
        edges=np.full((N, 33), np.nan), ref_count=np.full(N, ROWS), ref_rows=np.full(N, ROWS),
        ref_quantiles=np.tile([20.0, 50.0, 80.0], (N, 1)), **columns,
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
    assert (told[0] > window(0, 1.0, rng).numeric.ref_quantiles[0, 0] if kind == "latency" else told[0] > 0.15).all()
    series = afternoon.numeric.series if kind == "latency" else afternoon.scopes.series["errors"]
    detector.forget(series)
    anew = detector.step(afternoon).reference
    assert (anew < told[0]).all()
