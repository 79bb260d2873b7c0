"""Baselines as arrays: what the stages gather a window's reference columns from."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.protocol import LATENCIES, LogCells
from schemas.baselines import CELLS, EDGES, Baseline

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_STEADY: Final = (0.0, 0.0, 0.0, 0.0)


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
    ``wander`` float64[k, 4]: how far they stray by each of :data:`~detectors.drift.compared.DISTANCES`.
    """

    names: tuple[str, ...]
    count: Ints
    mean: Floats
    std: Floats
    quantiles: Floats
    has_edges: NDArray[np.bool_]
    edges: Floats
    cells: Ints
    wander: Floats

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
            wander=np.array([p.wander or _STEADY for p in parts], np.float64).reshape(-1, len(_STEADY)),
        )


class _EdgeRows:
    """Distinct sets of edges, each kept once: a segment has those of its whole. Row 0 is NaN, for none."""

    def __init__(self) -> None:
        self.edges = np.full((1, EDGES), np.nan)
        self._row: dict[bytes, int] = {}
        self._key: dict[int, bytes] = {}
        self._uses: dict[int, int] = {}
        self._free: list[int] = []

    def put(self, edges: Floats) -> int:
        """The row of float64[33] edges, in use once more."""
        key = blake2b(edges.tobytes(), digest_size=16).digest()
        row = self._row.get(key)
        if row is None:
            row = self._free.pop() if self._free else len(self._row) + 1
            self.edges = _grown(self.edges, row + 1)
            self.edges[row] = edges
            self._row[key], self._key[row], self._uses[row] = row, key, 0
        self._uses[row] += 1
        return row

    def drop(self, row: int) -> None:
        """A row is in use once less; 0 is nobody's."""
        if not row:
            return
        self._uses[row] -= 1
        if not self._uses[row]:
            del self._row[self._key.pop(row)], self._uses[row]
            self._free.append(row)


class ReferenceTable:
    """The references of many scopes in one set of columns, to gather a window's ``ref_*`` columns with one index.

    Row 0 stands for "no reference": zero counts, NaN values. :meth:`put` gives the rows of a scope's quantities; keep
    the int64[N] of a window's series between windows, then ``table.mean[rows]`` is all it takes. Edges and counts are
    packed, to be had by :meth:`edges_of` and :meth:`cells_of`; the LogHistograms of latencies by :meth:`log_of`.

    Attributes
    ----------
    count, ref_rows
        int64[R]: the reference's values of the quantity, and its scope's events.
    mean, std
        float64[R].
    quantiles
        float64[R, 3].
    wander
        float32[R, 4].
    has_baseline, has_edges
        bool[R].
    """

    _COLUMNS: Final = (
        "count", "ref_rows", "mean", "std", "quantiles", "wander", "has_baseline", "has_edges", "_cells", "_edge_row"
    )  # fmt: skip

    def __init__(self) -> None:
        self._rows: dict[int, Ints] = {}
        self._free: list[int] = []
        self._used = 1
        self.count = np.zeros(1, np.int64)
        self.ref_rows = np.zeros(1, np.int64)
        self.mean = np.full(1, np.nan)
        self.std = np.full(1, np.nan)
        self.quantiles = np.full((1, 3), np.nan)
        self.wander = np.zeros((1, len(_STEADY)), np.float32)
        self.has_baseline = np.zeros(1, np.bool_)
        self.has_edges = np.zeros(1, np.bool_)
        self._cells = np.zeros((1, CELLS), np.uint32)
        self._edge_row = np.zeros(1, np.int32)
        self._edges = _EdgeRows()
        self._log: dict[int, tuple[NDArray[np.int16], NDArray[np.uint32]]] = {}

    def put(self, scope_id: int, baseline: Baseline) -> Ints:
        """Let ``baseline`` be the reference of scope ``scope_id``, instead of any before it.

        Returns
        -------
        int64[k]: the rows of its numeric quantities, in the baseline's order.
        """
        self.drop(scope_id)
        reference = NumericReference.of(baseline)
        k = len(reference.names)
        free = [self._free.pop() for _ in range(min(k, len(self._free)))]
        rows = np.array([*free, *range(self._used, self._used + k - len(free))], np.int64)
        self._used += k - len(free)
        for column in self._COLUMNS:
            setattr(self, column, _grown(getattr(self, column), self._used))
        self.count[rows], self.ref_rows[rows] = reference.count, baseline.rows
        self.mean[rows], self.std[rows], self.quantiles[rows] = reference.mean, reference.std, reference.quantiles
        self.wander[rows] = reference.wander
        self.has_baseline[rows], self.has_edges[rows] = True, reference.has_edges
        self._cells[rows] = reference.cells
        self._edge_row[rows] = [
            self._edges.put(edges) if has else 0
            for edges, has in zip(reference.edges, reference.has_edges.tolist(), strict=True)
        ]
        for row, part in zip(rows.tolist(), baseline.numeric, strict=True):
            if part.name in LATENCIES and part.log_bins:
                self._log[row] = np.frombuffer(part.log_bins, "<i2"), np.frombuffer(part.log_counts, "<u4")
        self._rows[scope_id] = rows
        return rows

    def drop(self, scope_id: int) -> None:
        """Forget the reference of a scope; its rows are reused."""
        rows = self._rows.pop(scope_id, None)
        if rows is not None:
            for edge_row in self._edge_row[rows].tolist():
                self._edges.drop(edge_row)
            for row in rows.tolist():
                self._log.pop(row, None)
            self._free += rows.tolist()

    def edges_of(self, rows: Ints) -> Floats:
        """The edges float64[n, 33] of int64[n] rows, NaN where there are none."""
        found: Floats = self._edges.edges[self._edge_row[rows]]
        return found

    def cells_of(self, rows: Ints) -> Ints:
        """The counts int64[n, 34] between the edges of int64[n] rows, zeros where there are none."""
        return self._cells[rows].astype(np.int64)

    def log_of(self, rows: Ints) -> LogCells:
        """The LogHistograms of int64[n] rows, empty for what is no latency."""
        known = [self._log.get(row) for row in rows.tolist()]
        filled = [cells for cells in known if cells is not None]
        if not filled:
            return LogCells.none(len(rows))
        sizes = np.array([0 if cells is None else len(cells[0]) for cells in known], np.int64)
        return LogCells(
            np.concatenate([bins for bins, _ in filled]).astype(np.int64),
            np.concatenate([counts for _, counts in filled]).astype(np.int64),
            np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
        )


def _grown(column: NDArray[Any], rows: int) -> NDArray[Any]:
    """The column with room for ``rows``; what is new is like its first row."""
    have = len(column)
    if rows <= have:
        return column
    grown = np.empty((max(rows, have + have // 4 + 64), *column.shape[1:]), column.dtype)
    grown[:have], grown[have:] = column, column[0]
    return grown
