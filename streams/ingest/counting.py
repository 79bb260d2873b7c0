"""From bins of events to cells of series: how often each bin occurs in each scope."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.windows import cells as cell

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Codes = NDArray[np.uint16]
"""What :func:`streams.windows.cells.encode` adds to a series."""
SeriesOf = Callable[[int, tuple[str, ...]], Ints]
"""(scope, names) → series ids int64[k], -1 for those over the cap."""

_RADIX_MAX: Final = 1 << 16
_TABLE_PER_VALUE: Final = 2
"""Values are counted in a table while it has at most so many cells for each; a sort takes less beyond that."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Places sorted by a number: the numbers that occur, and where each one's run begins and how long it is."""

    order: Ints
    numbers: Ints
    starts: Ints
    sizes: Ints

    @classmethod
    def of(cls, number: Ints) -> "Groups":
        """The groups of int64[n] numbers ≥ 0, n ≥ 1."""
        small = int(number.max()) < _RADIX_MAX
        # numpy sorts 16-bit numbers by their digits, ten times as fast
        order = np.argsort(number.astype(np.uint16) if small else number, kind="stable")
        run = number[order]
        starts = np.concatenate(([0], np.flatnonzero(run[1:] != run[:-1]) + 1))
        return cls(order, run[starts], starts, np.diff(np.append(starts, len(run))))


@dataclass(frozen=True, slots=True)
class Series:
    """The series of k quantities in all scopes that some groups of events count in.

    Attributes
    ----------
    ids
        int64[s + 1, k], by ascending scope; -1 for a series over the cap, and in all of the last row: no scope's.
    places
        int64[l, g], the rows in ``ids`` of each group's scopes; -1, the last, where it has fewer.
    """

    ids: Ints
    places: Ints

    @classmethod
    def of(cls, levels: Ints, names: tuple[str, ...], series_of: SeriesOf) -> "Series":
        """The series of the scopes ``levels`` int64[l, g] of g groups, -1 where a group has fewer than l."""
        scopes = np.unique(levels[levels >= 0])
        none = np.full(len(names), -1, np.int64)
        ids = np.stack([*(series_of(scope, names) for scope in scopes.tolist()), none])
        return cls(ids, np.where(levels >= 0, np.searchsorted(scopes, levels), -1))


def count_cells(codes: Codes, valid: Bools, groups: Groups, series: Series) -> tuple[Ints, Ints]:
    """Cells int64[h] of all series, and their counts int64[h]; a cell may come several times.

    By a table where the codes lie close together, as those of much traffic do; by a sort where they do not.

    Parameters
    ----------
    codes, valid
        uint16[k, n] and bool[k, n], the events sorted by group; what is not valid is not counted.
    groups, series
        Of the events.
    """
    lowest = codes.min(axis=1).astype(np.int64)
    spans = codes.max(axis=1) - lowest + 1
    if len(groups.starts) * int(spans.sum()) > _TABLE_PER_VALUE * codes.size:
        return _sorted(codes, valid, groups, series)
    table = _table(codes, valid, groups, lowest, spans)
    totals = np.zeros((len(series.ids), table.shape[1]), np.int64)
    for counts, places in zip(table, series.places.T.tolist(), strict=True):
        for place in places:
            totals[place] += counts
    ids, totals = series.ids[:-1], totals[:-1]  # without the row of no scope
    if (ids < 0).any():
        totals[np.repeat(ids < 0, spans, axis=1)] = 0
    keys = np.repeat(ids << cell.CODE_BITS, spans, axis=1)
    keys += np.concatenate([np.arange(low, low + span) for low, span in zip(lowest, spans, strict=True)])
    at = np.flatnonzero(totals)
    return keys.reshape(-1)[at], totals.reshape(-1)[at]


def _table(codes: Codes, valid: Bools, groups: Groups, lowest: Ints, spans: Ints) -> Ints:
    """How often each code from the lowest on occurs in each group, quantity beside quantity: int64[g, sum of spans]."""
    rank = np.repeat(np.arange(len(groups.starts)), groups.sizes)
    counts = []
    for row, good, low, span in zip(codes, valid, lowest.tolist(), spans.tolist(), strict=True):
        key = rank * span - low
        key += row
        found = np.bincount(key if good.all() else key[good], minlength=len(groups.starts) * span)
        counts.append(found.reshape(-1, span))
    return np.concatenate(counts, axis=1)


def _sorted(codes: Codes, valid: Bools, groups: Groups, series: Series) -> tuple[Ints, Ints]:
    row, group, code, counts = _distinct(codes, valid, groups)
    of_cell = np.concatenate([series.ids[places[group], row] for places in series.places])
    levels = len(series.places)
    kept = of_cell >= 0
    return ((of_cell << cell.CODE_BITS) | np.tile(code, levels))[kept], np.tile(counts, levels)[kept]


def _distinct(codes: Codes, valid: Bools, groups: Groups) -> tuple[Ints, Ints, Ints, Ints]:
    """The distinct (quantity, group, code) of all valid values, and how often each occurs: four int64[h]."""
    rank = np.repeat(np.arange(len(groups.starts)), groups.sizes)
    # 32 bits sort twice as fast as 64; the largest number stands for what is not valid
    kind = np.uint32 if len(groups.starts) < _RADIX_MAX else np.uint64
    keys = ((rank << cell.CODE_BITS) | codes).astype(kind)
    nothing = np.iinfo(kind).max
    if not valid.all():
        keys[~valid] = nothing
    keys.sort(axis=1)
    first = np.empty(keys.shape, np.bool_)
    first[:, 0] = True
    np.not_equal(keys[:, 1:], keys[:, :-1], out=first[:, 1:])
    at = np.flatnonzero(first)
    found, counts, row = keys.reshape(-1)[at], np.diff(np.append(at, keys.size)), at // keys.shape[1]
    if not valid.all():
        real = found != nothing
        found, counts, row = found[real], counts[real], row[real]
    distinct: Ints = found.astype(np.int64)
    return row, distinct >> cell.CODE_BITS, distinct & cell.CODE_MASK, counts
