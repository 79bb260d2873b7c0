"""The baselines in force: what each scope and each series is compared with."""

from collections.abc import Mapping

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from detectors.references import ReferenceTable
from schemas.baselines import Baseline, CategoryBaseline
from streams.analyse.registry import Registry
from streams.windows.tallies import Tallies

Ints = NDArray[np.int64]


class References:
    """Baselines by scope number, and the row of each series in the table of their columns.

    Attributes
    ----------
    table
        The numeric columns; row 0 stands for "no reference".
    baseline
        Scope → the baseline in force, without its numeric quantities, its sample and its pairs: the table has
        the ones, the detectors that are fitted on them the others.
    categories
        Series → its reference counts, for categorical features and counters.
    """

    def __init__(self) -> None:
        self.table = ReferenceTable()
        self.baseline: dict[int, Baseline] = {}
        self.categories: dict[int, CategoryBaseline] = {}
        self._expected: dict[int, Ints] = {}
        self._texts: dict[int, list[int]] = {}
        self._row = np.zeros(64, np.int64)

    def put(self, scope: int, baseline: Baseline, registry: Registry) -> None:
        """Let a baseline take effect for a scope."""
        self.drop(scope, registry)
        self.baseline[scope] = replace(baseline, numeric=(), sample=b"", sample_names=(), joint=None)
        series = np.array([registry.id(scope, quantity.name) for quantity in baseline.numeric], np.int64)
        self._expected[scope] = series
        self.rows(registry.series)[series] = self.table.put(scope, baseline)
        for part in (*baseline.categories, *baseline.counters):
            self.categories[registry.id(scope, part.name)] = part
        self._texts[scope] = [registry.id(scope, part.name) for part in baseline.categories]

    def edges(self, scope: int, registry: Registry) -> dict[str, bytes]:
        """Quantity → edges, of those of a scope's baseline that have any; empty without a baseline."""
        series = self.edged(scope)
        names = [registry.names[number] for number in series.tolist()]
        return {name: own.tobytes() for name, own in zip(names, self.table.edges_of(self._row[series]), strict=True)}

    def cells(self, scope: int, registry: Registry) -> dict[str, Ints]:
        """Quantity → counts int64[34] between its edges, of those of a scope's baseline that have any."""
        series = self.edged(scope)
        names = [registry.names[number] for number in series.tolist()]
        return dict(zip(names, self.table.cells_of(self._row[series]), strict=True))

    def wander(self, scope: int, registry: Registry) -> dict[str, tuple[float, ...]]:
        """Quantity → how far it strays, of those of a scope's baseline that do."""
        series = self._expected.get(scope, np.empty(0, np.int64))
        far = self.table.wander[self._row[series]]
        straying = np.flatnonzero(far.any(axis=1)).tolist()
        return {registry.names[series[i]]: tuple(far[i].tolist()) for i in straying}

    def shares_wander(self, scope: int) -> dict[str, float]:
        """Quantity → how far its shares stray, of the categorical ones of a scope's baseline that do."""
        baseline = self.baseline.get(scope)
        parts = (*baseline.categories, *baseline.counters) if baseline is not None else ()
        return {part.name: part.wander for part in parts if part.wander}

    def edged(self, scope: int) -> Ints:
        """The series int64[k] of a scope whose baseline has edges for them."""
        series = self._expected.get(scope)
        if series is None:
            return np.empty(0, np.int64)
        return series[self.table.has_edges[self._row[series]]]

    def layout_of(self, scope: int, registry: Registry) -> str:
        """The name of the edges by which a scope's values are binned, ``""`` for none: of its whole's, if a segment."""
        who = registry.scopes[scope]
        whole = registry.find(who.whole) if who is not None else None
        baseline = self.baseline.get(whole) if whole is not None else None
        return baseline.laid_out if baseline is not None else ""

    def drop(self, scope: int, registry: Registry) -> None:
        """Forget a scope's baseline; must come before the registry drops the scope."""
        old = self.baseline.pop(scope, None)
        if old is None:
            return
        self.table.drop(scope)
        self.rows(registry.series)[self._expected.pop(scope)] = 0
        self._texts.pop(scope)
        for part in (*old.categories, *old.counters):
            self.categories.pop(registry.id(scope, part.name), None)

    def rows(self, series: int) -> Ints:
        """Row of :attr:`table` of each series, int64[≥ series]."""
        if series > len(self._row):
            grown = np.zeros(max(series, 2 * len(self._row)), np.int64)
            grown[: len(self._row)] = self._row
            self._row = grown
        return self._row

    def expected(self, scopes: list[int]) -> Ints:
        """The numeric series that the baselines of these scopes have: looked at also when nothing of them came."""
        known = [self._expected[scope] for scope in scopes if scope in self._expected]
        return np.concatenate(known) if known else np.empty(0, np.int64)

    def expected_texts(self, rows: Mapping[int, int], present: Tallies) -> list[int]:
        """The categorical series that the baselines of the scopes with events have, and ``present`` has not."""
        known = (series for scope, count in rows.items() if count for series in self._texts.get(scope, ()))
        return [series for series in known if not present.get(series)]
