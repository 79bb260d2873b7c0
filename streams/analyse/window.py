"""A window of all scopes of one family: panes added up, and windows added up to longer ones."""

from collections.abc import Iterable
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from schemas.panes import IdPart, Pane, column
from schemas.scopes import Family
from streams.analyse.registry import Registry
from streams.windows import cells as cell
from streams.windows.identities import PANE_SLACK, WINDOW_IDS, IdSums, SampledIds
from streams.windows.rollups import RollupSums
from streams.windows.samples import Sample, merge_samples
from streams.windows.sums import STATS, Folded, Sums
from streams.windows.tallies import Tallies

Ints = NDArray[np.int64]


MIXED: Final = "mixed"
"""The layout of bins that were cut by the edges of more than one baseline: they cannot be added."""
_MAX_SAMPLES: Final = 64
"""Samples of a scope, one a pane, that may wait to be merged."""


class Window:
    """Sums over one span of event time: of panes in a :class:`PaneWindow`, of shorter windows in a :class:`Rollup`.

    Attributes
    ----------
    start_ms, size_ms
        The span.
    rows, late
        Scope → events. A scope is here once a pane of it came, also one without an event on time.
    texts, counters
        Counts of categorical features, and of counters.
    samples
        Scope → its row samples, one for each pane.
    ids
        The event ids of lowest hash of each whole.
    layouts
        Scope → the baseline by whose edges ingest has binned its panes, or ``MIXED``; none: all are LogHistograms.
    """

    def __init__(self, family: Family, start_ms: int, size_ms: int, categories: int) -> None:
        self.family = family
        self.start_ms = start_ms
        self.size_ms = size_ms
        self.rows: dict[int, int] = {}
        self.late: dict[int, int] = {}
        self.texts = Tallies(categories)
        self.counters = Tallies(categories)
        self.samples: dict[int, list[Sample]] = {}
        self.ids = IdSums(WINDOW_IDS)
        self.layouts: dict[int, str] = {}
        self._sums: Sums | RollupSums = RollupSums()

    @property
    def end_ms(self) -> int:
        """The first ms that is not in the window."""
        return self.start_ms + self.size_ms

    def fold(self) -> Folded:
        """The numeric series: ids ascending, cells ascending."""
        return self._sums.fold()

    def sample(self, scope: int, rows: int) -> Sample | None:
        """The rows of lowest hash of a scope, over all source partitions."""
        parts = self.samples.get(scope)
        return merge_samples(parts, rows) if parts else None

    def sampled(self) -> list[int]:
        """The scopes that have a sample."""
        return list(self.samples)

    def _lay_out(self, scope: int, baseline_id: str) -> None:
        if self.layouts.setdefault(scope, baseline_id) != baseline_id:
            self.layouts[scope] = MIXED


class PaneWindow(Window):
    """A window of panes, as ingest sent them."""

    def __init__(self, family: Family, start_ms: int, size_ms: int, categories: int) -> None:
        super().__init__(family, start_ms, size_ms, categories)
        self._sums: Sums = Sums()
        self.ids = IdSums(WINDOW_IDS, PANE_SLACK)

    def add(self, pane: Pane, registry: Registry) -> None:
        """Add one scope's pane of one source partition."""
        scope = registry.scope(pane.scope)
        self.rows[scope] = self.rows.get(scope, 0) + pane.rows
        self.late[scope] = self.late.get(scope, 0) + pane.late
        if pane.baseline_id:
            self._lay_out(scope, pane.baseline_id)
        part = pane.numeric
        if part.names:
            ids = registry.ids(scope, part.names)
            stats = column(part.stats, np.float64).reshape(-1, STATS).astype(np.float64)
            per_series = column(part.cells, np.int32)
            binned = column(part.binned, np.uint8).astype(bool)
            keys = cell.encode(
                np.repeat(ids, per_series), column(part.bins, np.int16), binned=np.repeat(binned, per_series)
            )
            self._sums.add(ids, stats, keys, column(part.counts, np.uint32).astype(np.int64))
        for parts, tallies in ((pane.categories, self.texts), (pane.counters, self.counters)):
            for counted in parts:
                series = registry.id(scope, counted.name)
                tallies.add_all(series, zip(counted.values, counted.counts, strict=True))
        if pane.sample.names and not pane.scope.segment:
            self.samples.setdefault(scope, []).append(_sample(pane))
        if pane.ids.events:
            self.ids.merge(_ids(scope, pane.ids))


