r"""BinnedHistogram: counts in a baseline's quantile bins, for features and scores.

33 edges $e_0 < … < e_{32}$ make 34 cells: cell 0 is under ($x < e_0$), cell $i$ is $[e_{i-1}, e_i)$, the last bin
includes $e_{32}$, cell 33 is over. Counts of equal edges add up exactly.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.histograms import log
from schemas.baselines import BINS, CELLS, EDGES

Cells = NDArray[np.int16]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_HUGE: Final = 1e300
_PAD: Final = 1e-6
"""How far, relatively, the outer edges stand off: samples are kept as float32, events come as float64."""


def quantile_edges(values: Floats, bins: int = BINS) -> Floats:
    """Edges that cut ``values`` into bins of equal mass, as far as their ties allow.

    A cut never goes through a value, only half-way between neighbours: so a value that comes often lies well inside
    its bin and rounding cannot move it across. A value heavier than a bin counts as one bin, what is left is cut finer.
    Where there are fewer distinct values than bins, every value gets bins of its own and the surplus cuts spread
    over the empty gaps between values (a value that turns up there is new, and is seen). A constant gets ``bins``
    narrow bins around it: everything else falls under or over. The outer edges stand off the smallest and largest
    value by 1e-6 of their magnitude.

    Parameters
    ----------
    values
        float64[n], n ≥ 1; what is not finite is ignored.

    Returns
    -------
    float64[bins + 1], strictly ascending, finite.

    Raises
    ------
    ValueError
        If no value is finite.

    Examples
    --------
    >>> quantile_edges(np.arange(8.0), bins=4).round(2)
    array([-0. ,  1.5,  3.5,  5.5,  7. ])
    >>> quantile_edges(np.array([0.0, 0.0, 1.0]), bins=4).round(2)
    array([-0.  ,  0.25,  0.5 ,  0.75,  1.  ])
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise ValueError("quantile_edges needs at least one finite value: leave a quantity without any out")
    distinct, counts = np.unique(np.clip(finite, -_HUGE, _HUGE), return_counts=True)
    return _edges(distinct, counts.astype(np.float64), bins)


def edges_from_log(bins: NDArray[np.integer], counts: NDArray[np.integer]) -> Floats:
    """:func:`quantile_edges` for values known only by their LogHistogram; cuts between adjacent bins are their bounds.

    Raises
    ------
    ValueError
        If no bin has a count.
    """
    present = np.asarray(counts) > 0
    if not present.any():
        raise ValueError("edges_from_log needs at least one count: leave a quantity without any out")
    values = np.clip(log.values_of(np.asarray(bins)[present]), -_HUGE, _HUGE)
    edges = _edges(values, np.asarray(counts)[present].astype(np.float64), BINS)
    # The outermost values are anywhere in their buckets, not at the representative.
    edges[0] -= 2 * log.ALPHA * abs(edges[0])
    edges[-1] += 2 * log.ALPHA * abs(edges[-1])
    return edges


