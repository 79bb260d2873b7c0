"""An open pane: everything one source partition has seen of one pane of event time, until the watermark passes it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.columns import Codes, EventColumns, FeatureBlock
from schemas.panes import CategoryPart, NumericPart, Pane, SamplePart
from schemas.scopes import Family
from streams.binnings import FEATURE_PREFIX, Binning, BinningIndex
from streams.ingest.blocks import Groups, add_matrix, cell_codes
from streams.ingest.numbering import SeriesNumbers
from streams.ingest.pending import Rows, Texts, coded
from streams.ingest.scoping import PaneLimits, ScopeCounts, Scoping
from streams.windows import cells as cell
from streams.windows.samples import Hashes, Sample, SampleBuffer
from streams.windows.sums import Folded, Sums
from streams.windows.tallies import Tallies

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CAPPED = "__capped__"
"""The counter that tells how much of a scope went over a cap, by what was capped."""

_PENDING_BYTES: Final = 2 << 20
"""What may wait to be summed. Sums of twice as many rows at a time are hardly cheaper by the row."""
_NONE: Final = np.zeros(16, np.int64)


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
        The lowest offset that contributes to it, and the watermark before that offset was read: where a restart that
        has to build this pane anew begins.
    limits, binnings
        The caps, and the bins in force.
    """

    def __init__(
        self, key: PaneKey, first_offset: int, watermark_ms: int, limits: PaneLimits, binnings: BinningIndex
    ) -> None:
        self.key = key
        self.first_offset, self.watermark_ms = first_offset, watermark_ms
        self._limits, self._index = limits, binnings
        self._scoping = Scoping(key.family, limits)
        self._rows, self._late = ScopeCounts(), ScopeCounts()
        self._sums = Sums()
        self._texts = Tallies(limits.categories)
        self._counters = Tallies(limits.categories)
        self._samples = SampleBuffer(limits.sample_rows, limits.sample_bytes)
        self._numbers = SeriesNumbers(limits.features)
        self._pending: dict[tuple[str, ...], Rows] = {}
        self._pending_texts: dict[str, Texts] = {}
        self._pending_bytes = 0
        self._registered: dict[tuple[str, ...], Ints] = {}
        self._binnings: dict[int, Binning | None] = {}
        self._binned = 0
        self._invalid = self._scoping.invalid(key.topic)

    def add(self, columns: EventColumns, mask: Bools, hashes: Hashes) -> None:
        """Count the events for which ``mask`` bool[n] holds; ``hashes`` uint64[n] choose the sample."""
        if self._scoping.crowded:
            self._sum_up()
            self._scoping.forget()
            self._binned = 0
        places = np.flatnonzero(mask)
        combination = np.full(len(mask), -1, np.int64)
        combination[places] = self._combinations(columns, places)
        self._rows.add(self._scoping, combination[places])
        self._rows.of[self._invalid] += len(places)
        featured = np.zeros(len(mask), bool)
        for block in columns.blocks:
            self._hold_block(columns, block, mask, combination, hashes)
            featured[block.rows] = True
        self._hold((), np.empty((0, 1)), columns, np.flatnonzero(mask & ~featured), combination, hashes)
        for name, column in columns.counted.items():
            keep = mask[column.rows]
            self._hold_texts(name, combination[column.rows[keep]], column.codes[keep], column.values)
        if self._pending_bytes > _PENDING_BYTES:
            self._sum_up()

    def add_late(self, columns: EventColumns, mask: Bools) -> None:
        """Count events that came after their own pane was over."""
        combination = self._combinations(columns, np.flatnonzero(mask))
        self._late.add(self._scoping, combination)

    def add_invalid(self, reason: str, events: int) -> None:
        """Count events that could not be decoded."""
        self._rows.of[self._invalid] += events
        self._counters.add(self._numbers.of(self._invalid, "reason"), reason, events)

    def panes(self) -> Iterator[Pane]:
        """One message per scope, in the order in which the scopes came."""
        self._sum_up()
        folded = self._sums.fold()
        parts = _Parts(folded, np.array(self._numbers.scope_of, np.int64), self._numbers.names, len(self._scoping))
        samples = self._samples.take()
        texts = _by_scope(self._texts, self._numbers)
        for scope, features in self._numbers.capped.items():
            self._counters.add(self._numbers.of(scope, CAPPED), "features", features)
        counters = _by_scope(self._counters, self._numbers)
        self._rows.reserve(len(self._scoping))
        self._late.reserve(len(self._scoping))
        for number, who in enumerate(self._scoping.scopes):
            binning = self._binnings.get(number)
            yield Pane(
                *(who, self.key.start_ms, self.key.size_ms, self.key.topic, self.key.partition),
                baseline_id=binning.baseline_id if binning else "",
                rows=int(self._rows.of[number]),
                late=int(self._late.of[number]),
                numeric=parts.numeric(number),
                categories=tuple(texts.get(number, ())),
                counters=tuple(counters.get(number, ())),
                sample=_sample_part(samples.get(number)),
            )

    def capped(self) -> Counter[str]:
        """What went over a cap, by its kind; complete once :meth:`panes` was taken."""
        return Counter(
            scope=self._scoping.capped_scopes,
            segment=self._scoping.capped_segments,
            feature=sum(self._numbers.capped.values()),
            category=self._texts.capped + self._counters.capped,
        )

    # -- adding ------------------------------------------------------------------------------------------------------

    def _combinations(self, columns: EventColumns, places: Ints) -> Ints:
        combination = self._scoping.combinations(columns.keys, columns.key[places])
        levels = self._scoping.levels
        for scope in levels[:, self._binned :].ravel().tolist():
            # Chosen once per pane: a baseline that arrives while the pane is open must not split it.
            if scope >= 0 and scope not in self._binnings:
                whole = self._scoping.scopes[scope].whole
                self._binnings[scope] = self._index.find(whole, self.key.start_ms)
        self._binned = levels.shape[1]
        return combination

    def _hold_block(
        self, columns: EventColumns, block: FeatureBlock, mask: Bools, combination: Ints, hashes: Hashes
    ) -> None:
        inside = mask[block.rows]
        rows, values = block.rows, block.values
        if not inside.all():
            rows, values = rows[inside], values[:, inside]
        names = _features_named(block.names)
        self._hold(names, values, columns, rows, combination, hashes)
        for feature, (places, texts) in block.texts.items():
            keep = inside[places]
            found = coded(texts)
            self._hold_texts(names[feature], combination[block.rows[places[keep]]], found.codes[keep], found.values)

    def _hold(
        self, names: tuple[str, ...], values: Floats, columns: EventColumns, rows: Ints, combination: Ints,
        hashes: Hashes,
    ) -> None:  # fmt: skip
        """Keep the numbers of the events ``rows`` until they are worth summing: the event's own, and its features."""
        if not len(rows):
            return
        own = [(name, column[rows]) for name, column in columns.numeric.items()]
        own = [(name, column) for name, column in own if not np.isnan(column).all()]
        names = tuple(name for name, _ in own) + names
        if not names:
            return
        matrix = np.empty((len(names), len(rows)))
        for place, (_, column) in enumerate(own):
            matrix[place] = column
        matrix[len(own) :] = values
        self._register(names, combination[rows])
        pending = self._pending.setdefault(names, Rows())
        self._pending_bytes += pending.add(
            combination[rows], matrix, hashes[rows], columns.ts_ms[rows], (columns.event_id, rows)
        )

    def _hold_texts(self, name: str, combination: Ints, codes: Codes, values: tuple[str, ...]) -> None:
        if len(codes):
            self._pending_bytes += self._pending_texts.setdefault(name, Texts()).add(combination, codes, values)

    def _register(self, names: tuple[str, ...], combination: Ints) -> None:
        """Number the series at first sight: what the caps cut off must not depend on when sums are made."""
        levels = self._scoping.levels
        known = self._registered.get(names)
        if known is None or len(known) < levels.shape[1]:
            known = self._registered[names] = _grown(_NONE if known is None else known, levels.shape[1])
        new = known[combination] == 0
        if not new.any():
            return
        for number in dict.fromkeys(combination[new].tolist()):
            known[number] = 1
            for scope in levels[:, number].tolist():
                if scope >= 0:
                    self._numbers.of_all(scope, names)

    # -- summing -----------------------------------------------------------------------------------------------------

    def _sum_up(self) -> None:
        """Sum what is held, and forget the combinations that were registered with it."""
        for names, rows in self._pending.items():
            self._sum_rows(names, rows)
        levels = self._scoping.levels
        for name, texts in self._pending_texts.items():
            tallies = self._texts if name.startswith(FEATURE_PREFIX) else self._counters
            for combination, text, count in texts.counts():
                for scope in levels[:, combination].tolist():
                    series = self._text_series(scope, name)
                    if series >= 0:
                        tallies.add(series, text, count)
        self._pending, self._pending_texts, self._registered, self._pending_bytes = {}, {}, {}, 0

    def _sum_rows(self, names: tuple[str, ...], rows: Rows) -> None:
        combination = np.concatenate(rows.combination)
        values = np.concatenate(rows.values, axis=1)
        groups = Groups.of(combination)
        levels = self._scoping.levels[:, groups.numbers]
        present, place = np.unique(levels[0], return_inverse=True)
        binnings = [self._binnings[scope] for scope in present.tolist()]

        def codes_of(values: Floats, valid: Bools, group: Ints) -> Ints:
            return cell_codes(values, valid, names, binnings, place[group], self._index)

        add_matrix(self._sums, values, groups, levels, names, self._numbers.of_all, codes_of)
        if self._limits.sample_rows:
            whole, hashes = self._scoping.levels[0][combination], np.concatenate(rows.hash)
            at = self._samples.lowest(whole, hashes, len(self._scoping), len(names))
            ids = rows.event_ids(at)
            ts_ms = np.concatenate(rows.ts_ms)[at]
            self._samples.add(names, whole[at], hashes[at], ts_ms, ids, values[:, at].T.astype(np.float32))

    def _text_series(self, scope: int, name: str) -> int:
        if scope < 0:
            return -1
        return (
            int(self._numbers.of_all(scope, (name,))[0])
            if name.startswith(FEATURE_PREFIX)
            else self._numbers.of(scope, name)
        )


@lru_cache(maxsize=1024)
def _features_named(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(FEATURE_PREFIX + name for name in names)


def _by_scope(tallies: Tallies, numbers: SeriesNumbers) -> dict[int, list[CategoryPart]]:
    parts: dict[int, list[CategoryPart]] = {}
    for series, counts in tallies.items():
        part = CategoryPart(numbers.names[series], tuple(counts), tuple(counts.values()))
        parts.setdefault(numbers.scope_of[series], []).append(part)
    return parts


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
