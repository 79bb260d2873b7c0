"""Windows as the analyse stage would build them, from raw values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import moments
from detectors.histograms import binned, log
from detectors.protocol import (
    LATENCIES,
    NUMBER,
    CategoryColumns,
    IdColumns,
    LatencyColumns,
    LogCells,
    NumericColumns,
    ReadColumns,
    Role,
    SampleColumns,
    ScopeColumns,
    WindowBatch,
)
from detectors.references import NumericReference, error_ratio, expected_rows
from schemas.baselines import Baseline
from schemas.scopes import Family, Scope

Floats = NDArray[np.float64]
SCOPE_QUANTITIES = ("rows", "errors", "outliers")
GAUGES = {
    "temperature_c", "memory_used_ratio", "memory_used_bytes", "memory_total_bytes", "utilization_ratio", "power_w",
    "sm_clock_hz", "sm_clock_max_hz", "ecc_uncorrected_total", "ecc_corrected_total",
}  # fmt: skip


@dataclass
class Seen:
    """What one scope saw in a window: values with NaN for null, counts of categories and counters, a row sample."""

    rows: int
    numeric: Mapping[str, Floats] = field(default_factory=dict)
    categories: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    errors: int = 0
    ids: tuple[int, int] = (0, 0)
    sample: tuple[tuple[str, ...], Floats] | None = None
    age: int = 1_000


@dataclass
class World:
    """Scopes with their baselines; series ids are given once, whatever the batch. ``slos`` concern every model."""

    baselines: Mapping[Scope, Baseline | None]
    slos: Sequence[str] = ()
    series: dict[tuple[Scope, str], int] = field(default_factory=dict)

    def id(self, scope: Scope, name: str) -> int:
        return self.series.setdefault((scope, name), len(self.series))

    def window(self, seen: Mapping[Scope, Seen], start_ms: int = 0, size_ms: int = 60_000) -> WindowBatch:
        scopes = list(seen)
        numeric = self._numeric(scopes, seen)
        return WindowBatch(
            start_ms=start_ms,
            size_ms=size_ms,
            scopes=self._scopes(scopes, seen, size_ms),
            numeric=numeric,
            categories=self._categories(scopes, seen),
            samples=self._samples(scopes, seen),
            latencies=self._latencies(scopes, seen, numeric),
            ids=self._ids(scopes, seen),
            reads=self._reads(scopes, seen),
        )

    def _scopes(self, scopes: Sequence[Scope], seen: Mapping[Scope, Seen], size_ms: int) -> ScopeColumns:
        baselines = [self.baselines.get(s) for s in scopes]
        return ScopeColumns(
            id=np.array([sorted(self.baselines).index(s) for s in scopes], np.int64),
            family=[s.family for s in scopes],
            rows=np.array([seen[s].rows for s in scopes], np.int64),
            late=np.zeros(len(scopes), np.int64),
            errors=np.array([seen[s].errors for s in scopes], np.int64),
            age_windows=np.array([seen[s].age for s in scopes], np.int64),
            ref_rows=np.array([expected_rows(b, size_ms) if b else np.nan for b in baselines], np.float64),
            ref_error_ratio=np.array([error_ratio(b) if b else np.nan for b in baselines], np.float64),
            series={q: np.array([self.id(s, q) for s in scopes], np.int64) for q in SCOPE_QUANTITIES}
            | {f"slo.{name}": np.array([self._slo_id(s, name) for s in scopes], np.int64) for name in self.slos},
            key=scopes,
        )

    def _ids(self, scopes: Sequence[Scope], seen: Mapping[Scope, Seen]) -> IdColumns:
        place = np.array([i for i, scope in enumerate(scopes) if seen[scope].rows and seen[scope].ids[0]], np.int64)
        who = [scopes[i] for i in place.tolist()]
        sampled, repeated = (np.array([seen[scope].ids[part] for scope in who], np.int64) for part in (0, 1))
        series = np.array([self.id(scope, "event_id") for scope in who], np.int64)
        events = np.array([seen[scope].rows for scope in who], np.int64)
        return IdColumns(place, series, events, sampled, repeated, sampled + repeated)

    def _reads(self, scopes: Sequence[Scope], seen: Mapping[Scope, Seen]) -> ReadColumns:
        """What the scopes of reads were served, beside what the version "1" of their model was given."""
        place, names, sides = [], [], []
        for at, scope in enumerate(scopes):
            given = seen.get(Scope(Family.PREDICTION, scope.model, "1"))
            if scope.family is Family.READ and given is not None:
                both = sorted({*seen[scope].numeric, *seen[scope].categories} & {*given.numeric, *given.categories})
                for name in (name for name in both if name.startswith("features.")):
                    place.append(at)
                    names.append(name)
                    sides.append((_told(seen[scope], name), _told(given, name)))
        if not sides:
            return ReadColumns()
        values = [(NUMBER, *sorted({*one[1], *other[1]} - {NUMBER})) for one, other in sides]
        counts = np.zeros((2, len(sides), max(map(len, values))), np.int64)
        for row, parts in enumerate(sides):
            for side, (_, counted) in enumerate(parts):
                counts[side, row, : len(values[row])] = [counted.get(value, 0) for value in values[row]]
        told = np.array([[numbers for numbers, _ in parts] for parts in sides])
        return ReadColumns(
            np.array(place, np.int64), np.array([self.id(scopes[at], n) for at, n in zip(place, names, strict=True)]),
            names, [(scopes[at].segment.partition("=")[2],) for at in place], told[:, 0], told[:, 1], values,
            counts[0], counts[1],
        )  # fmt: skip

    def _slo_id(self, scope: Scope, name: str) -> int:
        return self.id(scope, f"slo.{name}") if scope.family is Family.PREDICTION else -1

    def _latencies(
        self, scopes: Sequence[Scope], seen: Mapping[Scope, Seen], numeric: NumericColumns
    ) -> LatencyColumns:
        place = np.flatnonzero(numeric.role == Role.LATENCY)
        cur, ref = [], []
        for i in place.tolist():
            scope, name = scopes[int(numeric.scope[i])], numeric.name[i]
            given = seen[scope].numeric.get(name, np.empty(0))
            cur.append(log.histogram(given[~np.isnan(given)]))
            baseline = self.baselines.get(scope)
            part = next((p for p in baseline.numeric if p.name == name), None) if baseline else None
            ref.append(
                (np.frombuffer(part.log_bins, "<i2"), np.frombuffer(part.log_counts, "<u4"))
                if part
                else (np.empty(0, np.int16), np.empty(0, np.uint32))
            )
        return LatencyColumns(place, csr(cur), csr(ref))

    def _numeric(self, scopes: Sequence[Scope], seen: Mapping[Scope, Seen]) -> NumericColumns:
        rows = []
        for place, scope in enumerate(scopes):
            baseline = self.baselines.get(scope)
            reference = NumericReference.of(baseline) if baseline else None
            names = dict.fromkeys([*seen[scope].numeric, *(reference.names if reference else ())])
            rows += [
                self._row(place, scope, name, seen[scope], reference, baseline.rows if baseline else 0)
                for name in names
            ]
        shapes = {
            "quantiles": (3,),
            "ref_quantiles": (3,),
            "cur": (34,),
            "ref": (34,),
            "edges": (33,),
            "ref_wander": (4,),
        }
        columns: dict[str, NDArray[Any]] = {}
        for column, dtype in _NUMERIC.items():
            values = [row[column] for row in rows]
            columns[column] = np.array(values, dtype).reshape(len(rows), *shapes.get(column, ()))
        return NumericColumns(name=[str(row["name"]) for row in rows], **columns)

    def _row(
        self, place: int, scope: Scope, name: str, seen: Seen, reference: NumericReference | None, ref_rows: int
    ) -> dict[str, object]:
        given = seen.numeric.get(name, np.full(seen.rows, np.nan))
        values = given[~np.isnan(given)]
        count, mean, m2, low, high = moments.of(values)
        has = reference is not None and name in reference.names
        at = reference.names.index(name) if reference is not None and has else 0
        edges = reference is not None and has and bool(reference.has_edges[at])
        quantiles = np.quantile(values, [0.5, 0.95, 0.99], method="inverted_cdf") if len(values) else np.full(3, np.nan)
        row = {
            "series": self.id(scope, name), "scope": place, "name": name, "role": role(name), "rows": seen.rows,
            "count": count, "mean": mean, "m2": m2, "min": low, "max": high, "quantiles": quantiles,
            "has_baseline": has, "has_edges": edges, "cur": np.zeros(34), "ref": np.zeros(34),
            "edges": np.full(33, np.nan), "ref_count": 0, "ref_rows": 0, "ref_mean": np.nan, "ref_std": np.nan,
            "ref_quantiles": np.full(3, np.nan), "ref_wander": np.zeros(4),
        }  # fmt: skip
        if reference is not None and has:
            row |= {"ref_count": reference.count[at], "ref_rows": ref_rows, "ref_mean": reference.mean[at]}
            row |= {"ref_std": reference.std[at], "ref_quantiles": reference.quantiles[at]}
            row |= {"ref_wander": reference.wander[at]}
        if reference is not None and edges:
            row |= {"cur": binned.histogram(values, reference.edges[at]), "ref": reference.cells[at]}
            row |= {"edges": reference.edges[at]}
        return row

    def _categories(self, scopes: Sequence[Scope], seen: Mapping[Scope, Seen]) -> CategoryColumns:
        rows = []
        for place, scope in enumerate(scopes):
            baseline = self.baselines.get(scope)
            for counter, given in ((False, seen[scope].categories), (True, seen[scope].counters)):
                parts = (baseline.counters if counter else baseline.categories) if baseline else ()
                known = {part.name: dict(zip(part.values, part.counts, strict=True)) for part in parts}
                for name, counts in given.items():
                    values = tuple(dict.fromkeys([*known.get(name, {}), *counts]))
                    rows.append((place, scope, name, counter, values, counts, known.get(name)))
        width = max((len(row[4]) for row in rows), default=0)
        cur, ref = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.int64)
        for i, (*_, values, counts, reference) in enumerate(rows):
            cur[i, : len(values)] = [counts.get(v, 0) for v in values]
            ref[i, : len(values)] = [(reference or {}).get(v, 0) for v in values]
        return CategoryColumns(
            series=np.array([self.id(row[1], row[2]) for row in rows], np.int64),
            scope=np.array([row[0] for row in rows], np.int64),
            name=[row[2] for row in rows],
            counter=np.array([row[3] for row in rows], np.bool_),
            values=[row[4] for row in rows],
            rows=np.array([seen[row[1]].rows for row in rows], np.int64),
            has_baseline=np.array([row[6] is not None for row in rows], np.bool_),
            cur=cur,
            ref=ref,
            ref_rows=ref.sum(axis=1),
        )

    def _samples(self, scopes: Sequence[Scope], seen: Mapping[Scope, Seen]) -> SampleColumns:
        found = [(place, sample) for place, s in enumerate(scopes) if (sample := seen[s].sample) is not None]
        return SampleColumns(
            scope=[place for place, _ in found],
            names=[names for _, (names, _) in found],
            values=[values for _, (_, values) in found],
            event_ids=[[f"e{i}" for i in range(len(values))] for _, (_, values) in found],
        )


def _told(seen: Seen, name: str) -> tuple[list[float], dict[str, int]]:
    """Rows and moments of a feature, and the counts of its values with all numbers as one of them."""
    stats = moments.of(seen.numeric.get(name, np.empty(0)))
    return [float(seen.rows), *stats.tolist()], {**seen.categories.get(name, {}), NUMBER: int(stats[0])}


_NUMERIC = {
    "series": np.int64, "scope": np.int64, "role": np.int64, "rows": np.int64, "count": np.int64, "mean": np.float64,
    "m2": np.float64, "min": np.float64, "max": np.float64, "quantiles": np.float64, "has_baseline": np.bool_,
    "has_edges": np.bool_, "cur": np.int64, "ref": np.int64, "edges": np.float64, "ref_count": np.int64,
    "ref_rows": np.int64, "ref_mean": np.float64, "ref_std": np.float64, "ref_quantiles": np.float64,
    "ref_wander": np.float64,
}  # fmt: skip


def role(name: str) -> Role:
    if name.startswith("features."):
        return Role.FEATURE
    if name in GAUGES:
        return Role.GAUGE
    return Role.LATENCY if name in LATENCIES else Role.SCORE if name == "score" else Role.OTHER


def csr(histograms: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> LogCells:
    """Histograms one behind the other."""
    if not histograms:
        return LogCells.none()
    bins, counts = (np.concatenate(part).astype(np.int64) for part in zip(*histograms, strict=True))
    return LogCells(bins, counts, np.cumsum([0, *(len(b) for b, _ in histograms)]).astype(np.int64))


def model(name: str = "m", segment: str = "") -> Scope:
    return Scope(Family.PREDICTION, name, "1", segment)
