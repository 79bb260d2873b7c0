"""Scores that can be computed by hand."""

import math

import numpy as np
import pytest

from streams.evaluate import nab
from streams.evaluate.series import LabelledSeries

STANDARD = nab.PROFILES["standard"]


def file(rows: int, *windows: tuple[int, int], name: str = "f") -> LabelledSeries:
    return LabelledSeries(name, np.arange(rows) * 1000, np.zeros(rows), np.array(windows, np.int64).reshape(-1, 2))


def alarms_at(of: nab.Worths, *rows: int, probation: int = 0) -> np.ndarray:
    alarmed = np.zeros(len(of.worth), np.bool_)
    alarmed[[row - probation for row in rows]] = True
    return alarmed


@pytest.mark.parametrize(("rows", "expected"), [(100, 15), (101, 15), (4_032, 604), (5_000, 750), (22_000, 750)])
def test_the_probation_is_fifteen_percent_and_750_rows_at_most(rows: int, expected: int) -> None:
    assert nab.probation(rows) == expected


def test_an_alarm_is_worth_less_the_later_it_comes_and_costs_more_the_further_off() -> None:
    assert nab.sigmoid(0.0) == 0.0
    assert nab.sigmoid(-1.0) == pytest.approx(math.tanh(2.5))
    assert nab.sigmoid(1.0) == pytest.approx(-math.tanh(2.5))
    assert nab.sigmoid(3.1) == -1.0


@pytest.mark.parametrize("profile", list(nab.PROFILES))
def test_the_first_row_of_every_window_and_nothing_else_is_100(profile: str) -> None:
    of = nab.worths([file(100, (20, 29), (60, 69)), file(200, (100, 119))])
    at = alarms_at(of, 20 - 15, 60 - 15, 85 + 100 - 30)
    assert nab.score(at, of, nab.PROFILES[profile]) == pytest.approx(100)


@pytest.mark.parametrize("profile", list(nab.PROFILES))
def test_saying_nothing_is_0(profile: str) -> None:
    of = nab.worths([file(100, (20, 29)), file(50)])
    assert nab.score(np.zeros(len(of.worth), np.bool_), of, nab.PROFILES[profile]) == 0


def test_one_window_half_way_in_and_one_false_alarm_before_any_window() -> None:
    of = nab.worths([file(100, (40, 49))])
    # Row 45 lies (49 - 45 + 1) / 10 of the window before its end: y = -0.5. The false alarm costs its whole weight.
    half = math.tanh(1.25) / math.tanh(2.5)
    raw = half - 0.11
    assert nab.score(alarms_at(of, 45, 30, probation=15), of, STANDARD) == pytest.approx(100 * (raw + 1) / 2)


def test_a_false_alarm_right_behind_a_window_costs_little() -> None:
    of = nab.worths([file(100, (40, 50))])
    worth = -math.tanh(2.5 * 0.1)  # one row behind, of a window that is 11 rows wide: a tenth of ten steps
    assert of.worth[51 - 15] == pytest.approx(worth)
    raw = -1 + 0.11 * worth
    assert nab.score(alarms_at(of, 51, probation=15), of, STANDARD) == pytest.approx(100 * (raw + 1) / 2)


def test_only_the_earliest_alarm_of_a_window_counts_and_every_false_one() -> None:
    of = nab.worths([file(100, (40, 49))])
    once = nab.score(alarms_at(of, 42, probation=15), of, STANDARD)
    assert nab.score(alarms_at(of, 42, 43, 48, probation=15), of, STANDARD) == once
    one = nab.score(alarms_at(of, 42, 20, probation=15), of, STANDARD)
    two = nab.score(alarms_at(of, 42, 20, 25, probation=15), of, STANDARD)
    assert once - one == pytest.approx(one - two) == pytest.approx(100 * 0.11 / 2)


def test_what_is_missed_weighs_twice_where_that_is_the_profile() -> None:
    of = nab.worths([file(100, (20, 29), (60, 69))])
    at = alarms_at(of, 20, probation=15)
    assert nab.score(at, of, STANDARD) == pytest.approx(50)
    # One of two: raw 1 - 2 between -4 and 2.
    assert nab.score(at, of, nab.PROFILES["reward_low_FN"]) == pytest.approx(100 * 3 / 6)


def test_rows_of_the_probation_do_not_count() -> None:
    of = nab.worths([file(100, (2, 9), (60, 69))])
    assert of.windows == 1
    assert len(of.worth) == 85


def test_the_best_threshold_is_found_and_its_score_is_that_of_its_alarms() -> None:
    rng = np.random.default_rng(5)
    of = nab.worths([file(300, (100, 119), (200, 229))])
    scores = np.round(rng.random(len(of.worth)), 2)  # ties: all rows of a score come together
    best, threshold = nab.optimise(scores, of, STANDARD)
    tried = [nab.score(scores >= each, of, STANDARD) for each in np.unique(scores)]
    assert best == pytest.approx(max(0.0, *tried))
    assert best == pytest.approx(nab.score(scores >= threshold, of, STANDARD))


def test_where_every_alarm_costs_the_best_is_to_say_nothing() -> None:
    of = nab.worths([file(200, (100, 119))])
    scores = np.where(of.window >= 0, 0.0, 1.0)
    scores[of.window >= 0] = np.nan
    assert nab.optimise(scores, of, STANDARD) == (0.0, math.inf)