class Rollup(Window):
    """A window of shorter windows."""

    def __init__(self, family: Family, start_ms: int, size_ms: int, categories: int) -> None:
        super().__init__(family, start_ms, size_ms, categories)
        self._sums: RollupSums = RollupSums()

    def merge(self, other: Window) -> None:
        """Add a shorter window that lies within; its samples stay behind."""
        for scope, rows in other.rows.items():
            self.rows[scope] = self.rows.get(scope, 0) + rows
        for scope, late in other.late.items():
            self.late[scope] = self.late.get(scope, 0) + late
        for scope, layout in other.layouts.items():
            self._lay_out(scope, layout)
        self.texts.merge(other.texts)
        self.counters.merge(other.counters)
        self.ids.merge(other.ids.fold())
        self._sums.merge(other.fold())

    def take_samples(self, other: Window) -> None:
        """Take over another window's samples too."""
        for scope, samples in other.samples.items():
            self.samples.setdefault(scope, []).extend(samples)

    def merge_scope(self, other: Window, scope: int, folded: Folded, series: Iterable[int]) -> None:
        """Add what another window has of one scope: its numeric sums are ``folded``, its samples come along."""
        self.rows[scope] = self.rows.get(scope, 0) + other.rows[scope]
        self.late[scope] = self.late.get(scope, 0) + other.late[scope]
        for number in series:
            self.texts.add_all(number, other.texts.get(number).items())
            self.counters.add_all(number, other.counters.get(number).items())
        self._sums.merge(folded)
        if scope in other.samples:
            self.samples.setdefault(scope, []).extend(other.samples[scope])

    def limit_samples(self, rows: int) -> None:
        """Keep little more than the ``rows`` lowest rows of each scope: what is over is cut now and then."""
        for scope, samples in self.samples.items():
            if len(samples) > _MAX_SAMPLES or sum(len(sample.hash) for sample in samples) > 2 * rows:
                self.samples[scope] = [merge_samples(samples, rows)]

    def to_parts(self) -> dict[str, Any]:
        """Plain data, for msgpack."""
        return {
            "family": self.family.value,
            "start_ms": self.start_ms,
            "size_ms": self.size_ms,
            "rows": self.rows,
            "late": self.late,
            "layouts": self.layouts,
            "texts": self.texts.to_parts(),
            "counters": self.counters.to_parts(),
            "sums": self._sums.to_parts(),
            "ids": self.ids.to_parts(),
            "samples": {scope: [_sample_to_parts(s) for s in samples] for scope, samples in self.samples.items()},
        }

    @classmethod
    def from_parts(cls, parts: dict[str, Any], categories: int) -> Self:
        """The window :meth:`to_parts` was taken of."""
        window = cls(Family(parts["family"]), parts["start_ms"], parts["size_ms"], categories)
        window.rows, window.late = dict(parts["rows"]), dict(parts["late"])
        window.layouts = dict(parts.get("layouts", {}))
        window.texts = Tallies.from_parts(parts["texts"], categories)
        window.counters = Tallies.from_parts(parts["counters"], categories)
        window._sums = RollupSums.from_parts(parts["sums"])
        window.ids = IdSums.from_parts(parts.get("ids"), WINDOW_IDS)
        window.samples = {
            scope: [_sample_from_parts(s) for s in samples] for scope, samples in parts["samples"].items()
        }
        return window


def _sample(pane: Pane) -> Sample:
    part = pane.sample
    values = np.frombuffer(part.values, "<f4").reshape(-1, len(part.names))
    hashes = np.frombuffer(part.hashes, "<u8")
    return Sample(part.names, hashes, np.frombuffer(part.ts_ms, "<i8"), part.event_ids, values)


def _ids(scope: int, part: IdPart) -> SampledIds:
    hashes = np.frombuffer(part.hashes, "<u8")
    return SampledIds(
        np.array([scope]), np.array([part.events]), np.array([part.limit], np.uint64), np.array([0, len(hashes)]),
        hashes, np.frombuffer(part.counts, "<u4").astype(np.int64),
    )  # fmt: skip


def _sample_to_parts(sample: Sample) -> list[Any]:
    return [
        sample.names, sample.hash.tobytes(), sample.ts_ms.tobytes(), sample.event_id, sample.values.tobytes()
    ]  # fmt: skip


def _sample_from_parts(parts: list[Any]) -> Sample:
    names, hashes, ts_ms, event_id, values = parts
    return Sample(
        tuple(names), np.frombuffer(hashes, np.uint64), np.frombuffer(ts_ms, np.int64), tuple(event_id),
        np.frombuffer(values, np.float32).reshape(-1, len(names)),
    )  # fmt: skip
