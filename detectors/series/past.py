"""How unusual a number is among those before it, on one scale for whatever the numbers measure."""

import math
from typing import Final

import numpy as np

from detectors.protocol import Floats

MOST: Final = 20.0
"""No surprise is larger: below a tail probability of 2e-9 a tail fitted to some eighty excesses knows nothing."""
_TAIL_RATIO: Final = 0.02
_MIN_EXCESSES: Final = 10


class Past:
    r"""Surprise $-\ln p$ of a distance, p the share of earlier distances that were at least as large.

    Within the history p is the rank, $(r + 1)/(n + 1)$. Beyond its highest fiftieth, where ranks end, the tail goes on
    as an exponential with the mean excess over that fiftieth: peaks over threshold with shape 0.

    Parameters
    ----------
    rows
        Distances remembered, the newest.
    warmup
        Distances before which there is nothing to say, ≥ 2 · 10.
    history
        float64[n], oldest first: what :attr:`history` gave.

    Notes
    -----
    O(rows) to keep the order, some microseconds; 16 bytes a row.

    References
    ----------
    .. [1] V. Vovk, A. Gammerman, G. Shafer, "Algorithmic learning in a random world", 2005 (conformal p-values).
    .. [2] J. Pickands, "Statistical inference using extreme order statistics", 1975.
    """

    def __init__(self, rows: int, warmup: int, history: Floats | None = None) -> None:
        self._rows, self._warmup = rows, warmup
        given = np.empty(0) if history is None else np.asarray(history, np.float64)[-rows:]
        self._n, self._oldest = len(given), 0
        self._ring = np.empty(rows)
        self._ring[: self._n] = given
        self._sorted = np.empty(rows)
        self._sorted[: self._n] = np.sort(given)

    @property
    def history(self) -> Floats:
        """float64[n]: the distances remembered, oldest first."""
        return np.roll(self._ring[: self._n], -self._oldest)

    def step(self, distance: float) -> float:
        """The surprise of a distance ≥ 0, NaN while warming up; then learn it. NaN says and teaches nothing."""
        if math.isnan(distance):
            return math.nan
        place = int(np.searchsorted(self._sorted[: self._n], distance))
        surprise = self._surprise(distance, place) if self._n >= self._warmup else math.nan
        self._learn(distance, place)
        return surprise

    def _surprise(self, distance: float, place: int) -> float:
        n, ordered = self._n, self._sorted
        excesses = max(_MIN_EXCESSES, int(_TAIL_RATIO * n))
        bound = float(ordered[n - excesses])
        if distance <= bound:
            return -math.log((n - place + 1) / (n + 1))
        mean_excess = float(ordered[n - excesses : n].mean() - bound)
        beyond = (distance - bound) / max(mean_excess, 1e-9 * abs(bound) + 1e-12)
        return min(-math.log(excesses / n) + beyond, MOST)

    def _learn(self, distance: float, place: int) -> None:
        if self._n == self._rows:
            gone = self._ring[self._oldest]
            self._ring[self._oldest] = distance
            self._oldest = (self._oldest + 1) % self._rows
            left = int(np.searchsorted(self._sorted, gone))
            self._sorted[left:-1] = self._sorted[left + 1 :].copy()
            self._n -= 1
            place -= left < place
        else:
            self._ring[self._n] = distance
        self._sorted[place + 1 : self._n + 1] = self._sorted[place : self._n].copy()
        self._sorted[place] = distance
        self._n += 1
