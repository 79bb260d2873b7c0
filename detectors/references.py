"""Baselines as arrays: what the stages gather a window's reference columns from."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.baselines import CELLS, EDGES, Baseline

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def error_ratio(baseline: Baseline, ok: str = "ok") -> float:
    """Share of a baseline's events whose status is not ``ok``, 0…1; NaN where it counts no status."""
    for counter in baseline.counters:
        total = sum(counter.counts)
        if counter.name == "status" and total > 0:
            good = dict(zip(counter.values, counter.counts, strict=True)).get(ok, 0)
            return 1 - good / total
    return float("nan")


def expected_rows(baseline: Baseline, window_ms: int) -> float:
    """Events of a window of ``window_ms`` by a baseline's mean rate; NaN where it knows no rate."""
    return baseline.rows / baseline.panes * window_ms / baseline.pane_ms if baseline.panes else float("nan")


def reference_sample(baseline: Baseline) -> Floats:
    """A baseline's rows: float64[r, k], NaN for null."""
    k = len(baseline.sample_names)
    return np.frombuffer(baseline.sample, "<f4").astype(np.float64).reshape(-1, k) if k else np.empty((0, 0))


@dataclass(frozen=True, slots=True)
class NumericReference:
    """The numeric quantities of a baseline as arrays: k rows, in the order of ``names``.

    ``count`` int64[k]; ``mean``, ``std`` float64[k]; ``quantiles`` float64[k, 3] (p50, p95, p99);
    ``has_edges`` bool[k]; ``edges`` float64[k, 33] (NaN without edges); ``cells`` int64[k, 34] (zeros without).
    """

    names: tuple[str, ...]
    count: Ints
    mean: Floats
    std: Floats
    quantiles: Floats
    has_edges: NDArray[np.bool_]
    edges: Floats
    cells: Ints

    @classmethod
    def of(cls, baseline: Baseline) -> "NumericReference":
        """Unpack a baseline: milliseconds for fifty quantities, so keep the result."""
        parts = baseline.numeric
        count = np.array([p.count for p in parts], np.int64)
        m2 = np.array([p.m2 for p in parts], np.float64)
        edges = np.full((len(parts), EDGES), np.nan)
        cells = np.zeros((len(parts), CELLS), np.int64)
        for i, part in enumerate(parts):
            if part.edges:
                edges[i] = np.frombuffer(part.edges, "<f8")
                cells[i] = np.frombuffer(part.counts, "<u4")
        return cls(
            names=tuple(p.name for p in parts),
            count=count,
            mean=np.array([p.mean for p in parts], np.float64),
            std=np.sqrt(m2 / np.maximum(count - 1, 1)),
            quantiles=np.array([(p.p50, p.p95, p.p99) for p in parts], np.float64).reshape(-1, 3),
            has_edges=np.array([bool(p.edges) for p in parts], np.bool_),
            edges=edges,
            cells=cells,
        )


class ReferenceTable:
    """The references of many scopes in one set of columns, to gather a window's ``ref_*`` columns with one index.

    Row 0 stands for "no reference": zero counts, NaN values. :meth:`row` gives a quantity's row; keep the int64[N] of a
    window's series between windows while :attr:`version` stays the same, then ``table.edges[rows]`` is all it takes.

    Attributes
    ----------
    count, ref_rows
        int64[R]: the reference's values of the quantity, and its scope's events.
    mean, std
        float64[R].
    quantiles
        float64[R, 3].
    edges
        float64[R, 33].
    cells
        int64[R, 34].
    has_baseline, has_edges
        bool[R].
    version
        Grows with every :meth:`put` and :meth:`drop`.
    """

    _COLUMNS: Final = ("count", "ref_rows", "mean", "std", "quantiles", "edges", "cells", "has_baseline", "has_edges")

    def __init__(self) -> None:
        self.version = 0
        self._rows: dict[int, dict[str, int]] = {}
        self._free: list[int] = []
        self._used = 1
        self.count = np.zeros(1, np.int64)
        self.ref_rows = np.zeros(1, np.int64)
        self.mean = np.full(1, np.nan)
        self.std = np.full(1, np.nan)
        self.quantiles = np.full((1, 3), np.nan)
        self.edges = np.full((1, EDGES), np.nan)
        self.cells = np.zeros((1, CELLS), np.int64)
        self.has_baseline = np.zeros(1, np.bool_)
        self.has_edges = np.zeros(1, np.bool_)

    def put(self, scope_id: int, baseline: Baseline) -> None:
        """Let ``baseline`` be the reference of scope ``scope_id``, instead of any before it."""
        self.drop(scope_id)
        reference = NumericReference.of(baseline)
        k = len(reference.names)
        rows = [self._free.pop() for _ in range(min(k, len(self._free)))]
        missing = k - len(rows)
        rows += range(self._used, self._used + missing)
        self._used += missing
        self._grow(self._used)
        self.count[rows], self.ref_rows[rows] = reference.count, baseline.rows
        self.mean[rows], self.std[rows], self.quantiles[rows] = reference.mean, reference.std, reference.quantiles
        self.edges[rows], self.cells[rows] = reference.edges, reference.cells
        self.has_baseline[rows], self.has_edges[rows] = True, reference.has_edges
        self._rows[scope_id] = dict(zip(reference.names, rows, strict=True))

    def drop(self, scope_id: int) -> None:
        """Forget the reference of a scope; its rows are reused."""
        self.version += 1
        self._free += self._rows.pop(scope_id, {}).values()

    def row(self, scope_id: int, name: str) -> int:
        """The row of a scope's quantity, 0 where it has no reference."""
        return self._rows.get(scope_id, {}).get(name, 0)

    def names(self, scope_id: int) -> tuple[str, ...]:
        """The quantities a scope has a reference for."""
        return tuple(self._rows.get(scope_id, ()))

    def _grow(self, rows: int) -> None:
        have = len(self.count)
        if rows <= have:
            return
        for column in self._COLUMNS:
            old = getattr(self, column)
            new = np.empty((max(rows, 2 * have), *old.shape[1:]), old.dtype)
            new[:have], new[have:] = old, old[0]
            setattr(self, column, new)
