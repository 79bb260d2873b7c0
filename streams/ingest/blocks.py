"""From columns of values to sums: every series of many events at once, without a loop over scopes or events.

Values are worked on a few quantities at a time, so that what comes out of one pass is still in the processor's cache
for the next.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.histograms import binned, log
from streams.binnings import Binning, BinningIndex
from streams.ingest.counting import Codes, Groups, Series, count_cells
from streams.windows import cells as cell
from streams.windows.sums import STATS, Sums

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SLAB_VALUES: Final = 32_768
"""256 kB: what is computed from it stays in a core's own cache."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which bins each event of k quantities falls into.

    Attributes
    ----------
    binnings
        The m binnings that occur, None for a scope without one.
    place
        int64[g], the binning of each group of events.
    index
        Holds the edges.
    """

    binnings: list[Binning | None]
    place: Ints
    index: BinningIndex

    def codes(self, values: Floats, names: tuple[str, ...], groups: Groups) -> Codes:
        """The cell code of every value: what :func:`streams.windows.cells.encode` adds to a series.

        Parameters
        ----------
        values
            float64[k, n] without NaN.
        names
            The k quantities.
        groups
            The events' groups, in whose order they stand.

        Returns
        -------
        uint16[k, n].
        """
        if all(binning is None for binning in self.binnings):
            return _log_codes(values)
        none = np.full(len(names), -1, np.int64)
        rows = np.stack([none if b is None else b.rows_of(names) for b in self.binnings], axis=1)  # [k, m]
        place = np.repeat(self.place, groups.sizes)
        return np.stack([self._codes_of_row(column, row, place) for column, row in zip(values, rows, strict=True)])

    def _codes_of_row(self, values: Floats, rows: Ints, place: Ints) -> Codes:
        edges = self.index.edges
        first = int(rows[0])
        if (rows == first).all():  # one baseline, or none, for the whole row
            return _log_codes(values) if first < 0 else _binned_codes(binned.bins_of(values, edges[first]))
        which = rows[place]
        loose = which < 0
        out = np.empty(len(values), np.uint16)
        out[loose] = _log_codes(values[loose])
        out[~loose] = _binned_codes(binned.bins_of_many(values[~loose], edges, which[~loose]))
        return out


def _log_codes(values: Floats) -> Codes:
    return np.add(log.bins_of(values), cell.LOG_ZERO, dtype=np.int32).astype(np.uint16)


def _binned_codes(bins: NDArray[np.int16]) -> Codes:
    return np.add(bins, cell.BINNED_BASE, dtype=np.int32).astype(np.uint16)


def add_rows(
    sums: Sums, quantity: Callable[[int], Floats], groups: Groups, series: Series, names: tuple[str, ...],
    layout: Layout,
) -> None:  # fmt: skip
    """Add n events of k quantities to the sums of all their scopes.

    What events of one group have in common is computed once, however many scopes they count in.

    Parameters
    ----------
    quantity
        The values of a quantity, by its number: float64[n], NaN for null.
    groups, series
        g groups of events that count in the same scopes, and their series.
    names
        The k quantities.
    layout
        The bins.
    """
    width, count = len(names), len(groups.order)
    stats = np.empty((width, len(groups.starts), STATS))
    codes, valid = np.empty((width, count), np.uint16), np.empty((width, count), np.bool_)
    step = max(1, _SLAB_VALUES // count)
    for low in range(0, width, step):
        slab = slice(low, min(low + step, width))
        values = np.empty((slab.stop - low, count))
        for number, row in enumerate(values, low):
            np.take(quantity(number), groups.order, out=row, mode="clip")  # "raise" would write to a copy first
        np.logical_not(np.isnan(values), out=valid[slab])
        stats[slab] = _stats(values, valid[slab], groups)
        if not valid[slab].all():
            # Any value of the quantity will do for what is not counted: it makes no table wider.
            values = np.where(valid[slab], values, np.nan_to_num(np.fmin.reduce(values, axis=1))[:, None])
        codes[slab] = layout.codes(values, names[slab], groups)
    of_level = [series.ids[places].T for places in series.places]  # [k, g] each
    used = [(stats[..., 0] > 0) & (ids >= 0) for ids in of_level]
    sums.add(
        np.concatenate([ids[kept] for ids, kept in zip(of_level, used, strict=True)]),
        np.concatenate([stats[kept] for kept in used]),
        *count_cells(codes, valid, groups, series),
    )


def _stats(values: Floats, valid: Bools, groups: Groups) -> Floats:
    """count, mean, m2, min and max of each quantity in each group: float64[k, g, 5]."""
    starts, sizes = groups.starts, groups.sizes
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
