"""From a closed window to what the detectors see: columns over series, beside the columns of their baselines."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.histograms import binned, log
from detectors.protocol import (
    LATENCIES,
    CategoryColumns,
    IdColumns,
    LatencyColumns,
    LogCells,
    NumericColumns,
    Role,
    SampleColumns,
    ScopeColumns,
    WindowBatch,
)
from detectors.references import ReferenceTable, error_ratio, expected_rows
from detectors.slo.burn import SloParams
from schemas.baselines import CELLS
from schemas.scopes import OTHER, Family
from streams.analyse.reference import References
from streams.analyse.registry import Registry
from streams.analyse.window import Window
from streams.windows import cells as cell
from streams.windows.sums import Folded

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SCOPE_QUANTITIES: Final = ("rows", "errors", "outliers")
"""Quantities of a scope as a whole; each has a series id as any other."""
QUANTILES: Final = np.array([0.5, 0.95, 0.99])
_MIN_BUCKETS: Final = 64
"""Buckets of a LogHistogram that a baseline must span, two for each of its bins, to be compared with one."""


def role_of(name: str, family: Family) -> Role:
    """What a numeric quantity is to a detector."""
    if name.startswith("features."):
        return Role.FEATURE
    if name == "score":
        return Role.SCORE
    if name in LATENCIES:
        return Role.LATENCY
    return Role.GAUGE if family is Family.GPU else Role.OTHER


@dataclass(frozen=True, slots=True)
class Cells:
    """The histograms of k series: LogHistogram cells as CSR, and counts in the baseline's bins.

    ``log_bins`` and ``log_counts`` int64[h], ``offsets`` int64[k + 1]; ``binned`` int64[k, 34].
    """

    log_bins: Ints
    log_counts: Ints
    offsets: Ints
    binned: Ints


def split_cells(folded: Folded, series: Ints) -> Cells:
    """The cells of ``series`` int64[k], ascending; those of other series are left out."""
    if not len(series):
        none = np.empty(0, np.int64)
        return Cells(none, none, np.zeros(1, np.int64), np.empty((0, CELLS), np.int64))
    place = np.searchsorted(series, cell.series_of(folded.keys))
    own = (place < len(series)) & (series[np.minimum(place, len(series) - 1)] == cell.series_of(folded.keys))
    keys, counts, place = folded.keys[own], folded.counts[own], place[own]
    is_binned = cell.is_binned(keys)
    bins = cell.bins_of(keys).astype(np.int64)
    table = np.zeros(len(series) * CELLS, np.int64)
    table[place[is_binned] * CELLS + bins[is_binned]] = counts[is_binned]
    loose = ~is_binned
    offsets = np.searchsorted(place[loose], np.arange(len(series) + 1))
    return Cells(bins[loose], counts[loose], offsets, table.reshape(-1, CELLS))


class BatchBuilder:
    """Builds the batches of one partition of ``panes``; ``objectives`` are numbered in windows of their length."""

    def __init__(
        self, registry: Registry, references: References, sample_rows: int, objectives: SloParams | None = None
    ) -> None:
        self._objectives = objectives or SloParams()
        self._registry = registry
        self._references = references
        self._sample_rows = sample_rows
        self._roles: list[int] = []

    def build(self, window: Window, scopes: list[int], age_windows: Ints, roles: frozenset[Role]) -> WindowBatch:
        """What the detectors see of a window.

        Parameters
        ----------
        window
            Closed.
        scopes
            The numbers of the scopes that are known, ascending; those without an event included.
        age_windows
            int64[len(scopes)]: windows since each was first seen.
        roles
            The numeric quantities that are wanted.
        """
        folded = window.fold()
        places = np.full(len(self._registry.scopes), -1, np.int64)
        places[scopes] = np.arange(len(scopes))
        rows = np.array([window.rows.get(scope, 0) for scope in scopes], np.int64)
        numeric, latencies = self._numeric(folded, scopes, places, rows, roles, window)
        return WindowBatch(
            window.start_ms,
            window.size_ms,
            self._scopes(window, scopes, age_windows, rows),
            numeric,
            self._categories(window, scopes, places, rows),
            self._samples(window, places),
            latencies,
            _ids(window, places, self._registry),
        )

    def _scopes(self, window: Window, scopes: list[int], age_windows: Ints, rows: Ints) -> ScopeColumns:
        registry, baselines = self._registry, self._references.baseline
        errors = np.zeros(len(scopes), np.int64)
        ref_rows = np.full(len(scopes), np.nan)
        ref_errors = np.full(len(scopes), np.nan)
        for place, scope in enumerate(scopes):
            status = window.counters.get(registry.id(scope, "status")) if window.rows.get(scope) else {}
            errors[place] = sum(status.values()) - status.get("ok", 0)
            baseline = baselines.get(scope)
            if baseline is not None:
                ref_rows[place] = expected_rows(baseline, window.size_ms)
                ref_errors[place] = error_ratio(baseline)
        return ScopeColumns(
            id=np.array(scopes, np.int64),
            family=[window.family] * len(scopes),
            rows=rows,
            late=np.array([window.late.get(scope, 0) for scope in scopes], np.int64),
            errors=errors,
            age_windows=age_windows,
            ref_rows=ref_rows,
            ref_error_ratio=ref_errors,
            series={
                name: np.array([registry.id(scope, f"#{name}") for scope in scopes], np.int64)
                for name in SCOPE_QUANTITIES
            }
            | self._objective_series(window, scopes),
            key=[scope for scope in map(registry.scopes.__getitem__, scopes) if scope is not None],
        )

    def _objective_series(self, window: Window, scopes: list[int]) -> dict[str, Ints]:
        registry, objectives = self._registry, self._objectives
        if window.size_ms != objectives.window_s * 1000:
            return {}
        known = [(number, registry.scopes[number]) for number in scopes]
        return {
            slo.series: np.array(
                [registry.id(number, f"#{slo.series}") if who and slo.concerns(who) else -1 for number, who in known],
                np.int64,
            )
            for slo in objectives.slos
        }

    def _numeric(
        self, folded: Folded, scopes: list[int], places: Ints, rows: Ints, roles: frozenset[Role], window: Window
    ) -> tuple[NumericColumns, LatencyColumns]:
        series = np.union1d(folded.ids, self._references.expected(scopes))
        role = self._role_of_series(window.family)
        wanted = np.isin(role[series], [int(r) for r in roles]) & (places[self._registry.scope_of[series]] >= 0)
        series = series[wanted]
        scope = places[self._registry.scope_of[series]]
        stats = np.full((len(series), 5), np.nan)
        stats[:, 0] = 0
        at = np.searchsorted(folded.ids, series)
        found = at < len(folded.ids)
        found[found] = folded.ids[at[found]] == series[found]
        stats[found] = folded.stats[at[found]]
        cells = split_cells(folded, series)
        table = self._references.table
        ref = self._references.rows(self._registry.series)[series]
        current = cells.binned
        # Bins cut by other edges than those of the baseline in force say nothing beside it.
        foreign = np.isin(self._registry.scope_of[series], self._foreign(window)) & current.any(axis=1)
        blurred = foreign | _rebin(cells, table, ref, current)
        ref = np.where(blurred, 0, ref)
        latencies = _latencies(cells, np.flatnonzero(role[series] == Role.LATENCY), table, ref)
        quantiles = log.quantiles_csr(cells.log_bins, cells.log_counts, cells.offsets, QUANTILES)
        numeric = NumericColumns(
            series=series,
            scope=scope,
            name=[self._registry.names[i] for i in series.tolist()],
            role=role[series],
            rows=rows[scope],
            count=stats[:, 0].astype(np.int64),
            mean=stats[:, 1],
            m2=stats[:, 2],
            min=stats[:, 3],
            max=stats[:, 4],
            quantiles=quantiles,
            has_baseline=table.has_baseline[ref],
            has_edges=table.has_edges[ref],
            cur=current,
            ref=table.cells_of(ref),
            edges=table.edges_of(ref),
            ref_count=table.count[ref],
            ref_rows=table.ref_rows[ref],
            ref_mean=table.mean[ref],
            ref_std=table.std[ref],
            ref_quantiles=table.quantiles[ref],
            ref_wander=table.wander[ref].astype(np.float64),
        )
        return numeric, latencies

    def _foreign(self, window: Window) -> list[int]:
        """Scopes that ingest has binned by other edges than those in force."""
        return [s for s, layout in window.layouts.items() if layout != self._references.layout_of(s, self._registry)]

    def _categories(self, window: Window, scopes: list[int], places: Ints, rows: Ints) -> CategoryColumns:
        registry, known = self._registry, self._references.categories
        scope_of = registry.scope_of
        found: list[tuple[int, bool, dict[str, int]]] = []
        for tallies, counter in ((window.texts, False), (window.counters, True)):
            found += [(s, counter, counts) for s, counts in tallies.items() if places[scope_of[s]] >= 0]
        seen = {s for s, _, _ in found}
        for scope in scopes:  # a feature of the baseline that did not come at all
            baseline = self._references.baseline.get(scope)
            for part in baseline.categories if baseline else ():
                series = registry.id(scope, part.name)
                if series not in seen:
                    found.append((series, False, {}))
        found.sort(key=lambda entry: entry[0])
        values, current, reference = [], [], []
        for series, _, counts in found:
            part_of = known.get(series)
            names, ref = (part_of.values, part_of.counts) if part_of else ((), ())
            joint = sorted({*names, *counts} - {OTHER}, key=lambda v, n=names: (n.index(v) if v in n else len(n), v))  # type: ignore[misc]
            if OTHER in names or OTHER in counts:
                joint.append(OTHER)
            base = dict(zip(names, ref, strict=True))
            values.append(tuple(joint))
            current.append([counts.get(v, 0) for v in joint])
            reference.append([base.get(v, 0) for v in joint])
        numbers = np.array([s for s, _, _ in found], np.int64)
        scope_place = places[scope_of[numbers]]
        baselines = [self._references.baseline.get(int(scope_of[s])) for s, _, _ in found]
        return CategoryColumns(
            series=numbers,
            scope=scope_place,
            name=[registry.names[s] for s, _, _ in found],
            counter=np.array([counter for _, counter, _ in found], bool),
            values=values,
            rows=rows[scope_place],
            has_baseline=np.array([s in known for s, _, _ in found], bool),
            cur=_padded(current),
            ref=_padded(reference),
            ref_rows=np.array([b.rows if b else 0 for b in baselines], np.int64),
            ref_wander=np.array([known[s].wander if s in known else 0.0 for s, _, _ in found], np.float64),
        )

    def _samples(self, window: Window, places: Ints) -> SampleColumns:
        chosen = [
            (int(places[scope]), sample)
            for scope in window.sampled()
            if places[scope] >= 0 and (sample := window.sample(scope, self._sample_rows)) is not None
        ]
        return SampleColumns(
            [place for place, _ in chosen],
            [sample.names for _, sample in chosen],
            [sample.values.astype(np.float64) for _, sample in chosen],
            [sample.event_id for _, sample in chosen],
        )

    def _role_of_series(self, family: Family) -> Ints:
        for number in range(len(self._roles), self._registry.series):
            self._roles.append(-1 if self._registry.names[number].startswith("#") else int(self._role(number, family)))
        return np.array(self._roles, np.int64)

    def _role(self, number: int, family: Family) -> Role:
        scope = self._registry.scopes[int(self._registry.scope_of[number])]
        return role_of(self._registry.names[number], scope.family if scope else family)

    def reset_roles(self) -> None:
        """Numbers of series were given anew."""
        self._roles = []


def _ids(window: Window, places: Ints, registry: Registry) -> IdColumns:
    """How often ids repeat, of the scopes that have a place."""
    ids = window.ids.fold()
    here = np.flatnonzero(places[ids.scope] >= 0)
    scopes = ids.scope[here]
    return IdColumns(
        places[scopes],
        np.array([registry.id(scope, "#event_id") for scope in scopes.tolist()], np.int64),
        ids.events[here],
        ids.sampled[here],
        ids.repeated[here],
        ids.sampled_events[here],
    )


def _rebin(cells: Cells, table: ReferenceTable, ref: Ints, current: Ints) -> NDArray[np.bool_]:
    """Spread LogHistograms, of panes from before a baseline came into force, over its bins.

    Returns
    -------
    bool[k]: the series of which a LogHistogram says too little, because all their values fall into a few of its
    buckets (temperatures in kelvin, years): they have no baseline in this window.
    """
    blurred = np.zeros(len(ref), bool)
    spread = np.flatnonzero(table.has_edges[ref] & (np.diff(cells.offsets) > 0))
    for i, own in zip(spread.tolist(), table.edges_of(ref[spread]), strict=True):
        low, high = log.bins_of(own[[0, -1]]).tolist()
        if high - low < _MIN_BUCKETS:
            blurred[i] = True
            continue
        part = slice(int(cells.offsets[i]), int(cells.offsets[i + 1]))
        current[i] += binned.from_log(cells.log_bins[part], cells.log_counts[part], own)
    return blurred


def _latencies(cells: Cells, place: Ints, table: ReferenceTable, ref: Ints) -> LatencyColumns:
    bins, counts, offsets = log.take_csr(cells.log_bins, cells.log_counts, cells.offsets, place)
    cur = LogCells(bins.astype(np.int64), counts.astype(np.int64), offsets)
    return LatencyColumns(place, cur, table.log_of(ref[place]))


def _padded(rows: list[list[int]]) -> Ints:
    width = max(map(len, rows), default=0)
    table = np.zeros((len(rows), width), np.int64)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table
