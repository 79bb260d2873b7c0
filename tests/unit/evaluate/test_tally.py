import math

import numpy as np
import pytest

from detectors.series.protocol import alarms
from streams.evaluate.tally import tally, total


def ints(*given: object) -> np.ndarray:
    return np.array(given, np.int64)


def test_found_missed_and_false() -> None:
    one = tally(ints(5, 22, 24, 90), ints((20, 29), (50, 59)), 100)
    assert (one.anomalies, one.found, one.alarms, one.false, one.delays) == (2, 1, 4, 2, (2,))
    assert (one.recall, one.precision, one.delay_p50) == (0.5, 0.5, 2.0)
    assert one.false_per_10000 == pytest.approx(10_000 * 2 / 80)


def test_what_comes_before_the_first_window_does_not_count() -> None:
    one = tally(ints(5, 22), ints((2, 8), (20, 29)), 100, first=10)
    assert (one.anomalies, one.alarms, one.false, one.windows, one.quiet) == (1, 1, 0, 90, 80)


def test_tallies_add_up_and_nothing_is_no_share() -> None:
    none = np.empty((0, 2), np.int64)
    both = total([tally(ints(3), none, 10), tally(ints(), none, 10)])
    assert (both.false, both.quiet) == (1, 20)
    assert math.isnan(both.recall)


def test_repeats_within_the_refractory_period_are_one_alarm() -> None:
    score = np.array([np.nan, 5, 5, 1, 5, 5, 5])
    assert alarms(score, 5, 3).tolist() == [1, 4]
    assert alarms(score, 5, 1).tolist() == [1, 2, 4, 5, 6]
    assert alarms(score, 6).tolist() == []
