"""The default for one series: the laws every detector keeps, and what it is for."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.parameters import ParameterError
from detectors.series.past import MOST, Past
from detectors.series.protocol import alarms
from detectors.series.surprise import INGREDIENTS, THRESHOLD, SeriesSurprise, SurpriseParams
from detectors.state import StateError

STEP_MS = 300_000
SMALL = SurpriseParams(history_rows=300, warmup_rows=50, season_s=STEP_MS // 1000 * 48)


def series(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    day = 5 * np.sin(np.arange(rows) * 2 * np.pi / 48)
    return np.arange(rows, dtype=np.int64) * STEP_MS, day + rng.normal(size=rows)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 700), max_size=4), saved=st.booleans())
def test_neither_calls_nor_a_restart_change_a_score(cuts: list[int], saved: bool) -> None:
    ts_ms, value = series(700)
    whole = SeriesSurprise(SMALL).step(ts_ms, value)
    detector, parts = SeriesSurprise(SMALL), []
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), 700], strict=True):
        parts.append(detector.step(ts_ms[first:last], value[first:last]))
        if saved:
            detector = SeriesSurprise.from_bytes(detector.to_bytes(), SMALL)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_it_says_nothing_while_it_warms_up_and_nothing_of_what_is_missing() -> None:
    ts_ms, value = series(200)
    value[150] = np.nan
    score = SeriesSurprise(SMALL).step(ts_ms, value)
    assert np.isnan(score[:50]).all()
    assert np.isnan(score[150])
    assert np.isfinite(score[151:]).all()


def test_its_state_is_bounded() -> None:
    detector = SeriesSurprise(SMALL)
    detector.step(*series(700))
    size = len(detector.to_bytes())
    ts_ms, value = series(2_000)
    detector.step(ts_ms[700:], value[700:])
    assert len(detector.to_bytes()) <= size + 100


def test_the_unit_of_a_series_changes_nothing() -> None:
    ts_ms, value = series(500)
    one, other = (SeriesSurprise(SMALL).step(ts_ms, unit * value) for unit in (1.0, 1024.0))
    np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("anomaly", ["spike", "level"])
def test_it_raises_an_alarm_at_what_stands_out(anomaly: str, seed: int) -> None:
    ts_ms, value = series(1_000, seed)
    broken = value.copy()
    if anomaly == "spike":
        broken[800:803] += 30
    else:
        broken[800:] += 20
    params = SurpriseParams(season_s=SMALL.season_s, season_rows=12)
    raised = alarms(SeriesSurprise(params).step(ts_ms, broken), THRESHOLD, refractory_rows=24)
    assert ((raised >= 800) & (raised < 860)).any()


@pytest.mark.parametrize("seed", range(3))
def test_a_peak_that_does_not_come_is_the_most_surprising_there_is(seed: int) -> None:
    ts_ms, value = series(1_000, seed)
    # From the trough of one day to that of the next nothing rises.
    value[804:852] -= 5 + 5 * np.sin(np.arange(804, 852) * 2 * np.pi / 48)
    params = SurpriseParams(season_s=SMALL.season_s, season_rows=12, ingredients=("season",))
    score = SeriesSurprise(params).step(ts_ms, value)
    assert 804 <= 300 + int(np.nanargmax(score[300:])) < 870


def test_a_score_does_not_fall_when_a_spike_grows() -> None:
    ts_ms, value = series(600)
    scores = []
    for height in (0.0, 5.0, 10.0, 30.0, 100.0):
        spiked = value.copy()
        spiked[-1] += height
        scores.append(SeriesSurprise(SMALL).step(ts_ms, spiked)[-1])
    assert scores[0] < scores[1] <= scores[2] <= scores[3] <= scores[4] <= MOST


def test_noise_alone_rarely_reaches_the_threshold() -> None:
    rng = np.random.default_rng(11)
    ts_ms = np.arange(3_000, dtype=np.int64) * STEP_MS
    score = SeriesSurprise(SurpriseParams(ingredients=("short", "jump"))).step(ts_ms, rng.normal(size=3_000))
    # Of a stationary series the mean surprise of each ingredient is 1: ranks are uniform.
    assert np.nanmean(score) == pytest.approx(1, abs=0.2)


def test_a_constant_series_is_never_surprising() -> None:
    ts_ms = np.arange(400, dtype=np.int64) * STEP_MS
    assert np.nanmax(SeriesSurprise(SMALL).step(ts_ms, np.full(400, 7.0))) == 0


def test_unknown_ingredients_and_foreign_state_are_refused() -> None:
    with pytest.raises(ParameterError, match="salt"):
        SurpriseParams(ingredients=("salt",))
    with pytest.raises(StateError):
        SeriesSurprise.from_bytes(b"junk", SMALL)
    alone = SeriesSurprise(SurpriseParams(ingredients=("jump",))).to_bytes()
    with pytest.raises(StateError, match="without long"):
        SeriesSurprise.from_bytes(alone, SurpriseParams(ingredients=INGREDIENTS))


def test_a_surprise_is_the_rank_within_the_past() -> None:
    past = Past(1_000, 20)
    for distance in range(99):
        past.step(float(distance))
    assert past.step(49.0) == pytest.approx(-math.log((50 + 1) / 100))


def test_the_past_forgets_what_is_oldest_and_comes_back_as_it_was() -> None:
    rng = np.random.default_rng(3)
    distances = rng.exponential(size=500).tolist()
    past = Past(60, 20)
    for distance in distances[:400]:
        past.step(distance)
    assert past.history.tolist() == distances[340:400]
    again = Past(60, 20, past.history)
    assert [past.step(d) for d in distances[400:]] == [again.step(d) for d in distances[400:]]


def test_exponential_distances_have_the_surprise_of_their_law() -> None:
    past = Past(4_000, 100, np.random.default_rng(2).exponential(size=4_000))
    # Beyond all ranks: -ln of exp(-12) is 12, as far as eighty excesses know their mean.
    assert past.step(12.0) == pytest.approx(12, rel=0.3)
