"""Sums over numeric series: moments and histogram cells, sparse, mergeable in any order.

One structure serves the open panes of ingest and the closing ones of analyse: chunks are appended as they come and
folded together by sort and ``reduceat`` now and then, so that no work is ever done per series in Python. What is open
for longer is made of :mod:`streams.windows.rollups`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors import moments
from streams.windows import cells as cell

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STATS: Final = 5
"""Columns of ``stats``: count, mean, m2, min, max (``schemas.panes.STAT_COLUMNS``)."""

_COMPACT_MIN: Final = 65_536
_CELLS_MAX: Final = 131_072
"""Cells that wait to be folded in: 2 MB, and a quarter of what is there already."""


def group_starts(sorted_ids: Ints) -> Ints:
    """Where each run of equal ids begins, int64[g], for ids int64[n] in ascending order, n ≥ 1."""
    return np.concatenate(([0], np.flatnonzero(np.diff(sorted_ids)) + 1))


def merge_stats(ids: Ints, stats: Floats) -> tuple[Ints, Floats]:
    """Fold rows of the same id together: ids int64[g] ascending, stats float64[g, 5]; empty rows are dropped."""
    keep = stats[:, moments.COUNT] > 0
    if not keep.all():
        ids, stats = ids[keep], stats[keep]
    unique, group = np.unique(ids, return_inverse=True)
    if len(unique) == len(ids):
        return unique, stats[np.argsort(ids)]
    return unique, moments.merge_groups(stats, group, len(unique))


def merge_cells(keys: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """Fold equal cells together: keys int64[g] ascending, counts int64[g]."""
    if not len(keys) or (keys[1:] > keys[:-1]).all():  # as they come from a table
        return keys, counts
    order = np.argsort(keys)  # whole numbers have one sum in any order, and the stable sort takes six times as long
    keys = keys[order]
    starts = group_starts(keys)
    return keys[starts], np.add.reduceat(counts[order], starts)


def insert_cells(keys: Ints, counts: Ints, more_keys: Ints, more_counts: Ints) -> tuple[Ints, Ints]:
    """Both sets of cells together, each with distinct keys in ascending order; the arguments stay as they are.

    What is already there is not sorted again: that would take three times its memory, for a moment, again and again.
    """
    if not len(keys):
        return more_keys, more_counts
    place = np.searchsorted(keys, more_keys)
    known = keys[np.minimum(place, len(keys) - 1)] == more_keys
    counts = counts.copy()
    counts[place[known]] += more_counts[known]
    new = ~known
    if new.any():
        keys = np.insert(keys, place[new], more_keys[new])
        counts = np.insert(counts, place[new], more_counts[new])
    return keys, counts


@dataclass(frozen=True, slots=True)
class Folded:
    """Sums folded together: ``ids`` int64[n] ascending, ``stats`` float64[n, 5]; ``keys`` ascending, ``counts``."""

    ids: Ints
    stats: Floats
    keys: Ints
    counts: Ints

    def only(self, keep: NDArray[np.bool_]) -> "Folded":
        """The series for which ``keep[id]`` holds; ids beyond its end are dropped."""
        rows = keep[np.minimum(self.ids, len(keep) - 1)] & (self.ids < len(keep))
        series = cell.series_of(self.keys)
        cells = keep[np.minimum(series, len(keep) - 1)] & (series < len(keep))
        return Folded(self.ids[rows], self.stats[rows], self.keys[cells], self.counts[cells])


EMPTY_CELLS: Final[tuple[Ints, NDArray[np.integer]]] = (np.empty(0, np.int64), np.empty(0, np.int64))
EMPTY: Final = Folded(np.empty(0, np.int64), np.empty((0, STATS)), np.empty(0, np.int64), np.empty(0, np.int64))


class Sums:
    """A growing sum over series. Memory follows the distinct cells, not the number of events."""

    __slots__ = ("_cells", "_folded", "_pending_cells", "_pending_stats", "_stats")

    def __init__(self) -> None:
        self._stats: list[tuple[Ints, Floats]] = []
        self._cells: list[tuple[Ints, NDArray[np.integer]]] = []
        self._pending_stats = 0
        self._pending_cells = 0
        self._folded = False  # whether the first chunk of cells is ascending and without repetition

    def add(self, ids: Ints, stats: Floats, keys: Ints, counts: Ints) -> None:
        """Add rows (ids int64[n], stats float64[n, 5]) and cells (keys int64[h], counts int64[h]), in any order."""
        if len(ids):
            self._stats.append((ids, stats))
            self._pending_stats += len(ids)
        if len(keys):
            self._cells.append((keys, counts))
            self._pending_cells += len(keys)
        if self._pending_stats > max(_COMPACT_MIN, 2 * len(self._stats[0][0]) if self._stats else 0):
            self._fold_stats()
        if self._pending_cells > _CELLS_MAX + (len(self._cells[0][0]) >> 2 if self._folded else 0):
            self._fold_cells()

    def fold(self) -> Folded:
        """Everything added so far, each series and each cell once."""
        ids, stats = self._fold_stats()
        keys, counts = self._fold_cells()
        return Folded(ids, stats, keys, counts)

    def _fold_stats(self) -> tuple[Ints, Floats]:
        if not self._stats:
            return EMPTY.ids, EMPTY.stats
        ids, stats = (
            self._stats[0]
            if len(self._stats) == 1
            else (
                np.concatenate([i for i, _ in self._stats]),
                np.concatenate([s for _, s in self._stats]),
            )
        )
        folded = merge_stats(ids, stats)
        self._stats, self._pending_stats = [folded], 0
        return folded

    def _fold_cells(self) -> tuple[Ints, Ints]:
        if not self._cells:
            return EMPTY.keys, EMPTY.counts
        (keys, old), *rest = self._cells if self._folded else [EMPTY_CELLS, *self._cells]
        counts: Ints = old.astype(np.int64)
        if rest:
            more = merge_cells(np.concatenate([k for k, _ in rest]), np.concatenate([c for _, c in rest]))
            keys, counts = insert_cells(keys, counts, *more)
        self._cells, self._pending_cells, self._folded = [(keys, counts)], 0, True
        return keys, counts
