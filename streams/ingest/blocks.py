"""From a matrix of values to sums: every series of many events at once, without a loop over scopes or features."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.histograms import binned, log
from streams.binnings import Binning, BinningIndex
from streams.windows import cells as cell
from streams.windows.sums import STATS, Sums

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SeriesOf = Callable[[int, tuple[str, ...]], Ints]
"""(scope, names) → series ids int64[k], -1 for those over the cap."""

_RADIX_MAX: Final = 1 << 16


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


def cell_codes(
    values: Floats,
    valid: Bools,
    names: tuple[str, ...],
    binnings: list[Binning | None],
    place: Ints,
    index: BinningIndex,
) -> Ints:
    """The cell code of every value: what :func:`streams.windows.cells.encode` adds to a series.

    Parameters
    ----------
    values, valid
        float64[k, n] and bool[k, n], k quantities of n events; what is not valid gets a meaningless code.
    names
        The k quantities.
    binnings, place
        The m binnings that occur, None for a scope without one, and int64[n], whose binning each event has.
    index
        Holds the edges.

    Returns
    -------
    int64[k, n].
    """  # fmt: skip
    codes = np.empty(values.shape, np.int64)
    if all(b is None for b in binnings):
        np.add(log.bins_of(np.where(valid, values, 0.0)), cell.LOG_ZERO, out=codes, dtype=np.int64)
        return codes
    none = np.full(len(names), -1, np.int64)
    rows = np.stack([none if b is None else b.rows_of(names) for b in binnings], axis=1)  # [k, m]
    for i in range(len(names)):
        codes[i] = _codes_of_row(np.where(valid[i], values[i], 0.0), rows[i], place, index)
    return codes


def _codes_of_row(values: Floats, rows: Ints, place: Ints, index: BinningIndex) -> Ints:
    first = int(rows[0])
    if (rows == first).all():  # one baseline, or none, for the whole row
        if first < 0:
            return log.bins_of(values).astype(np.int64) + cell.LOG_ZERO
        return binned.bins_of(values, index.edges[first]).astype(np.int64) + cell.BINNED_BASE
    which = rows[place]
    out = np.empty(len(values), np.int64)
    loose = which < 0
    out[loose] = log.bins_of(values[loose]).astype(np.int64) + cell.LOG_ZERO
    out[~loose] = binned.bins_of_many(values[~loose], index.edges, which[~loose]).astype(np.int64) + cell.BINNED_BASE
    return out


def add_matrix(
    sums: Sums, values: Floats, groups: Groups, levels: Ints, names: tuple[str, ...], series_of: SeriesOf,
    codes_of: Callable[[Floats, Bools, Ints], Ints],
) -> None:  # fmt: skip
    """Add n events of k quantities to the sums of all their scopes.

    What events of one group have in common is computed once, however many scopes they count in.

    Parameters
    ----------
    values
        float64[k, n], NaN for null.
    groups
        g groups of events that count in the same scopes.
    levels
        int64[l, g], the scopes of each group, -1 where it has fewer.
    names, series_of
        The quantities, and how their series are found.
    codes_of
        (values, valid, group), the events sorted by group → cell codes int64[k, n].
    """
    values = np.take(values, groups.order, axis=1)
    valid = ~np.isnan(values)
    rank = np.repeat(np.arange(len(groups.numbers)), groups.sizes)
    stats = _stats(values, valid, groups.starts, groups.sizes)
    row, group, code, counts = _cells(codes_of(values, valid, rank), valid, rank)
    filled = stats[..., 0] > 0
    for scopes in levels:
        none = np.full(len(names), -1, np.int64)
        series = np.stack([series_of(s, names) if s >= 0 else none for s in scopes.tolist()], axis=1)  # [k, g]
        used = filled & (series >= 0)
        of_cell = series[row, group]
        kept = of_cell >= 0
        keys = (of_cell << cell.CODE_BITS) | code
        if kept.all():
            sums.add(series[used], stats[used], keys, counts)
        else:
            sums.add(series[used], stats[used], keys[kept], counts[kept])


def _cells(codes: Ints, valid: Bools, rank: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """The distinct (quantity, group, code) of all valid values, and how often each occurs: four int64[h]."""
    # 32 bits sort twice as fast as 64; the largest number stands for what is not valid
    kind = np.uint32 if int(rank[-1]) < _RADIX_MAX - 1 else np.uint64
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


def _stats(values: Floats, valid: Bools, starts: Ints, sizes: Ints) -> Floats:
    """count, mean, m2, min and max of each quantity in each group: float64[k, g, 5]."""
    stats = np.empty((values.shape[0], len(starts), STATS))
    whole = bool(valid.all())
    zeroed = values if whole else np.where(valid, values, 0.0)
    count = np.broadcast_to(sizes, stats.shape[:2]) if whole else np.add.reduceat(valid, starts, axis=1, dtype=np.int64)
    mean = np.add.reduceat(zeroed, starts, axis=1) / np.maximum(count, 1)
    deviation = values - (mean if len(starts) == 1 else np.repeat(mean, sizes, axis=1))
    if not whole:
        deviation[~valid] = 0.0
    # One correction step: the rounding of the first sum is what is left of the deviations' own sum.
    rest = np.add.reduceat(deviation, starts, axis=1) / np.maximum(count, 1)
    np.square(deviation, out=deviation)
    stats[..., 0] = count
    stats[..., 1] = mean + rest
    stats[..., 2] = np.maximum(np.add.reduceat(deviation, starts, axis=1) - count * rest**2, 0.0)
    stats[..., 3] = np.fmin.reduceat(values, starts, axis=1)
    stats[..., 4] = np.fmax.reduceat(values, starts, axis=1)
    return stats
