"""The seasonal expectation: what it learns, what it does not let itself be taught, and what volume makes of it."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.parameters import ParameterError
from detectors.registry import make, restore
from detectors.seasonal.expectation import DAY, HOUR_MS, WEEK, Expectation, SeasonalExpectation, SeasonalParams
from detectors.state import StateError
from tests.laws.seasons import A_DAY, MONDAY_MS, findings, rhythm, volumes

Floats = NDArray[np.float64]
SERIES = np.arange(3)
seeds = pytest.mark.parametrize("seed", range(3))


def hourly(day: int, hour: int) -> Floats:
    """Three series of logarithms: one with days and weekends, one with noise alone, one that never moves."""
    weekend = -0.7 if day % 7 >= 5 else 0.0
    noise = np.random.default_rng((day, hour)).normal(0, 0.15)
    return np.array([6 + np.cos(2 * np.pi * (hour - 15) / 24) + weekend, 6 + noise, 6.0])


def taught(
    days: int, changed: Callable[[int, int, Floats], Floats] | None = None, bank: SeasonalExpectation | None = None
) -> SeasonalExpectation:
    """A bank that has seen so many days; ``changed`` makes what was seen out of what there was, NaN for nothing."""
    bank = bank or SeasonalExpectation(logs=False)
    for day in range(days):
        for hour in range(24):
            y = hourly(day, hour) if changed is None else changed(day, hour, hourly(day, hour))
            at = MONDAY_MS + (day * 24 + hour) * HOUR_MS
            bank.at(SERIES, at + HOUR_MS // 2)
            bank.learn(SERIES, at, np.nan_to_num(y), np.where(np.isnan(y), 0.0, 1.0))
    return bank


def expected(bank: SeasonalExpectation, day: int, hour: int) -> Expectation:
    return bank.at(SERIES, MONDAY_MS + (day * 24 + hour) * HOUR_MS + HOUR_MS // 2)


def errors(bank: SeasonalExpectation, day: int) -> Floats:
    return np.array([expected(bank, day, hour).usual[0] - hourly(day, hour)[0] for hour in range(24)])


def test_nothing_is_claimed_before_the_second_day() -> None:
    fresh = expected(SeasonalExpectation(logs=False), 0, 0)
    assert np.isnan(fresh.usual).all()
    assert (fresh.rhythm == 0).all()
    first = expected(taught(1), 0, 23)
    assert (first.rhythm == 0).all()
    assert np.isinf(first.low).all()
    assert np.isinf(first.high).all()


def test_days_are_known_after_days_and_weeks_after_weeks() -> None:
    assert np.abs(errors(taught(3), 3)).mean() < 0.15
    sunday = [np.abs(errors(taught(7 * weeks + 6), 7 * weeks + 6)).mean() for weeks in (0, 1, 3)]
    assert sunday[0] > sunday[1] > sunday[2]
    assert sunday[2] < 0.15


def test_noise_is_no_rhythm() -> None:
    bank = taught(21)
    rhythms = np.array([expected(bank, 21, hour).rhythm for hour in range(24)])
    assert np.ptp(rhythms[:, 0]) > 1.7
    # Of noise with a standard deviation of 0.15 the buckets' means range over 0.2: less than half is believed.
    assert np.ptp(rhythms[:, 1]) < 0.1
    assert (rhythms[:, 2] == 0).all()


def test_an_outlier_teaches_no_more_than_what_is_usual() -> None:
    def burst(day: int, hour: int, y: Floats) -> Floats:
        return y + 5 if (day, hour) == (20, 12) else y

    assert expected(taught(21, burst), 21, 12).usual[0] - expected(taught(21), 21, 12).usual[0] < 0.1


def test_windows_that_are_missing_teach_nothing() -> None:
    def holes(day: int, hour: int, y: Floats) -> Floats:
        return np.full(3, np.nan) if day == 18 or hour % 5 == day % 5 else y

    assert np.abs(errors(taught(21, holes), 21)).mean() < 0.1


def test_a_day_like_another_is_usual_and_one_like_none_is_not() -> None:
    bank = taught(28)
    noon = expected(bank, 28, 12)
    like_sunday, like_none = hourly(27, 12)[0], hourly(27, 12)[0] - 1.5
    assert noon.low[0] < like_sunday < hourly(28, 12)[0] < noon.high[0]
    assert like_none < noon.low[0]


def test_the_usual_range_holds_when_the_clocks_change() -> None:
    bank = taught(28)
    for hour in range(24):
        now = expected(bank, 28, hour)
        for shifted in (hour - 1, hour + 1):
            assert now.low[0] < hourly(28, shifted % 24)[0] < now.high[0]


@pytest.mark.parametrize("stays", [False, True])
def test_what_is_released_comes_back_or_stays_where_it_went(stays: bool) -> None:
    bank, halved = taught(28), np.log(0.4)
    bank.release(SERIES, MONDAY_MS + 28 * 24 * HOUR_MS)
    for hour in range(30):
        at = MONDAY_MS + (28 * 24 + hour) * HOUR_MS
        now = bank.at(SERIES, at + HOUR_MS // 2)
        assert np.isinf(now.low).all() == (hour < 24)
        bank.learn(SERIES, at, hourly(28 + hour // 24, hour % 24) + (halved if stays or hour < 12 else 0), np.ones(3))
    there = hourly(29, 6)[0] + (halved if stays else 0)
    assert expected(bank, 29, 6).usual[0] == pytest.approx(there, abs=0.2)


def test_what_is_saved_continues_exactly_and_what_is_forgotten_begins_anew() -> None:
    bank = taught(9)
    again = SeasonalExpectation.from_bytes(bank.to_bytes("x", 1), "x", 1, logs=False)
    both = [taught(5, bank=part) for part in (bank, again)]
    assert both[0].to_bytes("x", 1) == both[1].to_bytes("x", 1)
    with pytest.raises(StateError, match="x v1, this is x v2"):
        SeasonalExpectation.from_bytes(bank.to_bytes("x", 1), "x", 2)
    bank.forget(SERIES[:1])
    assert np.isnan(expected(bank, 30, 0).usual).tolist() == [True, False, False]


def test_a_series_costs_less_than_a_kilobyte() -> None:
    bank = SeasonalExpectation(logs=False)
    for hour in range(WEEK):
        bank.at(np.arange(100), hour * HOUR_MS)
        bank.learn(np.arange(100), hour * HOUR_MS, np.ones(100), np.ones(100))
    bank.at(np.arange(100), WEEK * HOUR_MS)
    assert len(bank.to_bytes("x", 1)) / 100 < 1000


def test_bounds_are_checked() -> None:
    with pytest.raises(ParameterError, match="memory_days"):
        SeasonalParams(memory_days=0)


def test_a_fade_that_the_last_half_hour_follows_is_found_by_the_season() -> None:
    rng = np.random.default_rng(5)
    t = np.arange(15 * A_DAY)[:, None]
    truth = 6 + np.cos(2 * np.pi * (t / A_DAY - 0.6)) * np.ones(6)
    harmed = np.arange(6) >= 3
    truth[-A_DAY // 2 :] += np.linspace(0, np.log(0.1), A_DAY // 2)[:, None] * harmed
    drawn = rng.poisson(np.exp(truth)).astype(np.float64)
    assert findings(drawn, seasonal=True).any(axis=0).tolist() == harmed.tolist()
    assert not findings(drawn, seasonal=False).any()


def test_steep_days_weekends_and_holidays_are_no_news() -> None:
    rng = np.random.default_rng(100)
    truth, holiday = rhythm(rng, 12, 28 * A_DAY, events=(30, 100_000))
    assert holiday[21 * A_DAY :].any()
    assert findings(rng.poisson(np.exp(truth)).astype(np.float64), seasonal=True).sum() == 0


@seeds
def test_the_first_day_is_judged_as_if_there_were_no_seasons(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, _ = rhythm(rng, 20, A_DAY, events=(1, 10_000))
    drawn = rng.poisson(np.exp(truth)).astype(np.float64)
    drawn[100:130] = 0
    np.testing.assert_array_equal(findings(drawn, seasonal=True), findings(drawn, seasonal=False))


def test_volume_goes_on_exactly_from_what_it_saved_in_the_third_week() -> None:
    rng = np.random.default_rng(1)
    truth, _ = rhythm(rng, 3, 15 * A_DAY)
    drawn, window = rng.poisson(np.exp(truth)).astype(np.float64), volumes(3)
    params = {"window_s": 300}
    detector = make("volume", params)
    for i, count in enumerate(drawn[:-50]):
        detector.step(window(MONDAY_MS + i * 300_000, count))
    again = restore("volume", detector.to_bytes(), params)
    for i, count in enumerate(drawn[-50:], len(drawn) - 50):
        one, other = (part.step(window(MONDAY_MS + i * 300_000, count)) for part in (detector, again))
        np.testing.assert_array_equal(one.score, other.score)
        np.testing.assert_array_equal(one.reference, other.reference)


def test_hours_of_the_week_begin_on_monday() -> None:
    assert (MONDAY_MS // HOUR_MS + 72) % WEEK == 0
    assert MONDAY_MS // HOUR_MS % DAY == 0
