r"""Kolmogorov-Smirnov distance of a feature or score from its baseline, on the counts of the baseline's bins.

$D = \max_i |F(e_i) - G(e_i)|$ over the 33 edges: at most the distance of the values themselves, so the bound
$P(D > x) \le 2 \exp(-2 x^2 / (1/N + 1/M))$ holds, and is conservative. It sees values that move past one point, which
PSI dilutes over 32 bins and Wasserstein weighs by how far they moved.

References
----------
.. [1] A. W. van der Vaart, J. A. Wellner, "Weak convergence and empirical processes", 1996, section 3.7 (the tail of
   the two-sample statistic).
"""

from typing import ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import scoring
from detectors.drift.compared import BinnedDistance, Compared, blocks, cells, floors, running
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Ints, Scores, WindowBatch


class KolmogorovParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor`` is a difference of shares, 0…1: 0.1 is a shift of about a quarter σ; the rest as for PSI."""

    window_s: int = 60
    floor: float = 0.1
    min_rows: int = 200
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor=(0, 1), min_rows=(50, 10**9), false_alarm_ratio=(1e-12, 0.1))


def kolmogorov(cur: NDArray[np.integer], ref: NDArray[np.integer], floor: float = 0.0) -> tuple[Floats, Ints]:
    """The distance of int[n, k] counts from as many others, every row with a count: float64[n], 0…1, and int64[n].

    The integers are the cell above which it is largest, 0 for distances below ``floor``.

    Examples
    --------
    >>> distance, cell = kolmogorov(np.array([[0, 6, 2, 2, 0]]), np.array([[0, 40, 30, 30, 0]]))
    >>> distance.round(2).tolist(), cell.tolist()
    ([0.2], [1])
    """
    distance, cell = np.empty(len(cur)), np.zeros(len(cur), np.int64)
    for block in blocks(len(cur)):
        gap, G = running(cells(cur, block)), running(cells(ref, block))
        gap /= gap[-1].copy()
        G /= G[-1].copy()
        gap -= G
        np.abs(gap, out=gap)
        distance[block] = gap.max(axis=0)
        far = np.flatnonzero(distance[block] >= floor)
        cell[block.start + far] = gap[:, far].argmax(axis=0)
    return distance, cell


class KolmogorovSmirnov(BinnedDistance[KolmogorovParams]):
    """Kolmogorov-Smirnov distance of every series that has a baseline's bins, once a minute.

    Parameters
    ----------
    params
        See :class:`KolmogorovParams`.

    Notes
    -----
    O(34 N) for N series; 16 bytes of state per series, for values that come in bursts count for fewer
    (:mod:`detectors.drift.dispersion`). The label says past which value the shares differ most, where they differ
    enough.
    """

    kind: ClassVar[str] = "kolmogorov"
    state_version: ClassVar[int] = 1
    params_type = KolmogorovParams

    def __init__(self, params: KolmogorovParams | None = None) -> None:
        super().__init__(params)
        self._x2 = -float(np.log(self.params.false_alarm_ratio / 2)) / 2

    def step(self, windows: WindowBatch) -> Scores:
        """Score every series with edges, ``min_rows`` events and as many in the baseline."""
        numeric, least = windows.numeric, self.params.min_rows
        found = Compared.of(numeric, least, least)
        places = found.places
        value, cell = kolmogorov(found.cur, found.ref, self.params.floor)
        scale = self._allowance(numeric, found) * (1 / found.N + 1 / found.M)
        label = [""] * len(numeric.series)
        for i in np.flatnonzero(value >= self.params.floor).tolist():
            label[int(places[i])] = f"past {numeric.edges[places[i], min(int(cell[i]), 32)]:.4g}"
        measured = scoring.Measured(
            score=value,
            floor=floors(self.params.floor, self.kind, numeric, places),
            noise=np.sqrt(self._x2 * scale),
            p_value=np.minimum(2 * np.exp(-2 * value * value / scale), 1.0),
            # The mean of the supremum of an absolute Brownian bridge.
            reference=np.sqrt(np.pi / 2) * np.log(2) * np.sqrt(scale),
            label=label,
        )
        return scoring.distances(self.kind, "KS distance", numeric, places, np.ones(len(value), np.bool_), measured)
