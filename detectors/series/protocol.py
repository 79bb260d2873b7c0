"""What a detector of one plain series is, and when its scores become alarms."""

from typing import Final, Protocol

import numpy as np

from detectors.protocol import Floats, Ints

REFRACTORY_ROWS: Final = 288
"""Rows after an alarm in which a repeat is the same alarm: a day of five-minute rows."""


class SeriesDetector(Protocol):
    """Scores one series row by row."""

    def step(self, ts_ms: Ints, value: Floats) -> Floats:
        """Score each row by those before it, then learn it.

        Parameters
        ----------
        ts_ms
            int64[n], ms since the epoch, ascending over all calls.
        value
            float64[n]; NaN is a row without a value.

        Returns
        -------
        float64[n], higher is worse; NaN where there is nothing to say. Cutting the rows into other calls changes
        nothing.
        """
        ...


def alarms(score: Floats, threshold: float, refractory_rows: int = REFRACTORY_ROWS) -> Ints:
    """The rows at which an alarm is raised: int64[k].

    Parameters
    ----------
    score
        float64[n], NaN where a detector was not ready.
    threshold
        The score from which it is one.
    refractory_rows
        For so many rows, that of an alarm included, nothing else is told; 1 tells every row.

    Examples
    --------
    >>> alarms(np.array([0, 9, 9, 0, 9.0]), 5.0, refractory_rows=3)
    array([1, 4])
    """
    over = np.flatnonzero(score >= threshold)
    raised, free = [], 0
    while free < len(over):
        raised.append(int(over[free]))
        free = int(np.searchsorted(over, raised[-1] + max(refractory_rows, 1)))
    return np.array(raised, np.int64)
