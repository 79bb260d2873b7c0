"""When windows close: the watermarks of one family's source partitions, and how far they let event time go."""

from dataclasses import dataclass, field
from typing import Any, Final, Self

import msgspec
from msgspec.structs import replace

from schemas.panes import Pane, Watermark
from schemas.scopes import Scope

Source = tuple[str, int]
"""(topic, partition)."""

NEVER: Final = -(2**60)
_MAX_NAMES: Final = 10_000
_SLEEPERS: Final = 2
"""Messages in a row that a worker can send about a partition it has lost before it learns that it has lost it."""


@dataclass(slots=True)
class Mark:
    """What a source partition last said of itself; ``behind`` messages since were of readers that had read less."""

    watermark_ms: int
    idle: bool
    horizon_ms: int
    position: int = 0
    behind: int = 0


_UNKNOWN: Final = Mark(NEVER, idle=False, horizon_ms=NEVER, position=-1)


@dataclass(slots=True)
class Closing:
    """The panes of one family that wait, and the watermarks that decide about them.

    Everything follows from the order of the messages in one partition of ``panes``: no clock, no size of a batch.

    Attributes
    ----------
    through_ms
        Windows of pane length that end at or before this are closed.
    marks, partitions
        What each source partition has said; how many each source topic has.
    waiting, first_offset
        Start → source and scope → pane; start → the lowest offset of ``panes`` that contributes to it.
    corrected
        Source → start and scope of its panes that came after their window closed and that it may send again: until
        its watermark passes them.
    names
        The tuples of names that panes share.
    """

    pane_ms: int
    through_ms: int = NEVER
    marks: dict[Source, Mark] = field(default_factory=dict)
    partitions: dict[str, int] = field(default_factory=dict)
    waiting: dict[int, dict[tuple[Source, Scope], Pane]] = field(default_factory=dict)
    first_offset: dict[int, int] = field(default_factory=dict)
    corrected: dict[Source, set[tuple[int, Scope]]] = field(default_factory=dict)
    names: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)

    def hold(self, pane: Pane, offset: int) -> None:
        """Keep a pane until its window closes; the same one again replaces it."""
        key = ((pane.source_topic, pane.source_partition), pane.scope)
        self.waiting.setdefault(pane.start_ms, {})[key] = self._lean(pane)
        self.first_offset.setdefault(pane.start_ms, offset)

    def _lean(self, pane: Pane) -> Pane:
        """The pane with names it shares with all others: decoded, they would take more room than its sums."""
        if len(self.names) > _MAX_NAMES:
            self.names.clear()
        numeric = replace(pane.numeric, names=self.names.setdefault(pane.numeric.names, pane.numeric.names))
        sample = replace(pane.sample, names=self.names.setdefault(pane.sample.names, pane.sample.names))
        return replace(pane, numeric=numeric, sample=sample)

    def take_late(self, pane: Pane) -> bool:
        """Note a pane of a closed window; False when it was sent before.

        A source that has died sends again what it sent last, and that was counted. What its watermark has passed was
        sent before in any case.
        """
        source = (pane.source_topic, pane.source_partition)
        mark = self.marks.get(source)
        if mark is not None and pane.start_ms + pane.size_ms <= mark.watermark_ms:
            return False
        seen = self.corrected.setdefault(source, set())
        key = (pane.start_ms, pane.scope)
        if key in seen:
            return False
        seen.add(key)
        return True

    def mark(self, message: Watermark) -> None:
        """Take in what a source partition says. A watermark never goes back: a new life begins behind the last one.

        Whether it is idle counts from whoever has read furthest. A worker that has lost the partition and does not know
        it yet would else call idle what its heir reads, or the other way round.
        """
        source = (message.source_topic, message.source_partition)
        known = self.marks.get(source, _UNKNOWN)
        watermark = max(message.watermark_ms, known.watermark_ms)
        # Who says so again and again is no sleeper: the source was made anew, and its offsets begin at 0.
        if message.position >= known.position or known.behind == _SLEEPERS:
            self.marks[source] = Mark(watermark, message.idle, message.horizon_ms, message.position)
        else:
            known.watermark_ms, known.behind = watermark, known.behind + 1
        if seen := self.corrected.pop(source, None):
            kept = {(start, scope) for start, scope in seen if start + self.pane_ms > watermark}
            if kept:
                self.corrected[source] = kept
        count = max(message.source_partitions, self.partitions.get(message.source_topic, 0))
        self.partitions[message.source_topic] = count

    def frontier_ms(self) -> int:
        """Event time that every source partition has passed or is idle about; ``NEVER`` while one has not spoken."""
        if len(self.marks) < sum(self.partitions.values()):
            return NEVER
        busy = [mark.watermark_ms for mark in self.marks.values() if not mark.idle]
        if busy:
            return min(busy)
        # All idle: everything they had is out, and time goes on at the pace of the clock.
        return max((max(mark.watermark_ms, mark.horizon_ms) for mark in self.marks.values()), default=NEVER)

    def to_parts(self) -> dict[str, Any]:
        """Plain data, for msgpack; the panes that wait are read again instead."""
        return {
            "through_ms": self.through_ms,
            "marks": [
                [*source, m.watermark_ms, m.idle, m.horizon_ms, m.position, m.behind]
                for source, m in self.marks.items()
            ],
            "partitions": self.partitions,
            "corrected": [[*source, sorted(seen)] for source, seen in self.corrected.items()],
        }

    @classmethod
    def from_parts(cls, parts: dict[str, Any], pane_ms: int) -> Self:
        """What :meth:`to_parts` was taken of."""
        marks = {(topic, partition): Mark(*rest) for topic, partition, *rest in parts["marks"]}
        corrected = {
            (topic, partition): {(start, msgspec.convert(scope, Scope)) for start, scope in seen}
            for topic, partition, seen in parts.get("corrected", ())
        }
        return cls(pane_ms, parts["through_ms"], marks, dict(parts["partitions"]), corrected=corrected)
