"""Sliding sums over minutes, hours and days in a few kilobytes: rings of buckets, each ring coarser than the last."""

from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from detectors import state
from detectors.protocol import Bools, Ints
from detectors.state import Columns

_MINUTE_MS: Final = 60_000
_RINGS: Final = {
    "minute": (_MINUTE_MS, 60),
    "five_minutes": (5 * _MINUTE_MS, 72),
    "hour": (60 * _MINUTE_MS, 72),
    "day": (1_440 * _MINUTE_MS, 90),
}
"""Field → (length of a bucket, how many): an hour to the minute, six to five minutes, three days to the hour."""
_BLANK: Final[dict[str, NDArray[Any]]] = {
    "minute": np.zeros((60, 2), np.uint32),
    "five_minutes": np.zeros((72, 2), np.uint32),
    "hour": np.zeros((72, 2), np.uint32),
    "day": np.zeros((90, 2), np.int64),
    "since_ms": np.full((), -1, np.int64),
    "meaning": np.full((), -1, np.int64),
}
_MOST: Final = int(np.iinfo(np.uint32).max)
_NEVER: Final = -(2**62)


class BadAndTotal:
    """How many of each series' events were bad, over the last minutes, hours and days.

    Notes
    -----
    3,088 bytes per series. Spans end with the newest window and begin at a bucket's edge: 5 min, 30 min and 1 h are
    exact, 6 h is up to 5 min shorter, 3 d up to 1 h, n days up to one. Buckets of up to an hour hold 4·10⁹ events and
    stop there. Time that brought no window is time without events.
    """

    def __init__(self) -> None:
        self._state = Columns(_BLANK)
        self._slot: dict[int, int] = {}
        self._free: list[int] = []
        self._through_ms = _NEVER

    def add(self, series: Ints, meaning: Ints, start_ms: int, bad: Ints, total: Ints) -> None:
        """Add a window's counts int64[k] of distinct series int64[k]; what was counted with another meaning is dropped.

        Parameters
        ----------
        meaning
            int64[k]: names what counts as bad; counts of two meanings cannot be added.
        start_ms
            Of the window, never longer than a minute.
        """
        self._advance(start_ms)
        self._number(series)
        slots = self.slots(series)
        stale = (self._state["meaning"][slots] != meaning) & (self._state["meaning"][slots] != -1)
        self._state.forget(slots[stale])
        self._state["meaning"][slots] = meaning
        new = (self._state["since_ms"][slots] < 0) & (total > 0)
        self._state["since_ms"][slots[new]] = start_ms
        for name, (bucket_ms, n) in _RINGS.items():
            ring, at = self._state[name], start_ms // bucket_ms
            if at <= self._through_ms // bucket_ms - n:
                continue
            limit = _MOST if ring.dtype == np.uint32 else np.iinfo(np.int64).max
            column = ring[slots, at % n].astype(np.int64) + np.stack((bad, total), axis=1)
            ring[slots, at % n] = np.minimum(column, limit)

    def over(self, slots: Ints, start_ms: int, span_s: int) -> tuple[Ints, Ints]:
        """(bad, total) int64[k] of each over 5 min, 30 min, 1 h, 6 h, 3 d, or up to 90 whole days.

        The spans end with the window that starts at ``start_ms``, the newest.
        """
        name = next(name for name, (bucket_ms, n) in _RINGS.items() if span_s * 1000 <= bucket_ms * n)
        bucket_ms, n = _RINGS[name]
        columns = (start_ms // bucket_ms - np.arange(span_s * 1000 // bucket_ms)) % n
        both = self._state[name][slots[:, None], columns[None, :]].sum(axis=1, dtype=np.int64)
        return both[:, 0], both[:, 1]

    def seen_s(self, slots: Ints, end_ms: int) -> NDArray[np.float64]:
        """Seconds since each first had an event, float64[k]; 0 before it has."""
        since = self._state["since_ms"][slots]
        return np.where(since < 0, 0.0, (end_ms - since) / 1000)

    def slots(self, series: Ints) -> Ints:
        """Where series int64[k] that were added stand."""
        return np.fromiter(map(self._slot.__getitem__, series.tolist()), np.int64, len(series))

    def known(self, series: Ints) -> Bools:
        """Which series int64[k] were ever added."""
        return np.fromiter((number in self._slot for number in series.tolist()), np.bool_, len(series))

    def forget(self, series: Ints) -> None:
        """Drop the counts of ``series``."""
        slots = [self._slot.pop(number) for number in series.tolist() if number in self._slot]
        self._state.forget(np.array(slots, np.int64))
        self._free += slots

    def to_bytes(self, kind: str, version: int) -> bytes:
        """All counts; series in ascending order, so that the same counts are the same bytes."""
        series = np.array(sorted(self._slot), np.int64)
        slots = self.slots(series)
        arrays = {name: self._state[name][slots] for name in _BLANK}
        return state.pack(kind, version, {**arrays, "series": series, "through_ms": np.array([self._through_ms])})

    @classmethod
    def from_bytes(cls, raw: bytes, kind: str, version: int) -> Self:
        """What :meth:`to_bytes` saved; raises StateError if it is not that."""
        arrays = state.unpack(raw, kind, version)
        found = {name: (array.dtype, array.shape[1:]) for name, array in arrays.items() if name in _BLANK}
        if found != {name: (row.dtype, row.shape) for name, row in _BLANK.items()}:
            raise state.StateError(f"state of {kind} with other rings: start without it")
        rings = cls()
        rings._through_ms = int(arrays["through_ms"][0])
        rings._number(arrays["series"])
        for name in _BLANK:
            rings._state[name][rings.slots(arrays["series"])] = arrays[name]
        return rings

    def _number(self, series: Ints) -> None:
        for number in series.tolist():
            if number not in self._slot:
                self._slot[number] = self._free.pop() if self._free else len(self._slot)
        self._state.reserve(np.array([len(self._slot) + len(self._free) - 1], np.int64))

    def _advance(self, start_ms: int) -> None:
        """Empty the buckets that come round again. Time is one for all series."""
        if start_ms <= self._through_ms:
            return
        for name, (bucket_ms, n) in _RINGS.items():
            new, old = start_ms // bucket_ms, self._through_ms // bucket_ms
            self._state[name][:, (new - np.arange(min(new - old, n))) % n] = 0
        self._through_ms = start_ms
