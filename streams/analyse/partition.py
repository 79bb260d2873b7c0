"""One partition of ``panes``: a fold over its messages, in their order, and nothing else.

Closing, roll-ups, learning and detectors follow from the log alone. A snapshot says at which offset it stands; a later
life that loads it and reads on from the committed offset is in the same state when it has come to that offset again,
and says the same about what follows.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.protocol import Role, WindowBatch
from detectors.seasonal.expectation import HOUR_MS
from detectors.slo.burn import SloParams
from schemas.baselines import Baseline
from schemas.findings import Finding, Progress
from schemas.panes import Pane, PaneMessage, Watermark
from schemas.rows import RowBatch
from schemas.scopes import Family, Scope
from streams.analyse.ages import Ages
from streams.analyse.baselining import Baselining
from streams.analyse.batch import BatchBuilder
from streams.analyse.closing import NEVER
from streams.analyse.families import Families, FamilyState
from streams.analyse.learner import LearnRules
from streams.analyse.pairing import SIDES, Pairing
from streams.analyse.registry import Registry
from streams.analyse.rows import RowWriter, late_part
from streams.analyse.served import Served
from streams.analyse.window import PaneWindow, Window

SIZES_MS: Final = (60_000, 300_000, 3_600_000)
"""The roll-ups; those that are no longer than a pane are left out."""
STATE_VERSION: Final = 2
_READABLE: Final = (1, 2)
"""Version 1 kept all cells of a roll-up sparse; it is read as well."""
MAX_EMPTY_MS: Final = 3_600_000
"""How long windows without any pane are stepped through; a longer gap in event time is jumped."""

Output = RowBatch | Finding | Progress | Baseline


@dataclass(frozen=True, slots=True)
class AnalyseRules:
    """Sizes and caps. ``scopes`` per partition of ``panes``; ``categories`` per feature; ``sample_rows`` per window.

    ``objectives`` are those whose series are numbered.
    """

    pane_ms: int = 10_000
    scopes: int = 1_000
    categories: int = 100
    sample_rows: int = 256
    learn: LearnRules = field(default_factory=LearnRules)
    objectives: SloParams = field(default_factory=SloParams)


class Bench(Protocol):
    """All detectors of one partition, and what decides about their scores."""

    sizes_ms: frozenset[int]
    paired_ms: int
    """Length of the windows in which reads are laid beside the predictions of who read."""

    def wants(self, size_ms: int) -> frozenset[Role]:
        """The numeric quantities that are looked at in windows of this size; none: the window is not stepped."""
        ...

    def wants_sample(self, scope: Scope) -> bool:
        """Whether a detector is fitted on a scope's reference rows."""
        ...

    def step(self, batch: WindowBatch, version: int, baseline_ids: list[str]) -> Iterator[RowBatch | Finding]:
        """Score a window, and say what was found."""
        ...

    def rebase(self, scope: int, baseline: Baseline) -> None:
        """A scope has a new baseline."""
        ...

    def forget(self, scope: int, series: NDArray[np.int64]) -> None:
        """A scope is gone."""
        ...

    def to_parts(self) -> Mapping[str, bytes]:
        """Plain data, for msgpack."""
        ...

    def load_parts(self, parts: Mapping[str, bytes]) -> None:
        """Take over what :meth:`to_parts` gave."""
        ...


