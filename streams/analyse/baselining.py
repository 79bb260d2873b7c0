"""Baselines on their way: learned or offered, waiting for their pane, in force."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec

from detectors.days import Before, rebuilt
from schemas.baselines import Baseline
from schemas.findings import Finding
from schemas.rows import RowBatch
from schemas.scopes import Scope
from streams.analyse.days import Days
from streams.analyse.learner import Learner, LearnRules
from streams.analyse.reference import References
from streams.analyse.registry import Registry
from streams.analyse.rows import baseline_rows
from streams.analyse.window import Window


class Fitted(Protocol):
    """What is told of a new baseline."""

    def wants_sample(self, scope: Scope) -> bool:
        """Whether a detector is fitted on a scope's reference rows."""
        ...

    def rebase(self, scope: int, baseline: Baseline) -> None:
        """A scope has a new baseline."""
        ...


class Baselining:
    """The baselines of one partition of ``panes``.

    Attributes
    ----------
    references
        Those in force.
    """

    def __init__(self, registry: Registry, rules: LearnRules, pane_ms: int, categories: int, fitted: Fitted) -> None:
        self.references = References()
        self._registry, self._rules, self._pane_ms, self._categories = registry, rules, pane_ms, categories
        self._fitted = fitted
        self._learner = Learner(rules, pane_ms, categories)
        self._days = Days(rules.days, rules.rows, rules.max_rows, categories)
        self._pending: dict[int, list[Baseline]] = {}
        self._offered: dict[Scope, list[Baseline]] = {}

    def offer(self, baseline: Baseline) -> bool:
        """Take in a baseline from elsewhere; whether it is news. That of a scope not known yet waits for the scope."""
        scope = self._registry.find(baseline.scope)
        if scope is None:
            self._wait_for(baseline.scope, [*self._offered.get(baseline.scope, ()), baseline])
            return False
        if self._has(scope, baseline):
            return False
        self._pending.setdefault(scope, []).append(baseline)
        return True

    def learn(self, window: Window, version: int) -> Iterator[RowBatch | Baseline]:
        """Learn from a closed pane; a scope that has shown enough gets its baseline, a lead of event time from here."""
        effective_ms = self._effective_ms(window)
        for scope in self._learner.observe(window, self._registry, self.references, self._on_the_way(effective_ms)):
            # Ingest has it in time for that pane, unless it works through a backlog: then such panes are out already,
            # counted in LogHistograms, and are spread over the bins as well as that goes.
            baseline = self._learner.build(scope, effective_ms, self._registry, self.references)
            if baseline is not None:
                yield from self._publish(scope, baseline, version)

    def heed(self, finding: Finding) -> None:
        """Take note of what is found in an hour that may teach."""
        self._days.heed(finding, self._registry)

    def sample(self, window: Window) -> None:
        """Take in the rows of a closed window of the shortest length that has any."""
        self._days.sample(window)

    def follow(self, window: Window, version: int) -> Iterator[RowBatch | Baseline]:
        """Learn from a closed hour; a scope that has shown whole days gets their baseline, as a learned one does."""
        effective_ms = self._effective_ms(window)
        for scope in self._days.observe(window, self._registry, self.references, self._on_the_way(effective_ms)):
            who = self._registry.scopes[scope]
            counted, words = self._days.take(scope, window.end_ms, self._pane_ms, self._registry)
            if who is not None:
                baseline, recut = rebuilt(
                    who, self._before(scope, who, effective_ms), counted, built_from=words,
                    effective_from_ms=effective_ms, may_recut=self._days.may_recut(scope),
                )  # fmt: skip
                self._days.advance(scope, recut=recut)
                yield from self._publish(scope, baseline, version)

    def _effective_ms(self, window: Window) -> int:
        size = self._pane_ms
        return (window.end_ms + self._rules.lead_ms) // size * size + size

    def _on_the_way(self, until_ms: int) -> set[int]:
        """The scopes with a baseline that takes effect by then, which is when one that is made now would.

        What an earlier life made of later events waits here too after a restart. It is not known yet: what is folded
        again makes the same of them, and of all other scopes what it made without a restart.
        """
        return {
            scope for scope, waiting in self._pending.items() if any(b.effective_from_ms <= until_ms for b in waiting)
        }

    def _publish(self, scope: int, baseline: Baseline, version: int) -> Iterator[RowBatch | Baseline]:
        kept = baseline if self._fitted.wants_sample(baseline.scope) else _bare(baseline)
        if not self._has(scope, baseline):
            self._pending.setdefault(scope, []).append(kept)
        yield baseline
        yield from baseline_rows(baseline, version)

    def _before(self, scope: int, who: Scope, until_ms: int) -> Before:
        """What a scope is compared with; its whole's straying is told by the newest that is known by now."""
        references, registry = self.references, self._registry
        whole = registry.find(who.whole) if who.segment else scope
        at = scope if whole is None else whole
        wander, shares = references.wander(at, registry), references.shares_wander(at)
        coming = [b for b in self._pending.get(at, ()) if b.effective_from_ms <= until_ms]
        if coming:
            newest = max(coming, key=lambda b: b.effective_from_ms)
            wander = {part.name: part.wander for part in newest.numeric if part.wander}
            shares = {part.name: part.wander for part in (*newest.categories, *newest.counters) if part.wander}
        return Before(
            layout=references.layout_of(scope, registry),
            learned_days=references.baseline[scope].learned_days,
            edges=references.edges(at, registry),
            cells=references.cells(at, registry),
            wander=wander,
            shares=shares,
        )

    def take_effect(self, start_ms: int) -> None:
        """Put in force what names the pane that starts at ``start_ms``, or one before it."""
        for scope in [s for s in self._offered if self._registry.find(s) is not None]:
            for baseline in self._offered.pop(scope):
                self.offer(baseline)
        for number in sorted(self._pending):
            waiting = self._pending.pop(number)
            due = [b for b in waiting if b.effective_from_ms <= start_ms]
            if due:
                self._adopt(number, max(due, key=lambda b: b.effective_from_ms))
            if len(due) < len(waiting):
                self._pending[number] = [b for b in waiting if b.effective_from_ms > start_ms]

    def forget(self, scope: int) -> None:
        """A scope is gone; must come before the registry drops it. Its baselines wait for it to come back.

        A model that rests over the weekend is compared with its week on Monday. A later life does the same: to it all
        baselines are offered that there are.
        """
        who = self._registry.scopes[scope]
        kept = [b for b in (self.references.baseline.get(scope), *self._pending.get(scope, ())) if b is not None]
        if who is not None and kept:
            self._wait_for(who, kept)
        self.references.drop(scope, self._registry)
        self._learner.forget(scope)
        self._days.forget(scope)
        self._pending.pop(scope, None)

    def _wait_for(self, scope: Scope, baselines: list[Baseline]) -> None:
        """Keep what a scope will find when it comes; of too many scopes, those with the newest baselines stay."""
        self._offered[scope] = baselines
        cap = self._registry.cap
        if len(self._offered) > 2 * cap:
            newest = sorted(self._offered, key=lambda s: max(b.effective_from_ms for b in self._offered[s]))[-cap:]
            self._offered = {each: self._offered[each] for each in newest}

    def to_parts(self) -> dict[str, Any]:
        """Plain data, for msgpack: baselines by their ids, for the topic keeps them."""
        return {
            "learner": self._learner.to_parts(),
            "days": self._days.to_parts(),
            "in_force": {scope: b.id for scope, b in self.references.baseline.items()},
            "pending": {scope: [b.id for b in waiting] for scope, waiting in self._pending.items()},
        }

    def load_parts(self, parts: Mapping[str, Any], known: Mapping[str, Baseline]) -> list[str]:
        """Take over what :meth:`to_parts` gave; the ids of baselines that ``known`` lacks: their scopes learn anew."""
        self._learner = Learner.from_parts(parts["learner"], self._rules, self._pane_ms, self._categories)
        self._days.load_parts(parts.get("days", {}))
        missing = []
        for scope, wanted in parts["in_force"].items():
            if wanted in known:
                self.references.put(scope, known[wanted], self._registry)
            else:
                missing.append(wanted)
                self._days.forget(scope)
        for scope, waiting in parts["pending"].items():
            missing += [wanted for wanted in waiting if wanted not in known]
            self._pending[scope] = [known[wanted] for wanted in waiting if wanted in known]
        return missing

    def _has(self, scope: int, baseline: Baseline) -> bool:
        current = self.references.baseline.get(scope)
        waiting = any(b.id == baseline.id for b in self._pending.get(scope, ()))
        return waiting or (current is not None and baseline.effective_from_ms <= current.effective_from_ms)

    def _adopt(self, scope: int, baseline: Baseline) -> None:
        who = self._registry.scopes[scope]
        if who is None:
            return
        whole = self._registry.find(who.whole) if who.segment else None
        if whole is not None and whole in self.references.baseline and not self._fits(baseline, whole):
            return
        before = self.references.baseline.get(scope)
        recut = not who.segment and (before is None or before.laid_out != baseline.laid_out)
        if recut:
            self._relearn_segments(who, baseline)
        self._days.adopt(scope, who, baseline, recut=recut)
        self._learner.forget(scope)
        self._fitted.rebase(scope, baseline)
        self.references.put(scope, baseline, self._registry)

    def _fits(self, segment: Baseline, whole: int) -> bool:
        """Whether a segment's baseline is cut by the edges of its whole's, which is in force."""
        own = {quantity.name: quantity.edges for quantity in segment.numeric if quantity.edges}
        return _within(own, self.references.edges(whole, self._registry))

    def _relearn_segments(self, whole: Scope, baseline: Baseline) -> None:
        """Segments are binned by their whole's edges: what they have in other edges cannot be compared any more."""
        wanted = {quantity.name: quantity.edges for quantity in baseline.numeric if quantity.edges}
        for number, scope in self._registry.known():
            if not scope.segment or scope.whole != whole:
                continue
            self._learner.forget(number)
            self._days.forget(number)
            if not _within(self.references.edges(number, self._registry), wanted):
                self.references.drop(number, self._registry)


def _within(own: Mapping[str, bytes], whole: Mapping[str, bytes]) -> bool:
    """Whether all edges that a segment has are its whole's."""
    return all(edges == whole.get(name) for name, edges in own.items())


def _bare(baseline: Baseline) -> Baseline:
    return msgspec.structs.replace(baseline, sample=b"", sample_names=())
