"""From a matrix of values to sums: every series of a micro-batch at once, without a loop over scopes or features."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from detectors.histograms import binned, log
from streams.binnings import Binning, BinningIndex
from streams.windows import cells as cell
from streams.windows.sums import STATS, Sums, group_starts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SeriesOf = Callable[[int, tuple[str, ...]], Ints]
"""(scope, names) → series ids int64[k], -1 for those over the cap."""


def cell_codes(
    values: Floats,
    valid: NDArray[np.bool_],
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
    sums: Sums,
    values: Floats,
    valid: NDArray[np.bool_],
    codes: Ints,
    scope: Ints,
    names: tuple[str, ...],
    series_of: SeriesOf,
) -> None:
    """Add n events of k quantities to the sums of their scopes.

    Parameters
    ----------
    values, valid, codes
        float64[k, n], bool[k, n] and int64[k, n].
    scope
        int64[n], the scope of each event; events with -1 are passed over.
    names, series_of
        The quantities, and how their series are found.
    """  # fmt: skip
    low, high = (int(scope.min()), int(scope.max())) if len(scope) else (-1, -1)
    if high < 0:
        return
    if low != high:
        order = np.argsort(scope, kind="stable")
        order = order[np.searchsorted(scope[order], 0) :]
        values, valid, codes, scope = values[:, order], valid[:, order], codes[:, order], scope[order]
    starts = group_starts(scope)
    sizes = np.diff(np.append(starts, len(scope)))
    series = np.stack([series_of(int(s), names) for s in scope[starts]], axis=1)  # [k, g]
    stats = _stats(values, valid, starts, sizes)
    kept = series >= 0
    if not kept.all():
        valid = valid & np.repeat(kept, sizes, axis=1)
    keys = ((np.repeat(series, sizes, axis=1) << cell.CODE_BITS) | codes)[valid]
    keys.sort()
    if len(keys):
        runs = group_starts(keys)
        unique, counts = keys[runs], np.diff(np.append(runs, len(keys)))
    else:
        unique, counts = keys, keys
    used = kept & (stats[..., 0] > 0)
    sums.add(series[used], stats[used], unique, counts)


def _stats(values: Floats, valid: NDArray[np.bool_], starts: Ints, sizes: Ints) -> Floats:
    """count, mean, m2, min and max of each quantity in each group: float64[k, g, 5]."""
    stats = np.empty((values.shape[0], len(starts), STATS))
    whole = bool(valid.all())
    zeroed = values if whole else np.where(valid, values, 0.0)
    count = np.add.reduceat(valid, starts, axis=1, dtype=np.int64)
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
