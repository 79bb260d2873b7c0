"""What the detectors of binned drift share: which histograms can be compared, and how alike values are."""

from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.drift.dispersion import DesignEffect
from detectors.protocol import Floats, Ints, NumericColumns
from detectors.stateless import Params

Counts = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Compared:
    """n series that have a baseline's bins, and enough values in them.

    ``places`` int64[n] in the window's series; ``cur`` and ``ref`` int[n, k] counts of the window and of the baseline;
    ``N`` and ``M`` int64[n] their sums.
    """

    places: Ints
    cur: Counts
    ref: Counts
    N: Ints
    M: Ints

    @classmethod
    def of(cls, numeric: NumericColumns, min_rows: int, min_ref_rows: int) -> Self:
        """Those with edges, ``min_rows`` values in the window and ``min_ref_rows`` in the baseline."""
        places = np.flatnonzero(numeric.has_edges & (numeric.count >= min_rows))
        # Nearly always all of them: a copy of half a million histograms is what a window costs.
        whole = len(places) == len(numeric.series)
        cur, ref = (numeric.cur, numeric.ref) if whole else (numeric.cur[places], numeric.ref[places])
        N, M = cur.sum(axis=1), ref.sum(axis=1)
        full = (min_rows <= N) & (min_ref_rows <= M)
        if full.all():
            return cls(places, cur, ref, N, M)
        return cls(places[full], cur[full], ref[full], N[full], M[full])

    def edges(self, numeric: NumericColumns) -> Floats:
        """The edges of their bins, float64[n, k - 1]."""
        return numeric.edges if len(self.places) == len(numeric.series) else numeric.edges[self.places]


class BinnedDistance(Generic[Params]):
    """A detector whose state is how alike a series' values are (:mod:`detectors.drift.dispersion`)."""

    kind: ClassVar[str]
    state_version: ClassVar[int]
    params_type: type[Params]

    def __init__(self, params: Params | None = None) -> None:
        self.params = params or self.params_type()
        self.window_s = self.params.window_s
        self._alike = DesignEffect()

    def _allowance(self, numeric: NumericColumns, compared: Compared) -> Floats:
        """The design effect of each compared series as it was before this window, which is taken in: float64[n]."""
        series, places = numeric.series[compared.places], compared.places
        alike = self._alike.of(series)
        self._alike.learn(series, numeric.mean[places], numeric.m2[places], numeric.count[places])
        return alike

    def forget(self, series: Ints) -> None:
        """Drop how alike values of ``series`` are."""
        self._alike.forget(series)

    def to_bytes(self) -> bytes:
        """How alike values are."""
        return self._alike.to_bytes(self.kind, self.state_version)

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector = cls(msgspec.convert(params, cls.params_type))
        detector._alike = DesignEffect.from_bytes(raw, cls.kind, cls.state_version)
        return detector
