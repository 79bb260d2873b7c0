r"""Rank correlations of all pairs of k quantities: how they stand to each other, whatever each does alone.

A value counts by its rank in the baseline, by bins: $s = (2u - 1) / \operatorname{sd}(2u - 1)$, u the share of the
baseline below its cell plus half the cell's own. So no tail weighs more than a rank, ties are their middle, and the
correlation r is Spearman's, to the width of a bin. On Fisher's scale, $q = \operatorname{artanh} r$, the error of n
rows is $\sqrt{v / (n - 3)}$; v is 1 for normal values, and else that of the influence of a row on r,

$$v = E\left[\left(s_1 s_2 - r\,\frac{s_1^2 + s_2^2}{2}\right)^2\right] / (1 - r^2)^2,$$

as the reference's own rows have it: dependence that sits in the tails makes r uncertain, and v large.

References
----------
.. [1] R. A. Fisher, "On the 'probable error' of a coefficient of correlation", 1921.
.. [2] D. G. Bonett, T. A. Wright, "Sample size requirements for estimating Pearson, Kendall and Spearman
   correlations", 2000.
.. [3] R. L. Thorndike, "Personnel selection", 1949 (correlations in a restricted range).
.. [4] S. J. Devlin, R. Gnanadesikan, J. R. Kettenring, "Robust estimation and outlier detection with correlation
   coefficients", 1975 (the influence of a row).
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.histograms import binned

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_ROWS: Final = 20
"""Rows in which both of a pair are known: fewer are no correlation."""
_MOST_RATIO: Final = 0.95
"""What has one value so often has no ranks: a few rows would decide its correlations."""
_MIN_OTHERS: Final = 10.0
"""Rows with other values than the most frequent one: the correlation of fewer is not its own on average."""
_CLOSEST: Final = 0.99
"""Correlations beyond it count as this one: a feature and its copy."""
_AS_WIDE: Final = (0.5, 2.0)
"""Of the baseline's variance of ranks. In a narrower range correlations fall, in a wider one they rise, though nothing
stands otherwise: by up to 0.2 on Fisher's scale within these bounds, for r = 0.6. Beyond them the quantity itself has
drifted, and that is said of it alone."""
_INFLUENCE: Final = (0.5, 4.0)


@dataclass(frozen=True, slots=True)
class Pairs:
    """The P = k (k - 1) / 2 pairs of k quantities, in the order of ``numpy.triu_indices(k, 1)``.

    ``q`` float64[P]: correlations on Fisher's scale, NaN where there is none. ``rows`` float64[P]: rows in which both
    are known.
    """

    q: Floats
    rows: Floats


def rank_scores(ref: NDArray[np.integer[Any]]) -> Floats:
    """What a value in each cell of int[k, c] reference counts scores: float64[k, c], mean 0 and deviation 1 there.

    NaN for a quantity of which one cell has nearly everything.

    Examples
    --------
    >>> rank_scores(np.array([[100, 100, 100], [998, 1, 1]])).round(2)
    array([[-1.22,  0.  ,  1.22],
           [  nan,   nan,   nan]])
    """
    share = ref / np.maximum(ref.sum(axis=1, keepdims=True), 1)
    place = 2 * np.cumsum(share, axis=1) - share - 1
    variance = (share * place * place).sum(axis=1, keepdims=True)
    ranked = (share.max(axis=1, keepdims=True, initial=0.0) <= _MOST_RATIO) & (variance > 0)
    return np.where(ranked, place / np.sqrt(np.where(ranked, variance, 1.0)), np.nan)


def ranked(values: Floats, edges: Floats, scores: Floats) -> Floats:
    """What float64[n, k] values score, by float64[k, 33] edges and float64[k, 34] scores of cells; NaN for null."""
    finite = np.isfinite(values)
    which = np.broadcast_to(np.arange(values.shape[1]), values.shape)[finite]
    result = np.full(values.shape, np.nan)
    result[finite] = scores[which, binned.bins_of_many(values[finite], edges, which)]
    return result


def others(ref: NDArray[np.integer[Any]]) -> Floats:
    """The share of values outside the fullest cell of int[k, c] reference counts: float64[k]."""
    return np.asarray(1 - ref.max(axis=1, initial=0) / np.maximum(ref.sum(axis=1), 1), np.float64)


def correlations(scores: Floats, others: Floats | float = 1.0) -> Pairs:
    """Of the columns of float64[n, k] rank scores, NaN for null: over the rows in which both of a pair are known.

    ``others`` float64[k] are the shares of :func:`others`: of a rare value it takes more rows. Quantities much narrower
    or wider than in the baseline have none.

    Examples
    --------
    >>> x = np.tile([-1.0, 1.0], 50)
    >>> pairs = correlations(np.stack((x, np.repeat([-1.0, 1.0], 50), np.roll(x, 1)), axis=1))
    >>> np.tanh(pairs.q).round(2) + 0.0, pairs.rows
    (array([ 0.  , -0.99,  0.  ]), array([100., 100., 100.]))
    """
    known = ~np.isnan(scores)
    x, there = np.where(known, scores, 0.0), known.astype(np.float64)
    upper = np.triu_indices(scores.shape[1], 1)
    n = there.T @ there
    of = np.maximum(n, 1)
    mean, square = (x.T @ there) / of, ((x * x).T @ there) / of
    variance = square - mean * mean
    spread = np.sqrt(np.maximum(variance * variance.T, 0))[upper]
    covariance = ((x.T @ x) / of - mean * mean.T)[upper]
    rows = n[upper]
    rare = np.minimum.outer(*[np.broadcast_to(others, scores.shape[1])] * 2)[upper]
    as_wide = (variance >= _AS_WIDE[0]) & (variance <= _AS_WIDE[1])
    enough = (rows >= MIN_ROWS) & (rows * rare >= _MIN_OTHERS) & (as_wide & as_wide.T)[upper]
    r = np.clip(covariance / np.where(enough, spread, np.nan), -_CLOSEST, _CLOSEST)
    return Pairs(np.arctanh(r), rows)


def place_of(k: int, first: Ints, second: Ints) -> Ints:
    """Where the pairs of quantities ``first`` < ``second``, int64[m] among k, lie: int64[m].

    Examples
    --------
    >>> place_of(4, *np.triu_indices(4, 1))
    array([0, 1, 2, 3, 4, 5])
    """
    return np.asarray(first * (2 * k - first - 1) // 2 + second - first - 1, np.int64)


def influence(scores: Floats, q: Floats) -> Floats:
    """The v of every pair, float64[P], of float64[n, k] rank scores of the reference and their correlations ``q``."""
    known = ~np.isnan(scores)
    x, there = np.where(known, scores, 0.0), known.astype(np.float64)
    upper = np.triu_indices(scores.shape[1], 1)
    n = np.maximum((there.T @ there)[upper], 1)
    x2, x3 = x * x, x * x * x
    fourth = ((x2 * x2).T @ there)[upper], (there.T @ (x2 * x2))[upper]
    both, crossed = (x2.T @ x2)[upper], (x3.T @ x + x.T @ x3)[upper]
    r = np.tanh(np.nan_to_num(q))
    square = both - r * crossed + r * r / 4 * (fourth[0] + 2 * both + fourth[1])
    return np.asarray(np.clip(square / n / (1 - r * r) ** 2, *_INFLUENCE), np.float64)


def independent(scores: Floats, q: Floats, v: Floats) -> Floats:
    """How many independent rows the n rows of float64[n, k] scores, in the order of time, are worth: a share, 0…1.

    By batch means: the influence of rows that come together, or at a time when everything stands otherwise, does not
    average out within √n of them.

    Returns
    -------
    float64[P].

    References
    ----------
    C. J. Geyer, "Practical Markov chain Monte Carlo", 1992.
    """
    n, k = scores.shape
    known = ~np.isnan(scores)
    x = np.where(known, scores, 0.0)
    upper = np.triu_indices(k, 1)
    r = np.tanh(np.nan_to_num(q))
    length = max(int(np.sqrt(n)), 1)
    squares, rows = np.zeros(len(r)), np.zeros(len(r))
    for first in range(0, n - length + 1, length):
        part, there = x[first : first + length], known[first : first + length].astype(np.float64)
        square = (part * part).T @ there
        influence_of_all = (part.T @ part)[upper] - r / 2 * (square[upper] + square.T[upper])
        squares += influence_of_all**2
        rows += (there.T @ there)[upper]
    effect = squares / np.maximum(rows, 1) / (1 - r * r) ** 2 / v
    return np.asarray(1 / np.maximum(effect, 1.0), np.float64)
