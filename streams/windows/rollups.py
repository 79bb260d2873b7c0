"""Sums of sums: what windows that are open for minutes and hours hold of their numeric series.

Made to be merged into and to take little room while it waits: counts in a baseline's bins stand in a matrix, one row a
series, and what merges costs what it brings; cells of LogHistograms are sparse, in ascending order. Keys and counts are
as narrow as what they hold allows.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors import moments
from schemas.baselines import CELLS
from streams.windows import cells as cell
from streams.windows.sums import STATS, Folded, merge_cells

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Whole = NDArray[np.integer]
Number = TypeVar("Number", bound=np.number[Any])

_WIDTHS: Final = (np.uint16, np.uint32, np.int64)
_KEYS: Final = (np.uint32, np.int64)
_WAITING_CELLS: Final = 16_384
"""Sparse cells that wait to be inserted, beside a quarter of what is there already."""


class RollupSums:
    """A growing sum of :class:`~streams.windows.sums.Folded` sums. Memory follows its series and cells, not merges."""

    __slots__ = ("_binned", "_binned_ids", "_counts", "_ids", "_keys", "_stats", "_waiting", "_waiting_cells")

    def __init__(self) -> None:
        self._ids = np.empty(0, np.int64)
        self._stats = np.empty((0, STATS))
        self._binned_ids = np.empty(0, np.int64)
        self._binned: Whole = np.empty((0, CELLS), _WIDTHS[0])
        self._keys: Whole = np.empty(0, _KEYS[0])
        self._counts: Whole = np.empty(0, _WIDTHS[0])
        self._waiting: list[tuple[Whole, Whole]] = []
        self._waiting_cells = 0

    def merge(self, other: Folded) -> None:
        """Add another sum. Moments are folded in at once: what comes out must not depend on who looked in between."""
        self._merge_stats(other.ids, other.stats)
        binned = cell.is_binned(other.keys)
        if binned.any():
            self._merge_binned(other.keys[binned], other.counts[binned])
            loose = ~binned
            self._hold(other.keys[loose], other.counts[loose])
        else:
            self._hold(other.keys, other.counts)

    def fold(self) -> Folded:
        """Everything added so far, each series and each cell once; valid until the next merge."""
        self._insert_waiting()
        if not len(self._binned):
            return Folded(self._ids, self._stats, self._keys.astype(np.int64), self._counts.astype(np.int64))
        row, code = np.nonzero(self._binned)
        keys = cell.encode(self._binned_ids[row], code, binned=True)
        counts = self._binned[row, code].astype(np.int64)
        if len(self._keys):
            place = np.searchsorted(keys, self._keys.astype(np.int64))
            keys, counts = _inserted(keys, place, self._keys), _inserted(counts, place, self._counts)
        return Folded(self._ids, self._stats, keys, counts)

    def to_parts(self) -> dict[str, Any]:
        """Plain data; memory is not copied: to be encoded before anything else is merged."""
        self._insert_waiting()
        return {name: [array.dtype.str, _memory(array)] for name, array in self._arrays().items()}

    @classmethod
    def from_parts(cls, parts: Mapping[str, Sequence[Any]] | Sequence[bytes]) -> Self:
        """The sums :meth:`to_parts` was taken of; also of the form of state version 1: ids, stats, keys, counts."""
        sums = cls()
        if not isinstance(parts, Mapping):
            ids, stats, keys, counts = (
                np.frombuffer(p, t) for p, t in zip(parts, ("<i8", "<f8", "<i8", "<i8"), strict=True)
            )
            sums.merge(Folded(ids, stats.reshape(-1, STATS), keys, counts))
            return sums
        for name, empty in sums._arrays().items():
            dtype, raw = parts[name]
            setattr(sums, f"_{name}", np.frombuffer(raw, dtype).reshape(-1, *empty.shape[1:]).copy())
        return sums

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "ids": self._ids, "stats": self._stats, "binned_ids": self._binned_ids, "binned": self._binned,
            "keys": self._keys, "counts": self._counts,
        }  # fmt: skip

    def _merge_stats(self, ids: Ints, stats: Floats) -> None:
        at, new = _missing(self._ids, ids)
        if len(new):
            if not len(self._ids):
                self._ids, self._stats = ids.copy(), stats.copy()
                return
            self._ids = _inserted(self._ids, at, new)
            self._stats = _inserted(self._stats, at, np.array(moments.EMPTY))
        place, every = np.searchsorted(self._ids, ids), np.arange(len(ids))
        both = np.concatenate((self._stats[place], stats))
        self._stats[place] = moments.merge_groups(both, np.concatenate((every, every)), len(ids))

    def _merge_binned(self, keys: Ints, counts: Ints) -> None:
        series = cell.series_of(keys)
        at, new = _missing(self._binned_ids, series[np.flatnonzero(np.diff(series, prepend=-1))])
        if len(new):
            self._binned_ids = _inserted(self._binned_ids, at, new)
            self._binned = _inserted(self._binned, at, 0)
        row, code = np.searchsorted(self._binned_ids, series), cell.bins_of(keys)
        total = self._binned[row, code] + counts
        self._binned = _wide_enough(self._binned, total, _WIDTHS)
        self._binned[row, code] = total

    def _hold(self, keys: Ints, counts: Ints) -> None:
        if not len(keys):
            return
        # Series ascend with their keys: the last one is the largest.
        self._waiting.append((_narrowed(keys, _KEYS), _narrowed(counts, _WIDTHS)))
        self._waiting_cells += len(keys)
        if self._waiting_cells > _WAITING_CELLS + (len(self._keys) >> 2):
            self._insert_waiting()

    def _insert_waiting(self) -> None:
        if not self._waiting:
            return
        keys = np.concatenate([k.astype(np.int64) for k, _ in self._waiting])
        counts = np.concatenate([c.astype(np.int64) for _, c in self._waiting])
        if len(self._waiting) > 1:
            keys, counts = merge_cells(keys, counts)
        self._waiting, self._waiting_cells = [], 0
        self._keys = _wide_enough(self._keys, keys, _KEYS)
        keys = keys.astype(self._keys.dtype)
        place = np.searchsorted(self._keys, keys)
        known = np.zeros(len(keys), np.bool_)
        inside = place < len(self._keys)
        known[inside] = self._keys[place[inside]] == keys[inside]
        counts[known] += self._counts[place[known]]
        self._counts = _wide_enough(self._counts, counts, _WIDTHS)
        self._counts[place[known]] = counts[known]
        if not known.all():
            new = ~known
            self._keys = _inserted(self._keys, place[new], keys[new])
            self._counts = _inserted(self._counts, place[new], counts[new])


def _missing(known: Ints, ids: Ints) -> tuple[Ints, Ints]:
    """Where in ``known`` those of ``ids`` belong that it lacks, and which these are; both ascending."""
    place = np.searchsorted(known, ids)
    lacking = np.ones(len(ids), np.bool_)
    inside = place < len(known)
    lacking[inside] = known[place[inside]] != ids[inside]
    return place[lacking], ids[lacking]


def _inserted(array: NDArray[Number], at: Ints, rows: NDArray[Any] | int) -> NDArray[Number]:
    """The array with ``rows`` inserted before the places ``at``, ascending: ``np.insert`` takes three times as long."""
    grown = np.empty((len(array) + len(at), *array.shape[1:]), array.dtype)
    old, new = np.ones(len(grown), np.bool_), at + np.arange(len(at))
    old[new] = False
    grown[old], grown[new] = array, rows
    return grown


def _wide_enough(array: Whole, values: Whole, widths: Sequence[type[np.integer]]) -> Whole:
    """The array in a type that holds ``values``, too."""
    if not len(values) or int(values.max()) <= np.iinfo(array.dtype).max:
        return array
    return array.astype(_width(values, widths))


def _narrowed(values: Ints, widths: Sequence[type[np.integer]]) -> Whole:
    return values.astype(_width(values, widths))


def _width(values: Whole, widths: Sequence[type[np.integer]]) -> type[np.integer]:
    largest = int(values.max(initial=0))
    return next(width for width in widths if largest <= np.iinfo(width).max)


def _memory(array: NDArray[np.generic]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
