"""An open pane: everything one source partition has seen of one pane of event time, until the watermark passes it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.codecs.hashes import Hashes
from schemas.columns import Codes, EventColumns, FeatureBlock
from schemas.panes import CategoryPart, IdPart, NumericPart, Pane, SamplePart
from schemas.scopes import Family
from streams.binnings import FEATURE_PREFIX, Binning, BinningIndex
from streams.ingest.blocks import Layout, add_rows
from streams.ingest.chosen import Chosen, Places, kept, place_of, texts_at
from streams.ingest.counting import Groups, Series
from streams.ingest.numbering import SeriesNumbers
from streams.ingest.pending import Rows, Texts, coded, joined
from streams.ingest.scoping import PaneLimits, ScopeCounts, Scoping
from streams.windows import cells as cell
from streams.windows.identities import IdSums, SampledIds
from streams.windows.samples import Sample, SampleBuffer
from streams.windows.sums import STATS, Folded, Sums
from streams.windows.tallies import Tallies

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CAPPED = "__capped__"
"""The counter that tells how much of a scope went over a cap, by what was capped."""

_NO_IDS: Final = IdPart()
_PENDING_BYTES: Final = 4 << 20
"""What may wait to be summed. The more rows are summed at once, the fewer cells are made on the way."""


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
        self._ids = IdSums(limits.sample_ids)
        self._numbers = SeriesNumbers(limits.features)
        self._pending: dict[tuple[str, ...], Rows] = {}
        self._pending_texts: dict[str, Texts] = {}
        self._pending_bytes = 0
        self._registered: dict[tuple[str, ...], set[int]] = {}
        self._binnings: dict[int, Binning | None] = {}
        self._binned = 0
        self._invalid = self._scoping.invalid(key.topic)

    def add(self, columns: EventColumns, mask: Bools, hashes: Hashes, ids: Hashes | None = None) -> None:
        """Count the events for which ``mask`` bool[n] holds.

        ``hashes`` uint64[n] choose the sample; ``ids`` uint64[n] are those of the event ids, where they are asked for.
        """
        if self._scoping.crowded:
            self._sum_up()
            self._scoping.forget()
            self._binned = 0
        chosen = Chosen.of(mask)
        combination = self._combinations(columns, chosen.rows)
        self._rows.add(self._scoping, combination[chosen.rows])
        self._rows.of[self._invalid] += chosen.count
        if ids is not None:
            self._ids.add(self._scoping.levels[0][combination[chosen.rows]], ids[chosen.rows])
        for block in columns.blocks:
            self._hold_block(columns, block, chosen, combination, hashes)
        if sum(len(block.rows) for block in columns.blocks) < len(columns):
            self._hold((), (), columns, _featureless(columns, mask), combination, hashes)
        for name, column in columns.counted.items():
            within, places = chosen.among(column.rows)
            self._hold_texts(name, kept(combination, places), kept(column.codes, within), column.values)
        if self._pending_bytes > _PENDING_BYTES:
            self._sum_up()

    def add_late(self, columns: EventColumns, mask: Bools) -> None:
        """Count events that came after their own pane was over."""
        late = np.flatnonzero(mask)
        self._late.add(self._scoping, self._combinations(columns, late)[late])

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
        ids = _id_parts(self._ids.fold())
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
                baseline_id=binning.layout if binning else "",
                rows=int(self._rows.of[number]),
                late=int(self._late.of[number]),
                numeric=parts.numeric(number, with_cells=who.family is not Family.READ),
                categories=tuple(texts.get(number, ())),
                counters=tuple(counters.get(number, ())),
                sample=_sample_part(samples.get(number)),
                ids=ids.get(number, _NO_IDS),
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

    def _combinations(self, columns: EventColumns, places: Places) -> Ints:
        """The combination of every event of the batch; -1, or what it has anyway, for those not at ``places``."""
        combination = self._scoping.combinations(columns.keys, columns.key, places)
        levels = self._scoping.levels
        for scope in levels[:, self._binned :].ravel().tolist():
            # Chosen once per pane: a baseline that arrives while the pane is open must not split it.
            if scope >= 0 and scope not in self._binnings:
                whole = self._scoping.scopes[scope].whole
                self._binnings[scope] = self._index.find(whole, self.key.start_ms)
        self._binned = levels.shape[1]
        return combination

    def _hold_block(
        self, columns: EventColumns, block: FeatureBlock, chosen: Chosen, combination: Ints, hashes: Hashes
    ) -> None:
        within, rows = chosen.among(block.rows)
        names = _features_named(block.names)
        self._hold(names, [kept(column, within) for column in block.values], columns, rows, combination, hashes)
        for feature, (places, texts) in block.texts.items():
            inside = np.flatnonzero(chosen.mask[block.rows[places]])
            found = coded(texts)
            of_texts = combination[block.rows[places[inside]]]
            self._hold_texts(names[feature], of_texts, found.codes[inside], found.values)

    def _hold(
        self, names: tuple[str, ...], values: Sequence[Floats], columns: EventColumns, rows: Places, combination: Ints,
        hashes: Hashes,
    ) -> None:  # fmt: skip
        """Keep the numbers of the events ``rows`` until they are worth summing: the event's own, and its features."""
        combination = kept(combination, rows)
        if not len(combination):
            return
        own = [(name, kept(column, rows)) for name, column in columns.numeric.items()]
        own = [(name, column) for name, column in own if not np.isnan(column).all()]
        names = tuple(name for name, _ in own) + names
        if not names:
            return
        values = [*(column for _, column in own), *values]
        self._register(names, combination)
        self._pending_bytes += self._pending.setdefault(names, Rows()).add(combination, values)
        if self._limits.sample_rows:
            self._sample(names, values, columns, rows, self._scoping.levels[0][combination], hashes[rows])

    def _sample(
        self, names: tuple[str, ...], values: Sequence[Floats], columns: EventColumns, rows: Places, whole: Ints,
        hashes: Hashes,
    ) -> None:  # fmt: skip
        """Take the rows that may stay in the sample at once: what they were decoded from need not be kept."""
        at = self._samples.lowest(whole, hashes, len(self._scoping), len(names))
        if not len(at):
            return
        places = place_of(rows, at)
        picked = np.stack([column[at] for column in values], axis=1, dtype=np.float32)
        ids = texts_at(columns.event_id, places)
        self._samples.add(names, whole[at], hashes[at], columns.ts_ms[places], ids, picked)

    def _hold_texts(self, name: str, combination: Ints, codes: Codes, values: tuple[str, ...]) -> None:
        if len(codes):
            self._pending_bytes += self._pending_texts.setdefault(name, Texts()).add(combination, codes, values)

    def _register(self, names: tuple[str, ...], combination: Ints) -> None:
        """Number the series at first sight: what the caps cut off must not depend on when sums are made."""
        levels = self._scoping.levels
        known = self._registered.setdefault(names, set())
        for number in np.flatnonzero(np.bincount(combination)).tolist():
            if number not in known:
                known.add(number)
                for scope in levels[:, number].tolist():
                    if scope >= 0:
                        self._numbers.of_all(scope, names)

    # -- summing -----------------------------------------------------------------------------------------------------

    def _sum_up(self) -> None:
        """Sum what is held, and forget the combinations that were registered with it."""
        for names, rows in self._pending.items():
            self._sum_rows(names, rows)
        scopes = self._scoping.levels.T.tolist()
        for name, texts in self._pending_texts.items():
            tallies = self._texts if name.startswith(FEATURE_PREFIX) else self._counters
            for combination, text, count in texts.counts():
                for scope in scopes[combination]:
                    series = self._text_series(scope, name)
                    if series >= 0:
                        tallies.add(series, text, count)
        self._pending, self._pending_texts, self._registered, self._pending_bytes = {}, {}, {}, 0

    def _sum_rows(self, names: tuple[str, ...], rows: Rows) -> None:
        combination = joined(rows.combination)
        groups = Groups.of(combination)
        levels = self._scoping.levels[:, groups.numbers]
        present, place = np.unique(levels[0], return_inverse=True)
        layout = Layout([self._binnings[scope] for scope in present.tolist()], place, self._index)
        add_rows(self._sums, rows.quantity, groups, Series.of(levels, names, self._numbers.of_all), names, layout)

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


