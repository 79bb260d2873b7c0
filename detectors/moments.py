r"""Moments that merge: count, mean, sum of squared deviations, minimum, maximum.

Arrays of shape ``[..., 5]`` in the order of :data:`schemas.panes.STAT_COLUMNS`. A series without a value is
``(0, NaN, 0, NaN, NaN)``; a mean of 0 instead of NaN is read the same.

References
----------
.. [1] T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample variance", 1983.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COUNT: Final = 0
MEAN: Final = 1
M2: Final = 2
MIN: Final = 3
MAX: Final = 4
EMPTY: Final = (0.0, np.nan, 0.0, np.nan, np.nan)


def of(values: Floats) -> Floats:
    """The moments of float64[..., n] along the last axis, NaN left out: float64[..., 5]."""
    if not values.shape[-1]:
        return np.broadcast_to(np.array(EMPTY), (*values.shape[:-1], 5)).copy()
    valid = ~np.isnan(values)
    count = valid.sum(axis=-1, dtype=np.float64)
    some = np.maximum(count, 1)
    filled = np.where(valid, values, 0.0)
    # Summing deviations from a value of the series keeps a large offset out of the rounding.
    first = np.take_along_axis(filled, valid.argmax(axis=-1)[..., None], axis=-1)
    deviation = np.where(valid, filled - first, 0.0)
    shift = deviation.sum(axis=-1) / some
    deviation -= np.where(valid, shift[..., None], 0.0)
    m2 = (deviation * deviation).sum(axis=-1)
    low = np.where(valid, values, np.inf).min(axis=-1, initial=np.inf)
    high = np.where(valid, values, -np.inf).max(axis=-1, initial=-np.inf)
    empty = count == 0
    columns = (first[..., 0] + shift, m2, low, high)
    return np.stack((count, *(np.where(empty, e, c) for e, c in zip(EMPTY[1:], columns, strict=True))), axis=-1)


def merge(a: Floats, b: Floats) -> Floats:
    """The moments of the values behind ``a`` and ``b`` together: float64[..., 5], shapes broadcast.

    Examples
    --------
    >>> merge(of(np.array([1.0, 3.0])), of(np.array([5.0])))
    array([3., 3., 8., 1., 5.])
    """
    a, b = np.broadcast_arrays(a, b)
    na, nb = a[..., COUNT], b[..., COUNT]
    n = na + nb
    some = np.maximum(n, 1)
    ma, mb = np.where(na > 0, a[..., MEAN], b[..., MEAN]), np.where(nb > 0, b[..., MEAN], a[..., MEAN])
    delta = mb - ma
    mean = ma + delta * (nb / some)
    m2 = a[..., M2] + b[..., M2] + np.where((na > 0) & (nb > 0), delta * delta * (na * (nb / some)), 0.0)
    low, high = np.fmin(a[..., MIN], b[..., MIN]), np.fmax(a[..., MAX], b[..., MAX])
    return np.stack((n, np.where(n > 0, mean, np.nan), m2, low, high), axis=-1)


def merge_groups(stats: Floats, group: Ints, n_groups: int) -> Floats:
    """The moments of many groups at once.

    Parameters
    ----------
    stats
        float64[n, 5].
    group
        int64[n], 0 ≤ group < ``n_groups``, any order.

    Returns
    -------
    float64[n_groups, 5].
    """
    kept = stats[:, COUNT] > 0
    stats, group = stats[kept], group[kept]
    result = np.tile(np.array(EMPTY), (n_groups, 1))
    if not len(stats):
        return result
    order = np.argsort(group, kind="stable")
    stats, group = stats[order], group[order]
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    place = np.cumsum(np.diff(group, prepend=-1) != 0) - 1
    n = np.add.reduceat(stats[:, COUNT], starts)
    first = stats[starts, MEAN]
    shift = np.add.reduceat(stats[:, COUNT] * (stats[:, MEAN] - first[place]), starts) / n
    mean = first + shift
    # Deviations from the shifted origin, not from ``mean``: at 1e9 offset its rounding would enter squared.
    between = (stats[:, MEAN] - first[place]) - shift[place]
    m2 = np.add.reduceat(stats[:, M2] + stats[:, COUNT] * between * between, starts)
    low, high = np.minimum.reduceat(stats[:, MIN], starts), np.maximum.reduceat(stats[:, MAX], starts)
    result[group[starts]] = np.stack((n, mean, m2, low, high), axis=1)
    return result
