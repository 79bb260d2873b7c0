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
from detectors.drift.compared import BinnedDistance, Compared, blocks, cells, dot, floors, running, total
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Ints, Scores, WindowBatch

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


def wasserstein(
    cur: NDArray[np.integer], ref: NDArray[np.integer], edges: Floats, places: Ints | None = None
) -> tuple[Floats, Floats]:
    r"""Distance of each series, and the mean of it that sampling makes.

    Parameters
    ----------
    cur, ref
        int[n, 34] counts in the same cells, each row of each with at least one count.
    edges
        float64[n, 33], or those of more series, of which int64[n] ``places`` are these.

    Returns
    -------
    float64[n] in standard deviations, NaN for a baseline without spread, and float64[n]:
    $\sqrt{2/\pi} \int \sqrt{G(1-G)}\,dx / \sigma$, to be multiplied by $\sqrt{1/N + 1/M}$.
    """
    distance, expected = np.empty(len(cur)), np.empty(len(cur))
    for block in blocks(len(cur)):
        F, G = running(cells(cur, block)), running(cells(ref, block))
        distance[block], expected[block] = _wasserstein_block(
            F, G, edges[block if places is None else places[block]].T[1:32].copy()
        )
    return distance, expected


def _wasserstein_block(F: Floats, G: Floats, e: Floats) -> tuple[Floats, Floats]:
    """Of running sums float64[34, b] and inner edges float64[31, b]; all are written over."""
    # In units of the range: distances are relative to the spread anyway, and squares of 1e300 are not numbers.
    e -= e[15].copy()
    e /= np.where(e[30] > e[0], e[30] - e[0], 1.0)
    F, G = F[1:32] / F[-1], G[1:32] / G[-1]
    middle = e[:-1] + e[1:]
    middle /= 2
    share = np.diff(G, axis=0)
    low, high = G[0], 1 - G[-1]
    mean = low * e[0] + high * e[30] + dot(share, middle)
    middle -= mean
    variance = low * (e[0] - mean) ** 2 + high * (e[30] - mean) ** 2 + total(share * middle * middle)
    # The trapezoid's weights: half of the widths on both sides.
    weight = np.empty_like(e)
    np.subtract(e[2:], e[:-2], out=weight[1:-1])
    weight[0], weight[-1] = e[1] - e[0], e[30] - e[29]
    F -= G
    np.abs(F, out=F)
    G -= G * G
    np.maximum(G, 0, out=G)
    np.sqrt(G, out=G)
    with np.errstate(divide="ignore", invalid="ignore"):
        per_std = 0.5 / np.sqrt(variance)
        distance = dot(weight, F) * per_std
        expected = dot(weight, G) * per_std * _MEAN_OF_ABSOLUTE
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
        value, expected = wasserstein(found.cur, found.ref, numeric.edges, found.places)
        scale = np.sqrt(self._allowance(numeric, found) * (1 / found.N + 1 / found.M))
        measured = scoring.Measured(
            score=value,
            floor=floors(self.params.floor, self.kind, numeric, found.places),
            noise=(expected + self._z) * scale,
            p_value=special.normal_sf(value / scale - expected),
            reference=expected * scale,
        )
        return scoring.distances(self.kind, "σ", numeric, found.places, np.ones(len(value), np.bool_), measured)
