r"""Wasserstein distance of a feature or score from its baseline, in the baseline's standard deviations.

$W = \int |F - G|\,dx$ between the first and the last inner edge of the baseline's bins, from the counts alone
($F - G$ is linear within a bin), divided by the standard deviation of the baseline drawn in to the same range.
Drawing in leaves out about 3 % at either end: there a heavy tail would decide both the distance and its noise.

Under no change $\sqrt{NM/(N+M)}\,(F - G)$ is a Brownian bridge $B(G)$. Then
$E W = \sqrt{2/\pi} \int \sqrt{G(1-G)}\,dx\,\sqrt{1/N + 1/M}$, and W exceeds it by more than
$z\,\sigma \sqrt{1/N + 1/M}$ no more often than a standard normal exceeds z: W is the largest of linear functionals
$\int hB(G)$, $|h| \le 1$, whose variance is that of a 1-Lipschitz function of X, at most $\sigma^2$.

References
----------
.. [1] C. Borell, "The Brunn-Minkowski inequality in Gauss space", 1975 (the concentration used above).
"""

from typing import ClassVar, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import scoring, special
from detectors.drift.compared import BinnedDistance, Compared
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Scores, WindowBatch

_BLOCK: Final = 1_024
_MEAN_OF_ABSOLUTE: Final = float(np.sqrt(2 / np.pi))


class WassersteinParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor`` in standard deviations of the baseline; the rest as for PSI."""

    window_s: int = 60
    floor: float = 0.1
    min_rows: int = 200
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor=(0, 100), min_rows=(50, 10**9), false_alarm_ratio=(1e-12, 0.1))


def wasserstein(cur: NDArray[np.integer], ref: NDArray[np.integer], edges: Floats) -> tuple[Floats, Floats]:
    r"""Distance of each series, and the mean of it that sampling makes.

    Parameters
    ----------
    cur, ref
        int[n, 34] counts in the same cells, each row of each with at least one count.
    edges
        float64[n, 33].

    Returns
    -------
    float64[n] in standard deviations, NaN for a baseline without spread, and float64[n]:
    $\sqrt{2/\pi} \int \sqrt{G(1-G)}\,dx / \sigma$, to be multiplied by $\sqrt{1/N + 1/M}$.
    """
    distance, expected = np.empty(len(cur)), np.empty(len(cur))
    for start in range(0, len(cur), _BLOCK):
        block = slice(start, start + _BLOCK)
        c, r = (counts[block].T.astype(np.float64, order="C") for counts in (cur, ref))
        distance[block], expected[block] = _wasserstein_block(c, r, edges[block].T.copy())
    return distance, expected


def _wasserstein_block(c: Floats, r: Floats, e: Floats) -> tuple[Floats, Floats]:
    # In units of the range: distances are relative to the spread anyway, and squares of 1e300 are not numbers.
    e -= e[16].copy()
    e /= np.where(e[31] > e[1], e[31] - e[1], 1.0)
    F, G = np.cumsum(c, axis=0), np.cumsum(r, axis=0)
    F, G = F[1:32] / F[-1], G[1:32] / G[-1]
    width = np.diff(e[1:32], axis=0)
    weight = np.zeros_like(F)
    weight[:-1] += width / 2
    weight[1:] += width / 2
    share = np.diff(G, axis=0)
    middle = (e[1:31] + e[2:32]) / 2
    low, high = G[0], 1 - G[-1]
    mean = low * e[1] + high * e[31] + (share * middle).sum(axis=0)
    variance = low * (e[1] - mean) ** 2 + high * (e[31] - mean) ** 2 + (share * (middle - mean) ** 2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        per_std = 1 / np.sqrt(variance)
        distance = (weight * np.abs(F - G)).sum(axis=0) * per_std
        expected = (weight * np.sqrt(np.maximum(G * (1 - G), 0))).sum(axis=0) * per_std * _MEAN_OF_ABSOLUTE
    spread = variance > 0
    return np.where(spread, distance, np.nan), np.where(spread, expected, np.nan)


class WassersteinDrift(BinnedDistance[WassersteinParams]):
    """Normalised Wasserstein distance of every series that has a baseline's bins, once a minute.

    Parameters
    ----------
    params
        See :class:`WassersteinParams`.

    Notes
    -----
    O(34 N) for N series; 16 bytes of state per series, for values that come in bursts count for fewer
    (:mod:`detectors.drift.dispersion`). It sees a shift of the mean earlier than PSI, and no change of shape within a
    bin. A baseline that is one value has no spread and is not ready: PSI watches it.
    """

    kind: ClassVar[str] = "wasserstein"
    state_version: ClassVar[int] = 1
    params_type = WassersteinParams

    def __init__(self, params: WassersteinParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every series with edges, ``min_rows`` events and as many in the baseline."""
        numeric, least = windows.numeric, self.params.min_rows
        found = Compared.of(numeric, least, least)
        value, expected = wasserstein(found.cur, found.ref, found.edges(numeric))
        scale = np.sqrt(self._allowance(numeric, found) * (1 / found.N + 1 / found.M))
        measured = scoring.Measured(
            score=value,
            floor=self.params.floor,
            noise=(expected + self._z) * scale,
            p_value=special.normal_sf(value / scale - expected),
            reference=expected * scale,
        )
        return scoring.distances(self.kind, "σ", numeric, found.places, np.ones(len(value), np.bool_), measured)
