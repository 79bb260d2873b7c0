"""What a scope shows over whole days: exact counts, by the hour of the day, and rows chosen evenly from all of it."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from detectors.days import HOURS, DayCounts
from detectors.seasonal.expectation import HOUR_MS
from schemas.baselines import CELLS
from schemas.scopes import OTHER, Family
from streams.analyse.registry import Registry
from streams.analyse.window import Rollup, Window
from streams.windows import cells as cell
from streams.windows.rollups import RollupSums
from streams.windows.samples import Sample, merge_samples
from streams.windows.sums import Folded
from streams.windows.tallies import Tallies

Ints = NDArray[np.int64]

DAY_MS: Final = HOURS * HOUR_MS
_SHARES: Final = 32
"""Categories of a quantity that are counted by the hour: of one that has more in an hour, its straying is not known."""
_WATCHED: Final = frozenset({"decision"})
_EVERY_HASH: Final = 2**64 - 1
_NO_STATS: Final = np.empty((0, 5))
_NO_IDS: Final = np.empty(0, np.int64)


class EvenRows:
    """At most so many rows, of lowest hash among all that came: each event is as likely to be one of them."""

    def __init__(self) -> None:
        self.sample: Sample | None = None
        self._limit = _EVERY_HASH

    def add(self, rows: Sample, most: int) -> None:
        """Take in rows of lowest hash of a shorter span; ``most`` stay."""
        if self.sample is not None and len(self.sample.hash) > most:
            self._cut(self.sample, most)
        fresh = _bare(rows, np.flatnonzero(rows.hash < np.uint64(self._limit)))
        if not len(fresh.hash):
            return
        parts = [fresh] if self.sample is None else [self.sample, fresh]
        self._cut(merge_samples(parts, sum(len(part.hash) for part in parts)), most)

    def drop(self, start_ms: int, end_ms: int) -> None:
        """Forget the rows of a span. The others keep their chance: what would be chosen of them is there."""
        if self.sample is not None:
            ts = self.sample.ts_ms
            self.sample = _bare(self.sample, np.flatnonzero((ts < start_ms) | (ts >= end_ms)))

    def _cut(self, sample: Sample, most: int) -> None:
        if len(sample.hash) > most:
            # Once dropped, a row would have been dropped at the end too: none above it may come in again.
            self._limit = min(self._limit, int(sample.hash[most]))
            sample = _bare(sample, np.arange(most))
        self.sample = sample

    def to_parts(self) -> list[Any]:
        """Plain data, for msgpack."""
        if self.sample is None:
            return [self._limit]
        s = self.sample
        return [self._limit, s.names, s.hash.tobytes(), s.ts_ms.tobytes(), s.values.tobytes()]

    @classmethod
    def from_parts(cls, parts: list[Any]) -> Self:
        """The rows :meth:`to_parts` was taken of."""
        rows = cls()
        rows._limit = int(parts[0])
        if len(parts) > 1:
            names, hashes, ts_ms, values = parts[1:]
            count = len(hashes) // 8
            table = np.frombuffer(values, np.float32).reshape(count, len(names))
            stamps = np.frombuffer(ts_ms, np.int64)
            rows.sample = Sample(tuple(names), np.frombuffer(hashes, np.uint64), stamps, ("",) * count, table)
        return rows


@dataclass(slots=True)
class Hours:
    """Which hours of the day have taught, as bits, and which were passed over when they came last.

    ``start_ms`` is that of the first hour that was counted exactly, -1 before it; ``taught`` how many have; ``broken``
    how many were passed over, and ``spare`` how many were not needed; ``drifted`` in how many of those that taught
    drift was found. ``fills``: only the hours that lack teach.
    """

    start_ms: int = -1
    taught: int = 0
    broken: int = 0
    spare: int = 0
    drifted: int = 0
    days_seen: int = 0
    known: int = 0
    passed: int = 0
    fills: bool = False

    @property
    def lacking(self) -> int:
        """The hours of the day that were only ever passed over, as bits."""
        return self.passed & ~self.known


class Course:
    """The way of one scope from one baseline to the next.

    Parameters
    ----------
    family, categories
        Of the scope; the most categories of a feature.
    target
        After how many whole days.
    is_whole
        Whether it is counted by the hour of the day: a segment strays as its whole does.
    """

    def __init__(self, family: Family, categories: int, target: int, *, is_whole: bool) -> None:
        self.target, self.is_whole = target, is_whole
        self.may_recut = True
        self._family, self._categories = family, categories
        self.begin()

    def begin(self) -> None:
        """Count from nothing."""
        self.hours = Hours()
        self.rows = EvenRows()
        self._total = Rollup(self._family, 0, HOUR_MS, self._categories)
        self._cells = RollupSums()
        self._shares = Tallies(_SHARES)

    @property
    def events(self) -> int:
        """How many events have taught."""
        return sum(self._total.rows.values())

    def teach(self, window: Window, scope: int, folded: Folded, registry: Registry) -> None:
        """Take in an hour of the scope."""
        series = registry.series_of(scope)
        hour = window.start_ms // HOUR_MS % HOURS
        if self.is_whole:
            binned = cell.is_binned(folded.keys)
            keys = folded.keys[binned]
            # One sum for all hours: the hour is the last digit of the number of the series.
            by_hour = cell.encode(cell.series_of(keys) * HOURS + hour, cell.bins_of(keys), binned=True)
            self._cells.merge(Folded(_NO_IDS, _NO_STATS, by_hour, folded.counts[binned]))
            folded = Folded(folded.ids, folded.stats, folded.keys[~binned], folded.counts[~binned])
            for number in series:
                if registry.names[number] in _WATCHED:
                    self._shares.add_all(number * HOURS + hour, window.counters.get(number).items())
                self._shares.add_all(number * HOURS + hour, window.texts.get(number).items())
        self._total.merge_scope(window, scope, folded, series)
        self._total.samples.clear()

    def counts(self, days: int, panes: int, pane_ms: int, registry: Registry) -> DayCounts:
        """All that has taught."""
        total, sample = self._total, self.rows.sample
        folded = total.fold()
        stats = {registry.names[n]: row for n, row in zip(folded.ids.tolist(), folded.stats, strict=True)}
        cells, logs = self._histograms(folded, registry)
        order = np.argsort(sample.ts_ms, kind="stable") if sample is not None else _NO_IDS
        categories = {registry.names[s]: counts for s, counts in total.texts.items()}
        return DayCounts(
            days=days,
            rows=self.events,
            panes=panes,
            pane_ms=pane_ms,
            stats=stats,
            cells=cells,
            logs={name: (bins, counts, stats[name]) for name, (bins, counts) in logs.items()},
            categories=categories,
            counters={registry.names[s]: counts for s, counts in total.counters.items()},
            shares=self._by_hour(registry),
            sample_names=sample.names if sample is not None else (),
            sample=sample.values[order] if sample is not None else np.empty((0, 0), np.float32),
        )

    def _histograms(self, folded: Folded, registry: Registry) -> tuple[dict[str, Ints], dict[str, tuple[Ints, Ints]]]:
        """Quantity → counts in a baseline's bins, int64[24 or 1, 34]; quantity → LogHistogram."""
        cells: dict[str, Ints] = {}
        rows = HOURS if self.is_whole else 1
        by_hour = self._cells.fold() if self.is_whole else folded
        binned = cell.is_binned(by_hour.keys)
        number, bins = cell.series_of(by_hour.keys[binned]), cell.bins_of(by_hour.keys[binned])
        for one in np.unique(number // rows).tolist():
            own = number // rows == one
            table = cells[registry.names[one]] = np.zeros((rows, CELLS), np.int64)
            table[number[own] % rows, bins[own]] = by_hour.counts[binned][own]
        logs = {}
        loose = ~cell.is_binned(folded.keys)
        keys, counts, series = folded.keys[loose], folded.counts[loose], cell.series_of(folded.keys[loose])
        for one in np.unique(series).tolist():
            own = series == one
            logs[registry.names[one]] = (cell.bins_of(keys[own]).astype(np.int64), counts[own])
        return cells, logs

    def _by_hour(self, registry: Registry) -> dict[str, Ints]:
        """Quantity → counts int64[24, K] of its categories by the hour of the day; of those that are told by name."""
        places: dict[int, dict[str, int]] = {}
        for number, counts in self._shares.items():
            own = places.setdefault(number // HOURS, {})
            for value in counts:
                own.setdefault(value, len(own))
        found = {s: np.zeros((HOURS, len(own)), np.int64) for s, own in places.items() if OTHER not in own}
        for number, counts in self._shares.items():
            series, hour = divmod(number, HOURS)
            if series in found:
                for value, count in counts.items():
                    found[series][hour, places[series][value]] = count
        return {registry.names[series]: table for series, table in found.items()}

    def to_parts(self) -> dict[str, Any]:
        """Plain data, for msgpack."""
        hours = self.hours
        return {
            "target": self.target,
            "whole": self.is_whole,
            "recut": self.may_recut,
            "hours": [getattr(hours, name) for name in Hours.__slots__],
            "rows": self.rows.to_parts(),
            "total": self._total.to_parts(),
            "cells": self._cells.to_parts(),
            "shares": self._shares.to_parts(),
        }

    @classmethod
    def from_parts(cls, parts: dict[str, Any], categories: int) -> Self:
        """The course :meth:`to_parts` was taken of."""
        total = Rollup.from_parts(parts["total"], categories)
        course = cls(total.family, categories, parts["target"], is_whole=parts["whole"])
        course.may_recut = parts["recut"]
        course.hours = Hours(*parts["hours"])
        course.rows = EvenRows.from_parts(parts["rows"])
        course._total = total
        course._cells = RollupSums.from_parts(parts["cells"])
        course._shares = Tallies.from_parts(parts["shares"], _SHARES)
        return course


def _bare(sample: Sample, at: Ints) -> Sample:
    """Some rows of a sample, without the ids of their events."""
    return Sample(sample.names, sample.hash[at], sample.ts_ms[at], ("",) * len(at), sample.values[at])
