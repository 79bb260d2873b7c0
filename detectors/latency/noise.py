r"""How far chance moves the quantiles of a latency, on the logarithm.

An order statistic's standard deviation is $\sqrt{q(1-q)} / (f(Q) \sqrt n)$. On the logarithm the density comes from the
slopes between p50, p95 and p99 of the distribution itself, against the standard normal's: the steeper of the two
neighbours, so that a tail that is heavier than it looks from below is not taken for news.

References
----------
.. [1] A. W. van der Vaart, "Asymptotic Statistics", chapter 21, 1998.
"""

from typing import Final

import numpy as np

from detectors import special
from detectors.protocol import Bools, Floats

QUANTILES: Final = np.array([0.5, 0.95, 0.99])
NAMES: Final = ("p50", "p95", "p99")
GRAIN: Final = 0.02
"""A LogHistogram's quantile is off by up to 1 %, on either side of a ratio."""
_Z: Final = np.array([special.z_of(1 - q) for q in QUANTILES])
_DENSITY: Final = np.exp(-_Z * _Z / 2) / np.sqrt(2 * np.pi)
_SPREAD: Final = np.sqrt(QUANTILES * (1 - QUANTILES)) / _DENSITY
"""Standard deviation of a quantile of n standard normal values, times √n."""


def quantile_noise(quantiles: Floats, variance: Floats) -> Floats:
    """Standard deviation of the logarithm of p50, p95 and p99, float64[k, 3].

    Parameters
    ----------
    quantiles
        float64[k, 3] of the distribution; what is not over 0 has no logarithm and gives NaN.
    variance
        float64[k]: 1 / n, for a ratio of two samples 1 / n + 1 / m.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.where(quantiles > 0, quantiles, np.nan))
    slopes = np.diff(logs, axis=1) / np.diff(_Z)
    steeper = np.maximum(slopes[:, 0], slopes[:, 1])
    slope = np.column_stack((slopes[:, 0], steeper, steeper))
    return np.asarray(slope * _SPREAD * np.sqrt(variance)[:, None], np.float64)


def enough(count: Floats, min_beyond: float) -> Bools:
    """Which of p50, p95 and p99 have ``min_beyond`` of float64[k] values beyond them: bool[k, 3]."""
    return np.asarray(count[:, None] * (1 - QUANTILES) >= min_beyond, np.bool_)


def middle(ref_ms: float, ms: float, noise: float, floor: float) -> str:
    """What to say of the median beside a tail that has moved; ``noise`` and ``floor`` on the logarithm.

    It has not moved where it is a third of the floor away at most, and chance does not hide that it is over it.

    Examples
    --------
    >>> middle(20.0, 20.4, 0.05, 0.26)
    'p50 has not moved (20 → 20.4 ms): the tail alone'
    >>> middle(20.0, 23.0, 0.05, 0.26), middle(20.0, 20.4, 0.3, 0.26)
    ('p50 20 → 23 ms', 'p50 20 → 20.4 ms')
    """
    if not (ref_ms > 0 and ms > 0):
        return ""
    moved = f"{ref_ms:.3g} → {ms:.3g} ms"
    rise = float(np.log(ms / ref_ms))
    if rise <= floor / 3 and rise + noise < floor:
        return f"p50 has not moved ({moved}): the tail alone"
    return f"p50 {moved}"