def _featureless(columns: EventColumns, mask: Bools) -> Ints:
    """The events for which ``mask`` holds and that are in no block."""
    rest = mask.copy()
    for block in columns.blocks:
        rest[block.rows] = False
    return np.flatnonzero(rest)


def _sample_part(sample: Sample | None) -> SamplePart:
    if sample is None:
        return SamplePart()
    return SamplePart(
        sample.names, sample.hash.tobytes(), sample.ts_ms.tobytes(), sample.values.tobytes(), sample.event_id
    )


def _id_parts(ids: SampledIds) -> dict[int, IdPart]:
    """Scope → its ids."""
    hashes, counts = ids.hashes.astype("<u8").tobytes(), ids.counts.astype("<u4").tobytes()
    spans = pairwise(ids.offsets.tolist())
    return {
        scope: IdPart(events, limit, hashes[8 * low : 8 * high], counts[4 * low : 4 * high])
        for scope, events, limit, (low, high) in zip(
            ids.scope.tolist(), ids.events.tolist(), ids.limit.tolist(), spans, strict=True
        )
    }


class _Parts:
    """Folded sums cut up by scope; brought into the form of a pane once for all of them."""

    def __init__(self, folded: Folded, scope_of_series: Ints, names: list[str], scopes: int) -> None:
        order = np.argsort(scope_of_series[folded.ids], kind="stable")
        ids = folded.ids[order]
        rank = np.zeros(max(len(scope_of_series), 1), np.int64)
        rank[ids] = np.arange(len(ids))
        cell_rank = rank[cell.series_of(folded.keys)]
        cell_order = np.argsort(cell_rank, kind="stable")
        keys = folded.keys[cell_order]
        cells = np.bincount(cell_rank, minlength=len(ids))
        first_cell = np.concatenate(([0], np.cumsum(cells)))
        rows = np.searchsorted(scope_of_series[ids], np.arange(scopes + 1))
        self._names = [names[i] for i in ids.tolist()]
        self._rows, self._cells = rows.tolist(), first_cell[rows].tolist()
        # A quantity is binned one way throughout a pane: its first cell speaks for all.
        binned = cell.is_binned(keys[first_cell[:-1]]) if len(keys) else np.empty(0)
        self._by_row = [
            (part.tobytes(), part.itemsize * (STATS if part.ndim == 2 else 1))
            for part in (folded.stats[order].astype("<f8"), cells.astype("<i4"), binned.astype(np.uint8))
        ]
        bins, counts = cell.bins_of(keys).astype("<i2"), folded.counts[cell_order].astype("<u4")
        self._by_cell = [(part.tobytes(), part.itemsize) for part in (bins, counts)]

    def numeric(self, scope: int, *, with_cells: bool) -> NumericPart:
        """The numeric quantities of one scope; of reads, which have no baseline to lie beside, the moments alone."""
        low, high = self._rows[scope : scope + 2]
        if low == high:
            return NumericPart()
        first, last = self._cells[scope : scope + 2]
        stats, cells, binned = [raw[low * size : high * size] for raw, size in self._by_row]
        if not with_cells:
            return NumericPart(tuple(self._names[low:high]), stats, bytes(len(cells)), b"", b"", bytes(len(binned)))
        bins, counts = [raw[first * size : last * size] for raw, size in self._by_cell]
        return NumericPart(tuple(self._names[low:high]), stats, cells, bins, counts, binned)
