"""What anyone would try first, and what every detector must beat: a clock, a fixed limit, a rolling z-score."""

import math
from typing import Final

import numpy as np

from detectors.protocol import Floats, Ints

_MIN_SPREAD: Final = 1e-9
_MIN_ROWS: Final = 20


class PeriodicAlarm:
    """An alarm at fixed intervals, whatever the values.

    The score of a row is the largest power of two that divides its number: a threshold of 64 alarms at every 64th row,
    so that an optimiser of thresholds chooses the interval.
    """

    def __init__(self) -> None:
        self._row = 0

    def step(self, ts_ms: Ints, value: Floats) -> Floats:  # noqa: ARG002 - as all of them
        """See :class:`~detectors.series.protocol.SeriesDetector`; the times and values are not looked at."""
        rows = np.arange(self._row + 1, self._row + 1 + len(value))
        self._row += len(value)
        return (rows & -rows).astype(np.float64)


class FixedLimit:
    """Standard deviations from the mean, both of the first rows and never learned again.

    Parameters
    ----------
    rows
        The first rows, in which there is nothing to say.
    """

    def __init__(self, rows: int = 288) -> None:
        self._rows = rows
        self._first: list[float] = []
        self._mean = self._spread = math.nan

    def step(self, ts_ms: Ints, value: Floats) -> Floats:  # noqa: ARG002 - as all of them
        """See :class:`~detectors.series.protocol.SeriesDetector`."""
        return np.array([self._row(number) for number in value.tolist()], np.float64)

    def _row(self, value: float) -> float:
        if len(self._first) < self._rows:
            if math.isfinite(value):
                self._first.append(value)
            if len(self._first) == self._rows:
                self._mean, self._spread = float(np.mean(self._first)), _spread(np.array(self._first))
            return math.nan
        return abs(value - self._mean) / self._spread if math.isfinite(value) else math.nan


class RollingZ:
    """Standard deviations from the mean of the last rows: the windowed Gaussian, its tail not cut off at 1.

    Parameters
    ----------
    rows
        How many rows the mean and deviation are of.
    """

    def __init__(self, rows: int = 4_032) -> None:
        self._rows = rows
        self._last = np.empty(0)

    def step(self, ts_ms: Ints, value: Floats) -> Floats:  # noqa: ARG002 - as all of them
        """See :class:`~detectors.series.protocol.SeriesDetector`."""
        return np.array([self._row(number) for number in value.tolist()], np.float64)

    def _row(self, value: float) -> float:
        if not math.isfinite(value):
            return math.nan
        last = self._last
        score = abs(value - float(last.mean())) / _spread(last) if len(last) >= _MIN_ROWS else math.nan
        self._last = np.append(last[-self._rows + 1 :], value)
        return score


def _spread(values: Floats) -> float:
    return max(float(values.std()), _MIN_SPREAD * abs(float(values.mean())), 1e-12)
