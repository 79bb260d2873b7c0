"""What the detectors of binned drift share: which histograms can be compared, and how alike values are."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Final, Generic, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.drift.dispersion import DesignEffect
from detectors.protocol import Bools, Floats, Ints, NumericColumns
from detectors.stateless import Params

Counts = NDArray[np.integer[Any]]

BLOCK: Final = 1_024
"""Series that are looked at together: their columns stay in the cache, those of half a million would not."""
DISTANCES: Final = ("psi", "wasserstein", "kolmogorov", "martingale")
"""Detectors whose floors :mod:`detectors.drift.wander` raises, in the order of its numbers."""
_SHARED: Final = "compared"
_INT32_MAX: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Compared:
    """n series that have a baseline's bins, and enough values in them.

    ``places`` int64[n] in the window's series; ``cur`` and ``ref`` int[n, k] counts of the window and of the baseline,
    stored cell by cell; ``N`` and ``M`` int64[n] their sums.
    """

    places: Ints
    cur: Counts
    ref: Counts
    N: Ints
    M: Ints

    @classmethod
    def of(cls, numeric: NumericColumns, min_rows: int, min_ref_rows: int) -> Self:
        """Those with edges, ``min_rows`` values in the window and ``min_ref_rows`` in the baseline; at least one."""
        every = cls.every(numeric)
        least, least_ref = max(min_rows, 1), max(min_ref_rows, 1)
        return every.take((numeric.count[every.places] >= min_rows) & (least <= every.N) & (least_ref <= every.M))

    @classmethod
    def every(cls, numeric: NumericColumns) -> Self:
        """All with edges and a value, also those of which no count is in any bin."""
        found: Self | None = numeric.shared.get(_SHARED)
        if found is None:
            places = np.flatnonzero(numeric.has_edges & (numeric.count > 0))
            cur, ref = by_cell(numeric.cur, places), by_cell(numeric.ref, places)
            found = numeric.shared[_SHARED] = cls(places, cur, ref, cur.sum(axis=1), ref.sum(axis=1))
        return found

    def take(self, which: Bools) -> Self:
        """Those of which ``which`` bool[n] holds."""
        if which.all():
            return self
        kept = np.flatnonzero(which)
        cur, ref = (np.take(counts.T, kept, axis=1).T for counts in (self.cur, self.ref))
        return type(self)(self.places[kept], cur, ref, self.N[kept], self.M[kept])


def floors(floor: float, kind: str, numeric: NumericColumns, places: Ints) -> Floats:
    """The ``floor`` of a kind of distance for the series at ``places`` int64[n], or how far their references stray."""
    if not len(numeric.ref_wander):
        return np.full(len(places), floor)
    return np.asarray(np.maximum(floor, numeric.ref_wander[places, DISTANCES.index(kind)]), np.float64)


def by_cell(counts: Ints, places: Ints) -> Counts:
    """The counts int64[N, k] of some series, one cell of all series after the other: int[n, k].

    So each step over the cells is one over neighbours in memory. In four bytes where they fit, which is nearly always.
    """
    small = not counts.size or int(counts.max()) <= _INT32_MAX
    stored = np.empty((counts.shape[1], len(places)), np.int32 if small else np.int64)
    for start in range(0, len(places), BLOCK):
        stored[:, start : start + BLOCK] = counts[places[start : start + BLOCK]].T
    return stored.T


def blocks(n: int) -> Iterator[slice]:
    """``n`` series, :data:`BLOCK` at a time."""
    return (slice(start, start + BLOCK) for start in range(0, n, BLOCK))


def cells(counts: Counts, block: slice) -> Floats:
    """The counts of a block, by cell, for the taking: float64[k, b]."""
    return counts[block].T.astype(np.float64, order="C")


def running(x: Floats) -> Floats:
    """The running sums of float64[k, b] over the cells, in place: numpy's own go against the grain of them."""
    for below, own in pairwise(x):
        np.add(own, below, out=own)
    return x


def total(x: Floats) -> Floats:
    """The sums of float64[k, b] over the cells: the same to the last bit, whatever other series are in the block."""
    # Of a single column numpy adds halves instead of one cell after the other.
    return np.asarray(x.sum(axis=0) if x.shape[1] > 1 else np.repeat(x, 2, axis=1).sum(axis=0)[:1], np.float64)


def dot(x: Floats, y: Floats) -> Floats:
    """The sums of products of float64[k, b] over the cells, as in :func:`total`."""
    if x.shape[1] == 1:
        return dot(np.repeat(x, 2, axis=1), np.repeat(y, 2, axis=1))[:1]
    return np.asarray(np.einsum("ij,ij->j", x, y), np.float64)


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
