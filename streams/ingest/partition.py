"""One source partition: lateness, watermark, open panes, and what may be committed.

This is rule 2 of the design ("commit the past, never the present") and nothing else; the executable model of the rule
runs beside it in the tests. Everything here follows from the order of offsets alone, with two exceptions that are made
durable before they have an effect: the position that was reached (``Commit.position``) and the idle close
(``Commit.idle_offset``, ``Commit.idle_watermark_ms``), which from its offset on moves the watermark as an event would.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from schemas.codecs.hashes import of_texts
from schemas.columns import Decoded, EventColumns
from schemas.panes import Pane
from schemas.scopes import Family
from streams.binnings import BinningIndex
from streams.ingest.pane import OpenPane, PaneKey
from streams.ingest.scoping import PaneLimits
from streams.windows.samples import row_hash

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

NEVER: Final = -(2**60)
"""Before all event times: the watermark of a partition of which nothing was read."""
_WITH_IDS: Final = frozenset({Family.PREDICTION, Family.FEATURE})
"""Whose events have ids."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What is committed for a source partition: the offset, and the rest as commit metadata.

    Attributes
    ----------
    offset
        The lowest offset that contributes to a pane that is not out, or the next one to read.
    watermark_ms
        The watermark just before that offset.
    emitted_through_ms
        Panes that end at or before this are out.
    position
        The highest offset reached so far, exclusive; it never goes back.
    idle_offset, idle_watermark_ms
        From this offset on the watermark is at least this: the partition was idle there. -1 when it never was.
    """

    offset: int = 0
    watermark_ms: int = NEVER
    emitted_through_ms: int = NEVER
    position: int = 0
    idle_offset: int = -1
    idle_watermark_ms: int = NEVER

    _FORMAT = "h1"

    def to_metadata(self) -> str:
        """The commit metadata, a short text."""
        numbers = (self.watermark_ms, self.emitted_through_ms, self.position, self.idle_offset, self.idle_watermark_ms)
        return ";".join((self._FORMAT, *map(str, numbers)))

    @classmethod
    def from_metadata(cls, offset: int, metadata: str) -> Self:
        """What was committed with ``offset``.

        Raises
        ------
        ValueError
            If the metadata was not written by this stage: then nothing tells which panes are out.
        """
        version, *numbers = metadata.split(";")
        if version != cls._FORMAT or len(numbers) != 5:
            raise ValueError(
                f"commit metadata {metadata[:80]!r} is not of the form {cls._FORMAT};… of the ingest stage"
            )
        return cls(offset, *map(int, numbers))


@dataclass(frozen=True, slots=True)
class Source:
    """Which partition, and the rules of its event time."""

    family: Family
    topic: str
    partition: int
    pane_ms: int
    bound_ms: int


@dataclass(slots=True)
class _Undated:
    """Undecodable messages that came before any event: nothing tells yet which pane is theirs."""

    first_offset: int
    last_ms: int
    reasons: Counter[str]
    watermark_ms: int = NEVER


class PartitionIngest:
    """The open panes of one source partition.

    Parameters
    ----------
    source
        The partition and its times.
    commit
        Where the last life stopped; ``Commit()`` for the first.
    limits, binnings
        Caps of a pane, and the bins in force.
    """

    def __init__(self, source: Source, commit: Commit, limits: PaneLimits, binnings: BinningIndex) -> None:
        self.source = source
        self.watermark_ms = commit.watermark_ms
        self.emitted_through_ms = commit.emitted_through_ms
        self.max_ts_ms = NEVER
        self.late = 0
        self.capped: Counter[str] = Counter()
        self._offset = commit.offset
        self._seen_before = commit.position
        self._idle_offset = commit.idle_offset
        self._idle_watermark_ms = commit.idle_watermark_ms
        self._limits = limits
        self._binnings = binnings
        self._open: dict[int, OpenPane] = {}
        self._undated: _Undated | None = None

    @property
    def has_open_panes(self) -> bool:
        """Whether events wait for the watermark to pass them."""
        return bool(self._open) or self._undated is not None

    @property
    def open_panes(self) -> int:
        """How many panes wait for the watermark."""
        return len(self._open)

    def seen_before(self, offset: int) -> bool:
        """Whether an earlier life has read this offset, and sent its dead letter if it had one."""
        return offset < self._seen_before

    def add(self, decoded: Decoded, offsets: Ints, timestamps_ms: Ints) -> None:
        """Count the events of a micro-batch.

        Parameters
        ----------
        decoded
            What the decoder made of the batch's records.
        offsets, timestamps_ms
            int64[r] each: offset and append time of every record, ascending offsets.
        """
        columns = decoded.columns
        before = self._advance(columns) if len(columns) else np.empty(0, np.int64)
        if decoded.dead:
            # Before the events: what could not be decoded ahead of the first event ever waits for its watermark.
            self._count_dead(decoded, offsets, timestamps_ms, before)
        if len(columns):
            self._date(int(columns.ts_ms[0]) - self.source.bound_ms)
            if self._idle_offset >= 0:
                idle = offsets[columns.record] >= self._idle_offset
                np.maximum(before, self._idle_watermark_ms, out=before, where=idle)
            self._sort_in(columns, offsets, before)
        if len(offsets):
            self._offset = int(offsets[-1]) + 1
            self._catch_idle(self._offset)

    def closed(self) -> list[Pane]:
        """Take out the panes that the watermark has passed, in order of their time."""
        ready = sorted(start for start, pane in self._open.items() if pane.key.end_ms <= self.watermark_ms)
        panes: list[Pane] = []
        for start in ready:
            pane = self._open.pop(start)
            panes += pane.panes()
            self.capped += pane.capped()
        if self.watermark_ms > NEVER:
            size = self.source.pane_ms
            self.emitted_through_ms = max(self.emitted_through_ms, self.watermark_ms // size * size)
        return panes

    def commit(self) -> Commit:
        """What may be committed once everything that :meth:`closed` returned is acknowledged."""
        held: OpenPane | _Undated | None = min(self._open.values(), key=lambda pane: pane.first_offset, default=None)
        if self._undated and (held is None or self._undated.first_offset < held.first_offset):
            held = self._undated
        return Commit(
            held.first_offset if held else self._offset,
            held.watermark_ms if held else self.watermark_ms,
            self.emitted_through_ms,
            max(self._offset, self._seen_before),
            self._idle_offset,
            self._idle_watermark_ms,
        )

    def plan_idle(self) -> Commit | None:
        """What to commit **before** an idle close takes effect; None when there is nothing to close.

        The close is a watermark beyond every open pane from the current offset on. Once that is durable, every later
        life decides the same about the events that follow.
        """
        now = self.commit()
        # One idle close at a time: an earlier one is forgotten only once nothing before it will be read again.
        if self._offset < self._seen_before or now.offset < self._idle_offset:
            return None
        ends = [pane.key.end_ms for pane in self._open.values()]
        if self._undated:
            ends.append((self._undated.last_ms // self.source.pane_ms + 1) * self.source.pane_ms)
        if not ends:
            return None
        return replace(now, idle_offset=self._offset, idle_watermark_ms=max(ends))

    def close_idle(self, plan: Commit) -> None:
        """Let the plan take effect: :meth:`closed` then returns every open pane."""
        self._idle_offset, self._idle_watermark_ms = plan.idle_offset, plan.idle_watermark_ms
        self._catch_idle(self._offset)

    # -- event time --------------------------------------------------------------------------------------------------

    def _advance(self, columns: EventColumns) -> Ints:
        """Move the watermark over the batch; the watermark before each event, int64[n], idle closes not regarded."""
        reach = np.maximum.accumulate(columns.ts_ms) - self.source.bound_ms
        before = np.empty(len(reach), np.int64)
        before[0] = self.watermark_ms
        np.maximum(reach[:-1], self.watermark_ms, out=before[1:])
        self.watermark_ms = max(self.watermark_ms, int(reach[-1]))
        self.max_ts_ms = max(self.max_ts_ms, int(reach[-1]) + self.source.bound_ms)
        return before

    def _catch_idle(self, offset: int) -> None:
        if 0 <= self._idle_offset <= offset:
            self.watermark_ms = max(self.watermark_ms, self._idle_watermark_ms)
            self._date(self._idle_watermark_ms - 1)

    # -- panes -------------------------------------------------------------------------------------------------------

    def _sort_in(self, columns: EventColumns, offsets: Ints, before: Ints) -> None:
        size = self.source.pane_ms
        start = columns.ts_ms // size * size
        offset = offsets[columns.record]
        late = start + size <= before
        out = ~late & (start + size <= self.emitted_through_ms)
        late |= out & (offset >= self._seen_before)
        hashes = row_hash(self.source.partition, offset, columns.index)
        ids = of_texts(columns.event_id) if self._limits.sample_ids and self.source.family in _WITH_IDS else None
        usable = ~(late | out)
        for pane_start in _distinct(start[usable]):
            mask = usable & (start == pane_start)
            self._pane_of(pane_start, mask, columns, offset, before).add(columns, mask, hashes, ids)
        if late.any():
            self._count_late(columns, late, offset, before)

    def _count_late(self, columns: EventColumns, late: Bools, offset: Ints, before: Ints) -> None:
        size = self.source.pane_ms
        start = before // size * size
        # A pane that an earlier life has sent holds the late events that life has read; others go to the next pane.
        sent = start + size <= self.emitted_through_ms
        late = late & ~(sent & (offset < self._seen_before))
        start = np.where(sent, self.emitted_through_ms, start)
        self.late += int(late.sum())
        for pane_start in _distinct(start[late]):
            mask = late & (start == pane_start)
            self._pane_of(pane_start, mask, columns, offset, before).add_late(columns, mask)

    def _pane_of(self, start: int, mask: Bools, columns: EventColumns, offset: Ints, before: Ints) -> OpenPane:
        first = int(np.argmax(mask))
        # A restart reads whole messages: the watermark is the one before the message's first event.
        head = int(np.searchsorted(columns.record, columns.record[first]))
        return self._pane(start, int(offset[first]), int(before[head]))

    def _pane(self, start: int, offset: int, watermark_ms: int) -> OpenPane:
        pane = self._open.get(start)
        if pane is None:
            source = self.source
            key = PaneKey(source.family, source.topic, source.partition, start, source.pane_ms)
            pane = self._open[start] = OpenPane(key, offset, watermark_ms, self._limits, self._binnings)
        elif offset < pane.first_offset:
            pane.first_offset, pane.watermark_ms = offset, watermark_ms
        return pane

    def _count_dead(self, decoded: Decoded, offsets: Ints, timestamps_ms: Ints, before: Ints) -> None:
        """Count undecodable messages in the pane of the watermark at their arrival."""
        heads = np.searchsorted(decoded.columns.record, [dead.record for dead in decoded.dead])
        for dead, head in zip(decoded.dead, heads.tolist(), strict=True):
            offset = int(offsets[dead.record])
            watermark = int(before[head]) if head < len(before) else self.watermark_ms
            if 0 <= self._idle_offset <= offset:
                watermark = max(watermark, self._idle_watermark_ms)
            if watermark == NEVER:
                self._keep_undated(offset, int(timestamps_ms[dead.record]), dead.reason, dead.events)
                continue
            size = self.source.pane_ms
            start = watermark // size * size
            if start + size <= self.emitted_through_ms:
                if offset < self._seen_before:
                    continue
                start = self.emitted_through_ms
            self._pane(start, offset, watermark).add_invalid(dead.reason, dead.events)

    def _keep_undated(self, offset: int, timestamp_ms: int, reason: str, events: int) -> None:
        if self._undated is None:
            self._undated = _Undated(offset, timestamp_ms, Counter())
        self._undated.last_ms = timestamp_ms
        self._undated.reasons[reason] += events

    def _date(self, watermark_ms: int) -> None:
        """Count what came before any event in the pane of the first watermark there is."""
        undated, self._undated = self._undated, None
        if undated is None:
            return
        size = self.source.pane_ms
        pane = self._pane(watermark_ms // size * size, undated.first_offset, undated.watermark_ms)
        for reason, events in undated.reasons.items():
            pane.add_invalid(reason, events)


def _distinct(numbers: Ints) -> list[int]:
    """The distinct numbers, ascending, of int64[n] in which equal ones mostly follow each other."""
    heads = np.append(True, numbers[1:] != numbers[:-1])
    found: list[int] = np.unique(numbers[heads[: len(numbers)]]).tolist()
    return found
