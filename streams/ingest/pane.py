"""An open pane: everything one source partition has seen of one pane of event time, until the watermark passes it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.columns import Codes, CodedTexts, EventColumns, FeatureBlock
from schemas.panes import CategoryPart, NumericPart, Pane, SamplePart
from schemas.scopes import Family
from streams.binnings import FEATURE_PREFIX, Binning, BinningIndex
from streams.ingest.blocks import add_matrix, cell_codes
from streams.ingest.scoping import PaneLimits, Scoping
from streams.windows import cells as cell
from streams.windows.samples import Hashes, Sample, SampleBuffer
from streams.windows.sums import Folded, Sums
from streams.windows.tallies import Tallies

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CAPPED = "__capped__"
"""The counter that tells how much of a scope went over a cap, by what was capped."""


@dataclass(frozen=True, slots=True)
class PaneKey:
    """What all panes of one partition at one time share."""

    family: Family
    topic: str
    partition: int
    start_ms: int
    size_ms: int

    @property
    def end_ms(self) -> int:
        """The first ms that is not in the pane."""
        return self.start_ms + self.size_ms


class OpenPane:
    """The sums of all scopes of one partition over one pane.

    Parameters
    ----------
    key
        Which pane.
    first_offset, watermark_ms
        The lowest offset that contributes to it, and the watermark before that offset was read: where a restart that has
        to build this pane anew begins.
    limits, binnings
        The caps, and the bins in force.
    """

    def __init__(
        self, key: PaneKey, first_offset: int, watermark_ms: int, limits: PaneLimits, binnings: BinningIndex
    ) -> None:
        self.key = key
        self.first_offset = first_offset
        self.watermark_ms = watermark_ms
        self._limits = limits
        self._index = binnings
        self._scoping = Scoping(key.family, limits)
        self._rows = np.zeros(16, np.int64)
        self._late = np.zeros(16, np.int64)
        self._sums = Sums()
        self._texts = Tallies(limits.categories)
        self._counters = Tallies(limits.categories)
        self._samples = SampleBuffer(limits.sample_rows, limits.sample_bytes)
        self._names: list[str] = []
        self._scope_of_series: list[int] = []
        self._series: dict[tuple[int, str], int] = {}
        self._series_of_names: dict[tuple[int, tuple[str, ...]], Ints] = {}
        self._features: dict[int, int] = {}
        self._prefixed: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._binnings: dict[int, Binning | None] = {}
        self._invalid = self._scoping.invalid(key.topic)

    def add(self, columns: EventColumns, mask: Bools, hashes: Hashes) -> None:
        """Count the events for which ``mask`` bool[n] holds; ``hashes`` uint64[n] choose the sample."""
        places = np.flatnonzero(mask)
        levels = np.full((1, len(mask)), -1, np.int64)
        found = self._scoping.levels(columns.keys, columns.key[places])
        levels = np.full((len(found), len(mask)), -1, np.int64)
        levels[:, places] = found
        self._count(self._rows_of(), levels)
        self._rows[self._invalid] += len(places)
        names, numeric = self._numeric(columns, places)
        if names:
            self._add_values(names, numeric, levels[:, places])
        featured = np.zeros(len(mask), bool)
        for block in columns.blocks:
            self._add_block(columns, block, mask, levels, hashes)
            featured[block.rows] = True
        self._add_counters(columns, mask, levels)
        rest = np.flatnonzero(mask & ~featured)
        if names and len(rest):
            self._add_sample(columns, names, numeric[:, np.searchsorted(places, rest)], rest, levels[0], hashes)

    def add_late(self, columns: EventColumns, mask: Bools) -> None:
        """Count events that came after their own pane was over."""
        levels = self._scoping.levels(columns.keys, columns.key[mask])
        self._count(self._late_of(), levels)

    def add_invalid(self, reason: str, events: int) -> None:
        """Count events that could not be decoded."""
        self._rows_of()[self._invalid] += events
        self._counters.add(self._id(self._invalid, "reason"), reason, events)

    def panes(self) -> Iterator[Pane]:
        """One message per scope, in the order in which the scopes came."""
        folded = self._sums.fold()
        parts = _Parts(folded, np.array(self._scope_of_series, np.int64), self._names, len(self._scoping))
        samples = self._samples.take()
        texts = self._by_scope(self._texts)
        counters = self._by_scope(self._counters)
        rows, late = self._rows_of(), self._late_of()
        for number, scope in enumerate(self._scoping.scopes):
            binning = self._binnings.get(number)
            yield Pane(
                scope,
                self.key.start_ms,
                self.key.size_ms,
                self.key.topic,
                self.key.partition,
                binning.baseline_id if binning else "",
                int(rows[number]),
                int(late[number]),
                parts.numeric(number),
                tuple(texts.get(number, ())),
                tuple(counters.get(number, ())),
                _sample_part(samples.get(number)),
            )

    # -- adding ------------------------------------------------------------------------------------------------------

    def _numeric(self, columns: EventColumns, places: Ints) -> tuple[tuple[str, ...], Floats]:
        used = [(name, values[places]) for name, values in columns.numeric.items()]
        used = [(name, values) for name, values in used if not np.isnan(values).all()]
        if not used:
            return (), np.empty((0, len(places)))
        return tuple(name for name, _ in used), np.stack([values for _, values in used])

    def _add_values(self, names: tuple[str, ...], values: Floats, levels: Ints) -> None:
        valid = ~np.isnan(values)
        present, place = np.unique(levels[0], return_inverse=True)
        binnings = [self._binning(int(scope)) for scope in present]
        codes = cell_codes(values, valid, names, binnings, place, self._index)
        for level in levels:
            for scope in np.unique(level).tolist():
                self._binning_of_segment(scope)
            add_matrix(self._sums, values, valid, codes, level, names, self._series_ids)

    def _add_block(self, columns: EventColumns, block: FeatureBlock, mask: Bools, levels: Ints, hashes: Hashes) -> None:
        inside = mask[block.rows]
        whole = bool(inside.all())
        cols = np.arange(len(block.rows)) if whole else np.flatnonzero(inside)
        if not len(cols):
            return
        rows = block.rows if whole else block.rows[cols]
        values = block.values if whole else block.values[:, cols]
        names = self._features_named(block.names)
        if names:
            self._add_values(names, values, levels[:, rows])
        for feature, (text_places, texts) in block.texts.items():
            keep = inside[text_places]
            coded = texts if isinstance(texts, CodedTexts) else _coded(texts)
            scopes = levels[:, block.rows[text_places[keep]]]
            for scope, text, count in _pairs(scopes, coded.codes[keep], coded.values):
                series = int(self._series_ids(scope, (names[feature],))[0])
                if series >= 0:
                    self._texts.add(series, text, count)
        own, numeric = self._numeric(columns, rows)
        self._add_sample(columns, own + names, np.concatenate((numeric, values)), rows, levels[0], hashes)

    def _add_counters(self, columns: EventColumns, mask: Bools, levels: Ints) -> None:
        for name, column in columns.counted.items():
            keep = mask[column.rows]
            for scope, value, count in _pairs(levels[:, column.rows[keep]], column.codes[keep], column.values):
                self._counters.add(self._id(scope, name), value, count)

    def _add_sample(
        self, columns: EventColumns, names: tuple[str, ...], values: Floats, rows: Ints, whole: Ints, hashes: Hashes
    ) -> None:
        if not self._limits.sample_rows:
            return
        scope, chosen = whole[rows], hashes[rows]
        keep = np.flatnonzero(chosen < self._samples.limit(len(self._scoping))[scope])
        at = rows[keep]
        ids = [columns.event_id[i] for i in at.tolist()]
        self._samples.add(
            names, scope[keep], chosen[keep], columns.ts_ms[at], ids, values[:, keep].T.astype(np.float32)
        )

    # -- numbers -----------------------------------------------------------------------------------------------------

    def _count(self, totals: Ints, levels: Ints) -> None:
        for level in levels:
            inside = level[level >= 0]
            counts = np.bincount(inside, minlength=0)
            totals[: len(counts)] += counts

    def _rows_of(self) -> Ints:
        self._rows = _grown(self._rows, len(self._scoping))
        return self._rows

    def _late_of(self) -> Ints:
        self._late = _grown(self._late, len(self._scoping))
        return self._late

    def _binning(self, scope: int) -> Binning | None:
        if scope not in self._binnings:
            self._binnings[scope] = self._index.find(self._scoping.scopes[scope], self.key.start_ms)
        return self._binnings[scope]

    def _binning_of_segment(self, scope: int) -> None:
        if scope >= 0 and scope not in self._binnings:
            # Chosen once per pane: a baseline that arrives while the pane is open must not split it.
            whole = self._scoping.scopes[scope].whole
            self._binnings[scope] = self._index.find(whole, self.key.start_ms)

    def _features_named(self, names: tuple[str, ...]) -> tuple[str, ...]:
        prefixed = self._prefixed.get(names)
        if prefixed is None:
            prefixed = self._prefixed[names] = tuple(FEATURE_PREFIX + name for name in names)
        return prefixed

    def _series_ids(self, scope: int, names: tuple[str, ...]) -> Ints:
        known = self._series_of_names.get((scope, names))
        if known is None:
            known = np.array([self._id_under_cap(scope, name) for name in names], np.int64)
            self._series_of_names[scope, names] = known
        return known

    def _id_under_cap(self, scope: int, name: str) -> int:
        if name.startswith(FEATURE_PREFIX) and (scope, name) not in self._series:
            if self._features.get(scope, 0) >= self._limits.features:
                self._counters.add(self._id(scope, CAPPED), "features", 1)
                return -1
            self._features[scope] = self._features.get(scope, 0) + 1
        return self._id(scope, name)

    def _id(self, scope: int, name: str) -> int:
        number = self._series.get((scope, name))
        if number is None:
            number = self._series[scope, name] = len(self._names)
            self._names.append(name)
            self._scope_of_series.append(scope)
        return number

    def _by_scope(self, tallies: Tallies) -> dict[int, list[CategoryPart]]:
        parts: dict[int, list[CategoryPart]] = {}
        for series, counts in tallies.items():
            part = CategoryPart(self._names[series], tuple(counts), tuple(counts.values()))
            parts.setdefault(self._scope_of_series[series], []).append(part)
        return parts


def _pairs(levels: Ints, codes: Codes, values: tuple[str, ...]) -> Iterator[tuple[int, str, int]]:
    """(scope, value, count) of int64[l, n] scopes and int32[n] codes, as they first appear: a cap keeps what came first."""
    for level in levels:
        keys = ((level << 32) | codes)[level >= 0]
        unique, first, counts = np.unique(keys, return_index=True, return_counts=True)
        for place in np.argsort(first).tolist():
            scope, code = divmod(int(unique[place]), 1 << 32)
            yield scope, values[code], int(counts[place])


def _coded(texts: Sequence[str]) -> CodedTexts:
    table = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    return CodedTexts(np.array([table[text] for text in texts], np.int32), tuple(table))


def _grown(array: Ints, size: int) -> Ints:
    if size <= len(array):
        return array
    return np.concatenate((array, np.zeros(max(size, 2 * len(array)) - len(array), np.int64)))


def _sample_part(sample: Sample | None) -> SamplePart:
    if sample is None:
        return SamplePart()
    return SamplePart(
        sample.names, sample.hash.tobytes(), sample.ts_ms.tobytes(), sample.values.tobytes(), sample.event_id
    )


class _Parts:
    """Folded sums cut up by scope."""

    def __init__(self, folded: Folded, scope_of_series: Ints, names: list[str], scopes: int) -> None:
        order = np.argsort(scope_of_series[folded.ids], kind="stable")
        ids = folded.ids[order]
        rank = np.zeros(max(len(scope_of_series), 1), np.int64)
        rank[ids] = np.arange(len(ids))
        cell_rank = rank[cell.series_of(folded.keys)]
        cell_order = np.argsort(cell_rank, kind="stable")
        self._keys = folded.keys[cell_order]
        self._counts = folded.counts[cell_order].astype("<u4")
        self._stats = folded.stats[order].astype("<f8")
        self._cells = np.bincount(cell_rank, minlength=len(ids)).astype("<i4")
        self._names = [names[i] for i in ids.tolist()]
        self._rows = np.searchsorted(scope_of_series[ids], np.arange(scopes + 1))
        self._first_cell = np.concatenate(([0], np.cumsum(self._cells)))

    def numeric(self, scope: int) -> NumericPart:
        """The numeric quantities of one scope."""
        low, high = int(self._rows[scope]), int(self._rows[scope + 1])
        if low == high:
            return NumericPart()
        first, last = int(self._first_cell[low]), int(self._first_cell[high])
        keys = self._keys[first:last]
        cells = self._cells[low:high]
        # A quantity is binned one way throughout a pane: its first cell speaks for all.
        lead = self._first_cell[low:high] - first
        return NumericPart(
            tuple(self._names[low:high]),
            self._stats[low:high].tobytes(),
            cells.tobytes(),
            cell.bins_of(keys).astype("<i2").tobytes(),
            self._counts[first:last].tobytes(),
            cell.is_binned(keys[lead]).astype(np.uint8).tobytes(),
        )
