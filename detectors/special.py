r"""Distribution functions on arrays, accurate enough to compare with thresholds, without a dependency.

References
----------
.. [1] E. B. Wilson, M. M. Hilferty, "The distribution of chi-square", 1931.
.. [2] F. J. Anscombe, "The transformation of Poisson, binomial and negative-binomial data", 1948.
"""

from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_ERFCX: Final = (
    -6.51326860e-01, 6.41969792e-01, 1.94764732e-02, -9.56151479e-03, -9.46595344e-04, 3.66839498e-04,
    4.25233245e-05, -2.02785790e-05, -1.62428312e-06, 1.30365344e-06, 1.55299740e-08, -8.50107306e-08, 7.52041799e-09,
)  # fmt: skip
"""Chebyshev coefficients of log(erfcx(x) / t) over 2t - 1 with t = 2 / (2 + x), for x from 0 to infinity."""


def z_of(tail_ratio: float) -> float:
    """The standard normal's quantile that leaves ``tail_ratio`` (0…1, exclusive) above it."""
    return -NormalDist().inv_cdf(tail_ratio)


def normal_sf(z: Floats) -> Floats:
    """Upper tail of the standard normal: relative error below 1e-7 as long as it is representable; NaN for NaN."""
    x = np.abs(z) / np.sqrt(2)
    t = 2 / (2 + x)
    tail: Floats = 0.5 * t * np.exp(np.asarray(chebyshev.chebval(2 * t - 1, _ERFCX)) - x * x)
    return np.where(z > 0, tail, 1 - tail)


def chi2_quantile(dof: Floats, z: float) -> Floats:
    """The quantile of chi-square where a standard normal is at ``z`` (Wilson-Hilferty); 0 for no freedom."""
    k = np.maximum(dof, 1)
    spread = 2 / (9 * k)
    return np.where(dof > 0, k * np.maximum(1 - spread + z * np.sqrt(spread), 0) ** 3, 0.0)


def chi2_sf(x: Floats, dof: Floats) -> Floats:
    """Upper tail of chi-square (Wilson-Hilferty); 1 for no freedom."""
    k = np.maximum(dof, 1)
    spread = 2 / (9 * k)
    z = (np.cbrt(np.maximum(x, 0) / k) - (1 - spread)) / np.sqrt(spread)
    return np.where(dof > 0, normal_sf(z), 1.0)


def count_upper(expected: Floats, z: float, widen: Floats | float = 1.0) -> Floats:
    r"""The count a Poisson variable of mean ``expected`` exceeds no more often than a standard normal exceeds ``z``.

    Anscombe's $2\sqrt{x + 3/8}$ has unit variance down to small means, where the plain normal bound is far too low.
    ``widen`` multiplies the standard deviation: the square root of an overdispersion, or of 1 + N/M where the mean
    itself was estimated from M events. Half a count is added for continuity.
    """
    root = np.sqrt(expected + 0.375) + z * np.asarray(widen) / 2
    return np.asarray(root * root + 0.125, np.float64)


def count_lower(expected: Floats, z: float, widen: Floats | float = 1.0) -> Floats:
    """Mirror of :func:`count_upper`; negative where even a count of 0 is no surprise."""
    root = np.sqrt(expected + 0.375) - z * np.asarray(widen) / 2
    return np.where(root > 0, root * root - 0.875, -0.875)


def count_z(count: Floats, expected: Floats, widen: Floats | float = 1.0) -> Floats:
    """How many standard deviations ``count`` lies above ``expected``, by the same transformation and continuity."""
    raised = np.sqrt(np.maximum(count - 0.125, 0)) - np.sqrt(expected + 0.375)
    return np.asarray(2 * raised / np.asarray(widen), np.float64)
