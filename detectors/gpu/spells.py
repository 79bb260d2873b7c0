"""Faults counted as long as they keep coming: repeats are one story, told once and kept up to date."""

from datetime import UTC, datetime
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from detectors.protocol import Bools, Ints
from detectors.sparse import SparseColumns

_BLANK: Final[dict[str, NDArray[Any]]] = {
    "count": np.zeros((), np.int64),
    "since_ms": np.zeros((), np.int64),
    "last_ms": np.zeros((), np.int64),
}


def clock(ms: int) -> str:
    """A time of day as sentences have it.

    Examples
    --------
    >>> clock(3_723_000)
    '01:02:03 UTC'
    """
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%H:%M:%S UTC")


class Spells:
    """How many faults of each series have come since the first of a spell.

    A spell ends when ``hold_s`` have passed since the end of the last window with a fault.

    Parameters
    ----------
    hold_s
        Seconds, > 0.

    Notes
    -----
    24 bytes per series. The count of a spell never falls.
    """

    def __init__(self, hold_s: int) -> None:
        self._hold_ms = hold_s * 1000
        self._state = SparseColumns(_BLANK)

    def add(self, series: Ints, start_ms: int, size_ms: int, faults: Ints, ended: Bools | None = None) -> Ints:
        """Count ``faults`` int64[k], each 0 or more, of a window of distinct ``series``; the counts so far, int64[k].

        Where ``ended`` bool[k] holds, the spell had ended before this window, however short a while ago.
        """
        places = self._state.places(series)
        over = (self._state["count"][places] > 0) & (start_ms - self._state["last_ms"][places] >= self._hold_ms)
        self._state.blank(places[over if ended is None else over | ended])
        new = (faults > 0) & (self._state["count"][places] == 0)
        self._state["since_ms"][places[new]] = start_ms
        self._state["last_ms"][places[faults > 0]] = start_ms + size_ms
        self._state["count"][places] += faults
        return np.asarray(self._state["count"][places], np.int64)

    def since_ms(self, series: Ints) -> Ints:
        """Start of the window with the first fault of the spell, int64[k]; 0 where there is none."""
        return np.asarray(self._state["since_ms"][self._state.places(series)], np.int64)

    def last_ms(self, series: Ints) -> Ints:
        """End of the window with the last fault of the spell, int64[k]; 0 where there is none."""
        return np.asarray(self._state["last_ms"][self._state.places(series)], np.int64)

    def forget(self, series: Ints) -> None:
        """Drop the spells of ``series``."""
        self._state.forget(series)

    def to_bytes(self, kind: str, version: int) -> bytes:
        """All spells."""
        return self._state.to_bytes(kind, version)

    @classmethod
    def from_bytes(cls, raw: bytes, kind: str, version: int, hold_s: int) -> Self:
        """What :meth:`to_bytes` saved; raises StateError if it is not that."""
        result = cls(hold_s)
        result._state = SparseColumns.from_bytes(raw, kind, version, _BLANK)
        return result
