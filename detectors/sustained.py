"""The worst a condition let up over the last n windows: what "over X for N minutes" asks."""

from typing import Self

import numpy as np

from detectors.protocol import Floats, Ints
from detectors.state import Columns


class SustainedMinimum:
    """The minimum of each series' last ``n`` values, NaN until it has as many.

    Parameters
    ----------
    n
        Windows, ≥ 1.

    Notes
    -----
    8 n bytes per series. A window without a value is left out by the caller: it neither helps nor breaks a run.
    """

    def __init__(self, n: int) -> None:
        self._blank = {"last": np.full(n, np.nan)}
        self._state = Columns(self._blank)

    def push(self, series: Ints, values: Floats) -> Floats:
        """Remember ``values`` float64[k] of distinct ``series`` int64[k]; give their minima, float64[k]."""
        self._state.reserve(series)
        last = self._state["last"]
        rows = last[series]
        rows[:, :-1] = rows[:, 1:]
        rows[:, -1] = values
        last[series] = rows
        return np.asarray(rows.min(axis=1), np.float64)

    def forget(self, series: Ints) -> None:
        """Drop the values of ``series``."""
        self._state.forget(series)

    def to_bytes(self, kind: str, version: int) -> bytes:
        """All values."""
        return self._state.to_bytes(kind, version)

    @classmethod
    def from_bytes(cls, raw: bytes, kind: str, version: int, n: int) -> Self:
        """What :meth:`to_bytes` saved; raises StateError if it is not that, or of another ``n``."""
        result = cls(n)
        result._state = Columns.from_bytes(raw, kind, version, result._blank)
        return result