class AnalysePartition:
    """The state of one partition of ``panes``.

    Parameters
    ----------
    number
        The partition.
    rules
        Sizes and caps.
    bench
        The detectors.

    Attributes
    ----------
    offset
        The next offset: everything before it is in the state.
    closed, late_panes
        Windows closed by their length in ms, and panes that came after; for metrics, whose reader clears them.
    """

    def __init__(self, number: int, rules: AnalyseRules, bench: Bench) -> None:
        self.number = number
        self.offset = 0
        self.late_panes = 0
        self.closed: Counter[int] = Counter()
        self._rules, self._bench = rules, bench
        self._sizes = tuple(size for size in SIZES_MS if size > rules.pane_ms)
        self.registry = Registry(rules.scopes)
        self._families = Families(rules.pane_ms, rules.categories, rules.sample_rows)
        self._ages = Ages()
        self._served = Served()
        self._pairing = Pairing()
        self._wire()

    def _wire(self) -> None:
        rules = self._rules
        self._baselining = Baselining(self.registry, rules.learn, rules.pane_ms, rules.categories, self._bench)
        references = self._baselining.references
        self._builder = BatchBuilder(self.registry, references, rules.sample_rows, rules.objectives)
        self._rows = RowWriter(self.registry, references)

    @property
    def pane_ms(self) -> int:
        """Length of a pane."""
        return self._rules.pane_ms

    # -- messages ----------------------------------------------------------------------------------------------------

    def take(self, message: PaneMessage, offset: int) -> Iterator[Output]:
        """Fold one message in; what follows from it comes out, in order."""
        replayed = offset < self.offset
        self.offset = max(self.offset, offset + 1)
        if isinstance(message, Watermark):
            if not replayed:
                family = Family(message.family)
                self._families.of(family).closing.mark(message)
                yield from self._close(family)
            return
        closing = self._families.of(message.scope.family.timeline).closing
        if message.start_ms + message.size_ms > closing.through_ms:
            closing.hold(message, offset)
        elif not replayed and closing.take_late(message):
            yield from self._correct(message)

    def committable(self) -> int:
        """The lowest offset that a later life has to read, once the state is saved."""
        return min((o for f in self._families.all() for o in f.closing.first_offset.values()), default=self.offset)

    def through_ms(self) -> int:
        """Event time through which the first family is closed, for metrics; ``NEVER`` at the start."""
        return max((f.closing.through_ms for f in self._families.all()), default=NEVER)

    @property
    def open_windows(self) -> int:
        """How many windows, of all lengths and families, are not closed yet."""
        return sum(len(state.rollups) + len(state.closing.waiting) for state in self._families.all())

    def offer(self, baseline: Baseline) -> bool:
        """Take in a baseline from elsewhere; whether it is news. It takes effect at the pane it names, or the next."""
        return self._baselining.offer(baseline)

    def _correct(self, pane: Pane) -> Iterator[Output]:
        """Count a pane that came after its window closed.

        For the windows that are closed its numbers are rows beside theirs; the shortest that is open takes it in.
        """
        self.late_panes += 1
        family = pane.scope.family.timeline
        state = self._families.of(family)
        for level, size in enumerate((self._rules.pane_ms, *self._sizes), -1):
            start = pane.start_ms // size * size
            window = PaneWindow(family, start, size, self._rules.categories)
            window.add(pane, self.registry)
            if window.end_ms > state.closing.through_ms:
                state.into_rollup(window, self._sizes[level], sampled=level == 0)
                return
            part = late_part(pane.source_partition, pane.start_ms, start, self._rules.pane_ms)
            yield from self._rows.window(window, self.offset, part)

    # -- closing -----------------------------------------------------------------------------------------------------

    def _close(self, family: Family) -> Iterator[Output]:
        state = self._families.of(family)
        closing, size = state.closing, self._rules.pane_ms
        frontier = closing.frontier_ms()
        if frontier == NEVER:
            return
        if closing.through_ms == NEVER:
            if not closing.waiting:
                return
            # A source that is behind the others may have sent no pane yet: those it will send begin at its watermark.
            closing.through_ms = min(*closing.waiting, frontier // size * size)
        before = closing.through_ms
        while closing.through_ms + size <= frontier:
            start = closing.through_ms
            if closing.waiting.get(start) is None and state.empty_ms >= MAX_EMPTY_MS:
                yield from self._jump(state, min(min(closing.waiting, default=frontier), frontier) // size * size)
                continue
            state.empty_ms = 0 if start in closing.waiting else state.empty_ms + size
            yield from self._close_pane(family, state, start)
            closing.through_ms = start + size
        if closing.through_ms > before:
            yield Progress(self.number, closing.through_ms, family.value)
            if family in SIDES and self.registry.has(Family.READ):
                # Reads are looked at once the predictions beside them are closed too.
                yield Progress(self.number, self._families.through_ms(SIDES), Family.READ.value)

    def _jump(self, state: FamilyState, target: int) -> Iterator[Output]:
        """Nothing for an hour and nothing up to ``target``: go there at once."""
        for level, size in enumerate(self._sizes):
            if size in state.rollups:
                yield from self._flush(state, level)
        state.empty_ms = 0
        state.closing.through_ms = max(target, state.closing.through_ms + self._rules.pane_ms)

    def _close_pane(self, family: Family, state: FamilyState, start: int) -> Iterator[Output]:
        window = PaneWindow(family, start, self._rules.pane_ms, self._rules.categories)
        closing = state.closing
        closing.first_offset.pop(start, None)
        self.closed[window.size_ms] += 1
        for pane in closing.waiting.pop(start, {}).values():
            window.add(pane, self.registry)
        self._ages.see(window)
        self._baselining.take_effect(start)
        yield from self._rows.window(window, self.offset)
        yield from self._baselining.learn(window, self.offset)
        yield from self._step(window)
        yield from self._roll_up(state, window)

    def _roll_up(self, state: FamilyState, part: Window, level: int = 0) -> Iterator[Output]:
        """Add a closed window to the one of the next size, and close that one when it is complete."""
        size = self._sizes[level]
        start = part.start_ms // size * size
        if size in state.rollups and state.rollups[size].start_ms != start:
            yield from self._flush(state, level)
        whole = state.into_rollup(part, size, sampled=level == 0)
        if part.end_ms >= whole.end_ms:
            yield from self._flush(state, level)

    def _flush(self, state: FamilyState, level: int) -> Iterator[Output]:
        window = state.rollups.pop(self._sizes[level])
        self.closed[window.size_ms] += 1
        yield from self._rows.window(window, self.offset)
        yield from self._step(window)
        yield from self._pair(window)
        if level == 0:
            self._baselining.sample(window)
        if window.size_ms == HOUR_MS:
            yield from self._baselining.follow(window, self.offset)
        if level == 0:
            self._evict(window)
        if level + 1 < len(self._sizes):
            yield from self._roll_up(state, window, level + 1)

    def _step(self, window: Window) -> Iterator[Output]:
        roles = self._bench.wants(window.size_ms)
        if window.size_ms not in self._bench.sizes_ms:
            return
        scopes = [n for n, scope in self.registry.known() if scope.family is window.family and self._ages.knows(n)]
        if not scopes:
            return
        age = self._ages.windows(scopes, window.start_ms, window.size_ms)
        batch = self._served.joined(self._builder.build(window, scopes, age, roles))
        ids = [b.id if (b := self._baselining.references.baseline.get(n)) else "" for n in scopes]
        for output in self._bench.step(batch, self.offset, ids):
            if isinstance(output, Finding):
                self._baselining.heed(output)
            yield output

    def _pair(self, window: Window) -> Iterator[Output]:
        """Lay reads beside predictions, once both have closed a window."""
        batch = self._pairing.take(window, self.registry) if window.size_ms == self._bench.paired_ms else None
        if batch is not None:
            yield from self._bench.step(batch, self.offset, [""] * len(batch.scopes.key))

    def _evict(self, window: Window) -> None:
        """Forget scopes of a window's family that were silent for too long."""
        for scope in self._ages.take_silent(window.end_ms, window.family, self.registry):
            self._baselining.forget(scope)
            self._bench.forget(scope, self.registry.drop(scope))
            self._builder.reset_roles()

    # -- state -------------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """The state, for :meth:`restore`: msgpack, never a pickle."""
        return msgspec.msgpack.encode(
            {
                "version": STATE_VERSION,
                "offset": self.offset,
                "registry": self.registry.to_parts(),
                "families": self._families.to_parts(),
                "baselines": self._baselining.to_parts(),
                "ages": self._ages.to_parts(),
                "served": self._served.to_parts(),
                "pairing": self._pairing.to_parts(),
                "bench": self._bench.to_parts(),
            }
        )

    def restore(self, raw: bytes, baselines: dict[str, Baseline]) -> list[str]:
        """Take over a snapshot.

        Parameters
        ----------
        raw
            What :meth:`snapshot` gave.
        baselines
            By id: all that were ever published.

        Returns
        -------
        The ids of baselines that are missing; their scopes learn anew.

        Raises
        ------
        msgspec.ValidationError
            If the snapshot is of another version.
        """
        parts = _decode(raw)
        rules = self._rules
        self.offset = parts["offset"]
        self.registry = Registry.from_parts(parts["registry"], rules.scopes)
        self._wire()
        self._families.load_parts(parts["families"])
        self._ages.load_parts(parts["ages"])
        self._served.load_parts(parts.get("served", {}))
        self._pairing.load_parts(parts.get("pairing", {}))
        self._bench.load_parts(parts["bench"])
        return self._baselining.load_parts(parts["baselines"], baselines)


def _decode(raw: bytes) -> dict[str, Any]:
    parts: dict[str, Any] = msgspec.msgpack.decode(raw, strict=False)
    if parts.get("version") not in _READABLE:
        raise msgspec.ValidationError(
            f"snapshot of version {parts.get('version')}, this reader knows {', '.join(map(str, _READABLE))}: "
            "finish the upgrade, or empty the state topic to begin without state"
        )
    return parts
