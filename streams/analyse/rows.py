"""Windows, scores and baselines as rows for ClickHouse."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors import moments
from detectors.histograms import binned
from schemas.baselines import Baseline
from schemas.rows import CLOSED, RowBatch
from streams.analyse.reference import References
from streams.analyse.registry import Registry
from streams.analyse.window import MIXED, Window
from streams.windows import cells as cell
from streams.windows.sums import Folded

Ints = NDArray[np.int64]

CHUNK_ROWS: Final = 1_000
"""Rows of one message: below a megabyte also with wide histograms."""
PANES_PER_PART: Final = 512
"""More than there are panes in the longest window: tells the late panes of one partition apart."""


def late_part(source_partition: int, pane_start_ms: int, window_start_ms: int, pane_ms: int) -> int:
    """The ``part`` of a pane that came after its window closed: one for every pane of every source partition."""
    return source_partition * PANES_PER_PART + (pane_start_ms - window_start_ms) // pane_ms


class RowWriter:
    """Turns windows into row batches.

    Parameters
    ----------
    registry, references
        What the numbers mean, and which baseline a histogram's bins belong to.
    """

    def __init__(self, registry: Registry, references: References) -> None:
        self._registry = registry
        self._references = references

    def window(self, window: Window, version: int, part: int = CLOSED) -> Iterator[RowBatch]:
        """The rows of a window: volumes, numeric quantities, categories and counters."""
        scopes = [s for s in window.rows if window.rows[s] or window.late[s]]
        start, size_s = window.start_ms, window.size_ms // 1000
        if scopes:
            yield from _chunks(
                "volumes",
                (
                    *self._scope_columns(scopes),
                    *_constant(len(scopes), size_s, start, part, version),
                    [window.rows[s] for s in scopes],
                    [window.late[s] for s in scopes],
                ),
            )
        yield from self._ids(window, version, part)
        yield from self._numerics(window, version, part)
        yield from self._categories(window, version, part)

    def _scope_columns(self, numbers: list[int]) -> tuple[list[str], ...]:
        known = [scope for scope in map(self._registry.scopes.__getitem__, numbers) if scope is not None]
        return (
            [s.family.value for s in known],
            [s.model for s in known],
            [s.model_version for s in known],
            [s.segment for s in known],
        )

    def _ids(self, window: Window, version: int, part: int) -> Iterator[RowBatch]:
        ids = window.ids.fold()
        scopes = ids.scope.tolist()
        if scopes:
            yield from _chunks(
                "ids",
                (
                    *self._scope_columns(scopes),
                    *_constant(len(scopes), window.size_ms // 1000, window.start_ms, part, version),
                    [window.rows.get(s, 0) for s in scopes],
                    *(column.tolist() for column in (ids.events, ids.sampled, ids.repeated, ids.sampled_events)),
                ),
            )

    def _numerics(self, window: Window, version: int, part: int) -> Iterator[RowBatch]:
        folded = window.fold()
        keys, counts = self._one_layout(self._addable(folded, window))
        series = cell.series_of(keys)
        starts = np.searchsorted(series, folded.ids, side="left")
        ends = np.searchsorted(series, folded.ids, side="right")
        # Message by message: as Python's numbers, the cells of an hour of many scopes would be more than all the rest.
        for first in range(0, len(folded.ids), CHUNK_ROWS):
            rows = slice(first, first + CHUNK_ROWS)
            low, high = int(starts[first]), int(ends[rows][-1])
            cells = Folded(folded.ids[rows], folded.stats[rows], keys[low:high], counts[low:high])
            yield self._numeric_rows(window, cells, starts[rows] - low, ends[rows] - low, (version, part))
        yield from self._absent(window, folded.ids, version, part)

    def _absent(self, window: Window, present: Ints, version: int, part: int) -> Iterator[RowBatch]:
        """What the baselines know and nobody sent: without a row of zero, nothing in SQL would say that it is null."""
        missing = np.setdiff1d(self._references.expected([s for s, rows in window.rows.items() if rows]), present)
        if not len(missing):
            return
        scopes, count = self._registry.scope_of[missing].tolist(), len(missing)
        yield from _chunks(
            "numerics",
            (
                *self._scope_columns(scopes),
                [self._registry.names[i] for i in missing.tolist()],
                *_constant(count, window.size_ms // 1000, window.start_ms, part, version),
                [window.rows[s] for s in scopes],
                [0] * count,
                *([value] * count for value in moments.EMPTY[1:]),
                [""] * count,
                [[] for _ in missing],
                [[] for _ in missing],
            ),
        )

    def _numeric_rows(
        self, window: Window, folded: Folded, starts: Ints, ends: Ints, version_part: tuple[int, int]
    ) -> RowBatch:
        """One message: the series of ``folded``, whose cells stand at ``starts``…``ends``."""
        version, part = version_part
        bins, counts = cell.bins_of(folded.keys).tolist(), folded.counts.tolist()
        is_binned = cell.is_binned(folded.keys)
        scopes = self._registry.scope_of[folded.ids].tolist()
        spans = list(zip(starts.tolist(), ends.tolist(), strict=True))
        layouts = [
            MIXED if first == last else (window.layouts.get(scope, "") if is_binned[first] else "")
            for scope, (first, last) in zip(scopes, spans, strict=True)
        ]
        stats = folded.stats
        return RowBatch(
            "numerics",
            (
                *self._scope_columns(scopes),
                [self._registry.names[i] for i in folded.ids.tolist()],
                *_constant(len(scopes), window.size_ms // 1000, window.start_ms, part, version),
                [window.rows.get(s, 0) for s in scopes],
                stats[:, 0].astype(np.int64).tolist(),
                *(stats[:, i].tolist() for i in range(1, 5)),
                layouts,
                [bins[a:b] for a, b in spans],
                [counts[a:b] for a, b in spans],
            ),
        )

    def _addable(self, folded: Folded, window: Window) -> Folded:
        """The sums, less the cells of series that lie in several layouts which cannot be brought into one."""
        binned = cell.is_binned(folded.keys)
        series = cell.series_of(folded.keys)
        scope_of = self._registry.scope_of
        several = np.array([s for s, at in window.layouts.items() if at == MIXED], np.int64)
        known = self._references.layout_of
        unknown = np.array([s for s, at in window.layouts.items() if at != known(s, self._registry)], np.int64)
        if not len(unknown):
            return folded
        tight = np.unique(series[binned])
        both = np.intersect1d(tight, series[~binned])
        # A LogHistogram can be spread over the bins of a baseline whose edges are at hand, and of no other.
        lost = np.union1d(tight[np.isin(scope_of[tight], several)], both[np.isin(scope_of[both], unknown)])
        keep = ~np.isin(series, lost)
        return Folded(folded.ids, folded.stats, folded.keys[keep], folded.counts[keep])

    def _one_layout(self, folded: Folded) -> tuple[Ints, Ints]:
        """The cells, with every series in one layout: the LogHistogram part of a mixed one is spread over the bins."""
        keys, counts = folded.keys, folded.counts
        is_binned = cell.is_binned(keys)
        series = cell.series_of(keys)
        mixed = np.intersect1d(series[is_binned], series[~is_binned])
        if not len(mixed):
            return keys, counts
        inside = np.isin(series, mixed)
        out_keys, out_counts = [keys[~inside]], [counts[~inside]]
        rows = self._references.rows(self._registry.series)
        edged = np.array([self._edged(number) for number in mixed.tolist()], np.int64)
        spans = zip(
            mixed.tolist(),
            self._references.table.edges_of(rows[edged]),
            np.searchsorted(series, mixed, side="left").tolist(),
            np.searchsorted(series, mixed, side="right").tolist(),
            strict=True,
        )
        for number, edges, low, high in spans:
            bins, own, tight = cell.bins_of(keys[low:high]), counts[low:high], is_binned[low:high]
            total = binned.from_log(bins[~tight], own[~tight], edges)
            np.add.at(total, bins[tight], own[tight])
            used = np.flatnonzero(total)
            out_keys.append(cell.encode(np.full(len(used), number), used, binned=True))
            out_counts.append(total[used])
        joined, sizes = np.concatenate(out_keys), np.concatenate(out_counts)
        order = np.argsort(joined, kind="stable")
        return joined[order], sizes[order]

    def _edged(self, number: int) -> int:
        """The series whose reference has the edges of this one: its own, or its whole's."""
        own = self._registry.scopes[int(self._registry.scope_of[number])]
        whole = self._registry.find(own.whole) if own else None
        return number if whole is None else self._registry.id(whole, self._registry.names[number])

    def _categories(self, window: Window, version: int, part: int) -> Iterator[RowBatch]:
        for tallies, counter in ((window.texts, False), (window.counters, True)):
            entries = list(tallies.items())
            if not counter:
                entries += [(s, {}) for s in self._references.expected_texts(window.rows, tallies)]
            if not entries:
                continue
            scopes = self._registry.scope_of[np.array([s for s, _ in entries], np.int64)].tolist()
            yield from _chunks(
                "categories",
                (
                    *self._scope_columns(scopes),
                    [self._registry.names[s] for s, _ in entries],
                    [counter] * len(entries),
                    *_constant(len(entries), window.size_ms // 1000, window.start_ms, part, version),
                    [window.rows.get(s, 0) for s in scopes],
                    [list(counts) for _, counts in entries],
                    [list(counts.values()) for _, counts in entries],
                ),
            )


def baseline_rows(baseline: Baseline, version: int) -> Iterator[RowBatch]:
    """Rows of ``baselines``: one for every quantity, so that whatever is compared with it can be recomputed in SQL."""
    scope = baseline.scope
    head = (baseline.id, scope.family.value, scope.model, scope.model_version, scope.segment)
    shared = (version, baseline.effective_from_ms, baseline.built_from, baseline.rows)
    nan = float("nan")
    rows: list[tuple[Any, ...]] = []
    for q in baseline.numeric:
        edges = np.frombuffer(q.edges, "<f8").tolist()
        counts = np.frombuffer(q.counts, "<u4").tolist()
        moments = (q.count, q.mean, q.m2, q.min, q.max, q.p50, q.p95, q.p99)
        rows.append((*head, q.name, *shared, *moments, edges, counts, [], []))
    for part in (*baseline.categories, *baseline.counters):
        none = (sum(part.counts), nan, nan, nan, nan, nan, nan, nan)
        rows.append((*head, part.name, *shared, *none, [], [], list(part.values), list(part.counts)))
    if rows:
        yield from _chunks("baselines", tuple(list(column) for column in zip(*rows, strict=True)))


def _constant(count: int, *values: int) -> tuple[list[int], ...]:
    return tuple([value] * count for value in values)


def _chunks(table: str, columns: tuple[list[Any], ...]) -> Iterator[RowBatch]:
    for start in range(0, len(columns[0]), CHUNK_ROWS):
        yield RowBatch(table, tuple(column[start : start + CHUNK_ROWS] for column in columns))
