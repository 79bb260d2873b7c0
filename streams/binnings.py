"""Which bins a scope's features are counted in: the edges of its model version's baseline, by pane.

A baseline names the pane at which it takes effect, so every partition and every replay switches at the same one.
Segments are counted in the bins of their whole: they can be compared with it, and a value is binned once.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.baselines import EDGES, Baseline
from schemas.scopes import Scope

FEATURE_PREFIX: Final = "features."
"""What a feature's quantity begins with, so that no feature can pass for a field of the event."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(slots=True)
class Binning:
    """The edges one baseline prescribes: quantity → row of the index's edge matrix.

    ``layout`` names the edges: the baseline that brought them.
    """

    baseline_id: str
    layout: str
    effective_from_ms: int
    rows: dict[str, int]
    _cache: dict[tuple[str, ...], Ints] = field(default_factory=dict)

    def rows_of(self, names: tuple[str, ...]) -> Ints:
        """Row of each quantity in :attr:`BinningIndex.edges`, int64[k]; -1 for those that stay LogHistograms."""
        rows = self._cache.get(names)
        if rows is None:
            if len(self._cache) > 64:
                self._cache.clear()
            rows = self._cache[names] = np.array([self.rows.get(name, -1) for name in names], np.int64)
        return rows


class BinningIndex:
    """The binnings of all model versions, found by scope and pane."""

    def __init__(self) -> None:
        self._edges = np.empty((0, EDGES))
        self._used = 0
        self._of: dict[Scope, list[Binning]] = {}

    @property
    def edges(self) -> Floats:
        """float64[m, 33]: the edges of every quantity of every binning."""
        return self._edges

    def offer(self, baseline: Baseline) -> None:
        """Take in a baseline of a whole scope; one that is known already, or belongs to a segment, changes nothing."""
        known = self._of.setdefault(baseline.scope, [])
        if baseline.scope.segment or any(b.baseline_id == baseline.id for b in known):
            return
        same = next((b for b in known if b.layout == baseline.laid_out), None)
        rows = same.rows if same is not None else self._take_in(baseline)
        known.append(Binning(baseline.id, baseline.laid_out, baseline.effective_from_ms, rows))
        known.sort(key=lambda b: (b.effective_from_ms, b.baseline_id))

    def _take_in(self, baseline: Baseline) -> dict[str, int]:
        edged = [q for q in baseline.numeric if q.edges]
        start = self._used
        self._reserve(len(edged))
        for row, quantity in enumerate(edged, start):
            self._edges[row] = np.frombuffer(quantity.edges, "<f8")
        self._used += len(edged)
        return {q.name: row for row, q in enumerate(edged, start)}

    def offer_all(self, baselines: Iterable[Baseline]) -> None:
        """Take in several baselines."""
        for baseline in baselines:
            self.offer(baseline)

    def find(self, whole: Scope, pane_start_ms: int) -> Binning | None:
        """The binning in force for a model version's pane; None until it has one."""
        known = self._of.get(whole)
        if not known:
            return None
        place = bisect_right(known, pane_start_ms, key=lambda b: b.effective_from_ms)
        return known[place - 1] if place else None

    def _reserve(self, rows: int) -> None:
        needed = self._used + rows
        if needed > len(self._edges):
            grown = np.empty((max(needed, 2 * len(self._edges), 64), EDGES))
            grown[: self._used] = self._edges[: self._used]
            self._edges = grown