def _edges(distinct: Floats, counts: Floats, bins: int) -> Floats:
    low, high = float(distinct[0]), float(distinct[-1])
    pad = _PAD * max(abs(low), abs(high)) or log.SMALLEST
    if len(distinct) == 1:
        # The bin in the middle is the constant, give or take its rounding.
        outside = np.linspace(pad, pad / 2, bins // 2)
        return np.concatenate((low - outside, low + np.linspace(pad / 2, pad, bins + 1 - bins // 2)))
    weights = np.minimum(counts, counts.sum() / bins)
    reached = np.cumsum(weights)[:-1] / weights.sum()
    wanted = np.arange(1, bins) / bins
    right = np.clip(np.searchsorted(reached, wanted), 1, max(len(reached) - 1, 1))
    right = np.minimum(right, len(reached) - 1)
    left = np.maximum(right - 1, 0)
    gaps = np.unique(np.where(wanted - reached[left] <= reached[right] - wanted, left, right))
    if len(distinct) <= bins:
        gaps = np.arange(len(distinct) - 1)
    # Surplus cuts: gap g gets per_gap[g] of the bins - 1 cuts, evenly spread inside it.
    per_gap = np.full(len(gaps), (bins - 1) // len(gaps))
    per_gap[: (bins - 1) % len(gaps)] += 1
    gap = np.repeat(gaps, per_gap)
    first = np.repeat(np.cumsum(per_gap) - per_gap, per_gap)
    fraction = (np.arange(bins - 1) - first + 1) / (np.repeat(per_gap, per_gap) + 1)
    inner = distinct[gap] + (distinct[gap + 1] - distinct[gap]) * fraction
    edges = np.concatenate(([low - pad], inner, [high + pad]))
    # Neighbours a few units in the last place apart leave no room between them: such a feature is as good as constant.
    return edges if (np.diff(edges) > 0).all() else np.linspace(low - pad, high + pad, bins + 1)


def bins_of(values: Floats, edges: Floats) -> Cells:
    """The cell, 0…33, of each of float64[n] finite values among float64[33] edges: int16[n]."""
    cells = np.searchsorted(edges, values, side="right").astype(np.int16)
    cells[values == edges[-1]] = len(edges) - 1
    return cells


def bins_of_many(values: Floats, edges: Floats, which: Ints) -> Cells:
    """The cell of each value among the edges of its own series.

    Parameters
    ----------
    values
        float64[n], finite.
    edges
        float64[m, 33], C-contiguous.
    which
        int64[n], 0…m - 1: whose edges.

    Returns
    -------
    int16[n], 0…33.

    Notes
    -----
    A binary search in six rounds of gathers, without a branch: its time does not depend on m.
    """
    flat = np.ascontiguousarray(edges).reshape(-1)
    base = which * EDGES - 1
    place = np.zeros(len(values), np.int64)
    for step in (32, 16, 8, 4, 2, 1):
        # A place beyond the last edge compares with the last one: where that is reached, the sum is 33 all the same.
        candidate = np.minimum(place + step, EDGES)
        place = np.where(flat.take(base + candidate) <= values, candidate, place)
    place -= (place == EDGES) & (flat.take(base + EDGES) == values)
    return place.astype(np.int16)


def histogram(values: Floats, edges: Floats) -> Ints:
    """Counts of float64[n] finite values in the 34 cells: int64[34]."""
    return np.bincount(bins_of(values, edges), minlength=CELLS).astype(np.int64)


def from_log(bins: NDArray[np.integer], counts: NDArray[np.integer], edges: Floats) -> Ints:
    """A LogHistogram's counts in the cells of ``edges``, approximately: each bucket's mass is spread evenly over it.

    Parameters
    ----------
    bins, counts
        int[h], a LogHistogram.
    edges
        float64[33], ascending.

    Returns
    -------
    int64[34], with the same sum as ``counts``.
    """
    total = int(np.asarray(counts).astype(np.int64).sum())
    if not total:
        return np.zeros(CELLS, np.int64)
    lower, upper = log.bounds_of(bins)
    after = np.cumsum(np.asarray(counts).astype(np.float64))
    knots = np.stack((lower, np.maximum(upper, lower)), axis=1).reshape(-1)
    reached = np.stack((np.concatenate(([0.0], after[:-1])), after), axis=1).reshape(-1)
    below = np.rint(np.interp(edges, np.maximum.accumulate(knots), reached)).astype(np.int64)
    cells: Ints = np.diff(below, prepend=0, append=total)
    return cells


def quantile(counts: NDArray[np.integer], edges: Floats, q: Floats, low: float, high: float) -> Floats:
    """Quantiles of a BinnedHistogram, linear within the cell in which the distribution reaches q: exact to its width.

    Parameters
    ----------
    counts
        int[34].
    edges
        float64[33].
    q
        float64[m], 0…1.
    low, high
        The smallest and largest value counted: the outer ends of the cells under and over.

    Returns
    -------
    float64[m], within ``low``…``high``; NaN where nothing is counted.

    Examples
    --------
    >>> edges = np.arange(33.0)
    >>> quantile(histogram(np.repeat([0.5, 20.5], 50), edges), edges, np.array([0.25, 0.75]), 0.5, 20.5)
    array([ 0.5, 20.5])
    """
    used = np.flatnonzero(counts)
    if not len(used):
        return np.full(len(q), np.nan)
    inside = np.asarray(counts)[used].astype(np.float64)
    reached = np.cumsum(inside)
    wanted = np.asarray(q, np.float64) * reached[-1]
    at = np.minimum(np.searchsorted(reached, wanted, side="left"), len(used) - 1)
    bounds = np.concatenate(([min(low, edges[0])], edges, [max(high, edges[-1])]))
    before, after = bounds[used[at]], bounds[used[at] + 1]
    share = (wanted - (reached[at] - inside[at])) / inside[at]
    found: Floats = np.clip(before + (after - before) * share, low, high)
    return found
