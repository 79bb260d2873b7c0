r"""LogHistogram: DDSketch's logarithmic buckets, sparse, mergeable exactly, within 1 % at every quantile.

A histogram is a pair ``(bins, counts)``: ``bins`` int16[h], strictly ascending, and ``counts`` int64[h] (any unsigned
type on the wire). With $\gamma = 1.01 / 0.99$ and $x_0 = 10^{-9}$

- bin 0 holds what is as good as zero, $|x| \le x_0$;
- bin $b \ge 1$ holds $x_0 \gamma^{b-1} < x \le x_0 \gamma^{b}$;
- bin $-b$ mirrors bin $b$ for negative values, so bins ascend as values do.

The representative of bin $b \ge 1$ is $0.99\,x_0\gamma^{b} = 1.01\,x_0\gamma^{b-1}$: no value of the bucket is further
than 1 % from it. Bins are clamped to ±32,000, that is to about ±1e269; 1e15 is bin 2,764.

References
----------
.. [1] C. Masson, J. E. Rim, H. K. Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
   guarantees", VLDB 2019.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Bins = NDArray[np.int16]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ALPHA: Final = 0.01
"""Relative error of a representative."""
GAMMA: Final = (1 + ALPHA) / (1 - ALPHA)
SMALLEST: Final = 1e-9
"""Upper bound of the zero bucket, $x_0$."""
LARGEST_BIN: Final = 32_000

_LOG_GAMMA: Final = float(np.log(GAMMA))
_PER_LOG: Final = 1 / _LOG_GAMMA
_LOG_SMALLEST: Final = float(np.log(SMALLEST))
# A bucket's upper bound, computed in floating point, must land in its own bucket: 1e-9 buckets are 2e-11 of the value.
_SLACK: Final = _LOG_SMALLEST * _PER_LOG + 1e-9


def bins_of(values: Floats) -> Bins:
    """The bin of each value.

    Parameters
    ----------
    values
        float64[n], finite: NaN and infinities are nulls and never get here.

    Returns
    -------
    int16[n].

    Examples
    --------
    >>> bins_of(np.array([-1.0, 0.0, 0.08, 1.0, 1.005]))
    array([-1037,     0,   910,  1037,  1037], dtype=int16)
    """
    work = np.abs(values)
    np.maximum(work, SMALLEST, out=work)
    np.log(work, out=work)
    work *= _PER_LOG
    work -= _SLACK
    np.ceil(work, out=work)
    np.minimum(work, LARGEST_BIN, out=work)
    np.copysign(work, values, out=work)
    return work.astype(np.int16)


def values_of(bins: NDArray[np.integer]) -> Floats:
    """The representative of each bin: float64[n], within 1 % of every value of the bucket (0 for bin 0)."""
    b = np.asarray(bins).astype(np.float64)
    magnitude = (1 - ALPHA) * np.exp(np.abs(b) * _LOG_GAMMA + _LOG_SMALLEST)
    return np.where(b == 0, 0.0, np.copysign(magnitude, b))


def bounds_of(bins: NDArray[np.integer]) -> tuple[Floats, Floats]:
    """Lower and upper bounds of each bin, float64[n] each, lower < upper also for negative bins."""
    b = np.asarray(bins).astype(np.float64)
    outer = np.exp(np.abs(b) * _LOG_GAMMA + _LOG_SMALLEST)
    inner = np.where(b == 0, -SMALLEST, outer / GAMMA)
    return np.where(b < 0, -outer, inner), np.where(b < 0, -inner, outer)


def histogram(values: Floats) -> tuple[Bins, Ints]:
    """The histogram of float64[n] finite values; both arrays are empty for none."""
    if not len(values):
        return np.empty(0, np.int16), np.empty(0, np.int64)
    bins = bins_of(values).astype(np.int64)
    first = int(bins.min())
    counts = np.bincount(bins - first)
    present = np.flatnonzero(counts)
    return (present + first).astype(np.int16), counts[present].astype(np.int64)


def merge(*histograms: tuple[NDArray[np.integer], NDArray[np.integer]]) -> tuple[Bins, Ints]:
    """The histogram of all values of ``histograms`` together: exact, associative, commutative."""
    if not histograms:
        return np.empty(0, np.int16), np.empty(0, np.int64)
    bins = np.concatenate([np.asarray(b, np.int16) for b, _ in histograms])
    counts = np.concatenate([np.asarray(c).astype(np.int64) for _, c in histograms])
    merged, place = np.unique(bins, return_inverse=True)
    total = np.zeros(len(merged), np.int64)
    np.add.at(total, place, counts)
    return merged, total


def merge_cells(
    series: Ints, bins: NDArray[np.integer], counts: NDArray[np.integer], n_series: int
) -> tuple[Bins, Ints, Ints]:
    """Sum the cells of many histograms at once.

    Parameters
    ----------
    series
        int64[h], 0 ≤ series < ``n_series``: whose cell it is; any order, any repetition.
    bins, counts
        int[h] each.

    Returns
    -------
    ``(bins, counts, offsets)``: int16[g] and int64[g], ascending within a series, and int64[n_series + 1]: the cells of
    series i stand at ``offsets[i]:offsets[i + 1]``.
    """
    key = (series << 16) + (np.asarray(bins).astype(np.int64) + (1 << 15))
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1)) if len(key) else np.empty(0, np.int64)
    summed = np.add.reduceat(np.asarray(counts).astype(np.int64)[order], starts) if len(key) else np.empty(0, np.int64)
    kept = key[starts]
    offsets = np.searchsorted(kept >> 16, np.arange(n_series + 1))
    return ((kept & 0xFFFF) - (1 << 15)).astype(np.int16), summed, offsets.astype(np.int64)


def quantile(bins: NDArray[np.integer], counts: NDArray[np.integer], q: Floats) -> Floats:
    """Quantiles of one histogram: see :func:`quantiles_csr`."""
    offsets = np.array([0, len(bins)], np.int64)
    row: Floats = quantiles_csr(bins, counts, offsets, q)[0]
    return row


def quantiles_csr(bins: NDArray[np.integer], counts: NDArray[np.integer], offsets: Ints, qs: Floats) -> Floats:
    """Quantiles of k histograms.

    The q-quantile of n values is the one of rank max(1, ⌈q·n⌉) in ascending order (the smallest value at which the
    empirical distribution reaches q: numpy's ``inverted_cdf``); what is returned is its bin's representative, within
    1 % of it.

    Parameters
    ----------
    bins, counts
        int[h] each, ascending within a histogram; zero counts are allowed.
    offsets
        int64[k + 1], non-decreasing: histogram i is ``offsets[i]:offsets[i + 1]``.
    qs
        float64[m], 0…1.

    Returns
    -------
    float64[k, m], NaN for a histogram without a count.

    Examples
    --------
    >>> bins, counts = histogram(np.array([10.0, 20.0, 30.0, 40.0]))
    >>> quantiles_csr(bins, counts, np.array([0, 4]), np.array([0.5, 0.99])).round(1)
    array([[19.8, 39.9]])
    """
    cum = np.concatenate(([0], np.cumsum(np.asarray(counts).astype(np.int64))))
    before = cum[offsets[:-1]]
    total = cum[offsets[1:]] - before
    # q·n is rounded: 0.07 · 100 must stay rank 7.
    rank = np.ceil(np.multiply.outer(total.astype(np.float64), np.asarray(qs, np.float64)) * (1 - 1e-15) - 1e-9)
    wanted = before[:, None] + np.clip(rank, 1, np.maximum(total, 1)[:, None]).astype(np.int64)
    filled = total > 0
    result = np.full(wanted.shape, np.nan)
    place = np.searchsorted(cum[1:], wanted[filled], side="left")
    result[filled] = values_of(np.asarray(bins)[place])
    return result


def counts_above(
    bins: NDArray[np.integer], counts: NDArray[np.integer], offsets: Ints, edges: NDArray[np.integer]
) -> Ints:
    """How many values of k histograms lie in bins above ``edges`` int[k]: int64[k]; see :func:`quantiles_csr`.

    Examples
    --------
    >>> bins, counts = histogram(np.array([10.0, 20.0, 30.0, 40.0]))
    >>> counts_above(bins, counts, np.array([0, 4]), bins_of(np.array([20.0])))
    array([2])
    """
    beyond = np.asarray(bins) > np.repeat(edges, np.diff(offsets))
    cum = np.concatenate(([0], np.cumsum(np.where(beyond, counts, 0).astype(np.int64))))
    found: Ints = cum[offsets[1:]] - cum[offsets[:-1]]
    return found


def take_csr(
    bins: NDArray[np.integer], counts: NDArray[np.integer], offsets: Ints, rows: Ints
) -> tuple[NDArray[np.integer], NDArray[np.integer], Ints]:
    """The histograms at ``rows`` int64[m] of k, in that order: ``(bins, counts, offsets)`` of the m."""
    sizes = np.diff(offsets)[rows]
    ends = np.cumsum(sizes)
    at = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(offsets[rows] - ends + sizes, sizes)
    return np.asarray(bins)[at], np.asarray(counts)[at], np.concatenate(([0], ends)).astype(np.int64)
