"""Learning baselines from a scope's first traffic."""

from dataclasses import dataclass
from typing import Any, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import baseline as building
from schemas.baselines import CELLS, Baseline
from schemas.scopes import INVALID, OTHER, Family
from streams.analyse.exact import by_scope, is_exact, whole_in_force
from streams.analyse.reference import References
from streams.analyse.registry import Registry
from streams.analyse.window import Rollup, Window
from streams.windows import cells as cell
from streams.windows.sums import Folded

Ints = NDArray[np.int64]

_WITHOUT: Final = frozenset({Family.GPU, Family.READ})
"""Families without baselines: limits of a machine are known, and reads are laid beside what the model was given."""


@dataclass(frozen=True, slots=True)
class LearnRules:
    """When a baseline is learned, and how much may be held while it is.

    ``rows`` and ``panes`` at least; ``max_rows`` of the reference sample; ``lead_ms`` of event time until it takes
    effect; ``budget_bytes`` for the samples of all scopes that learn at the same time: the others wait their turn.
    ``days`` are the whole days after which it is learned anew (:mod:`streams.analyse.days`).
    """

    rows: int = 2_000
    panes: int = 10
    max_rows: int = 5_000
    lead_ms: int = 60_000
    budget_bytes: int = 64 << 20
    days: tuple[int, ...] = (1, 7)


class Learner:
    """Gathers the first panes of scopes without a baseline, and makes one when there is enough.

    A whole's edges come from its row sample. A segment is counted in the bins of its whole, so it learns once its whole
    has a baseline in force, from exact counts: panes that ingest sent before it knew that baseline are passed over.
    """

    def __init__(self, rules: LearnRules, pane_ms: int, categories: int) -> None:
        self._rules = rules
        self._pane_ms = pane_ms
        self._categories = categories
        self._gathered: dict[int, Rollup] = {}
        self._panes: dict[int, int] = {}
        self._held_bytes = 0

    def observe(self, window: Window, registry: Registry, references: References, pending: set[int]) -> list[int]:
        """Take in a closed pane of all source partitions.

        Parameters
        ----------
        window
            The pane.
        pending
            Scopes for which a baseline is on its way.

        Returns
        -------
        The scopes that have enough now.
        """
        ready = []
        chosen = [s for s in window.rows if self._learns(s, registry, references, pending)]
        if not chosen:
            return []
        folded = by_scope(window.fold(), registry, chosen)
        for scope in chosen:
            whole = whole_in_force(scope, registry, references)
            layout = window.layouts.get(scope, "")
            if whole is not None and not is_exact(folded[scope], whole, layout, registry, references):
                continue
            gathered = self._gathered.get(scope)
            if gathered is None:
                gathered = self._gathered[scope] = Rollup(
                    window.family, window.start_ms, window.size_ms, self._categories
                )
            gathered.merge_scope(window, scope, folded[scope], registry.series_of(scope))
            self._panes[scope] = self._panes.get(scope, 0) + 1
            gathered.limit_samples(self._rules.max_rows)
            if self._panes[scope] >= self._rules.panes and gathered.rows[scope] >= self._rules.rows:
                ready.append(scope)
        self._measure()
        return ready

    def build(self, scope: int, effective_from_ms: int, registry: Registry, references: References) -> Baseline | None:
        """The baseline of a scope that has enough; None when nothing of it can be compared."""
        gathered, panes = self._gathered.pop(scope), self._panes.pop(scope)
        who = registry.scopes[scope]
        if who is None:
            return None
        sample = gathered.sample(scope, self._rules.max_rows)
        whole = whole_in_force(scope, registry, references)
        logs, binned = _histograms(gathered.fold(), registry)
        baseline = building.build(
            who,
            built_from=f"first traffic, {gathered.rows[scope]} events",
            effective_from_ms=effective_from_ms,
            pane_ms=self._pane_ms,
            panes=panes,
            rows=gathered.rows[scope],
            sample_names=sample.names if sample else (),
            # How its quantities stray is told by their order in time; the rows of a sample lie by their hashes.
            sample=sample.values[np.argsort(sample.ts_ms, kind="stable")] if sample else None,
            log_histograms=logs,
            categories={registry.names[s]: counts for s, counts in gathered.texts.items()},
            counters={registry.names[s]: counts for s, counts in gathered.counters.items()},
            learned_days=0,
        )
        if whole is not None:
            baseline = _with_cells(baseline, whole, references, gathered.fold(), binned, registry)
        return baseline

    def forget(self, scope: int) -> None:
        """A scope is gone, or has a baseline from elsewhere."""
        self._gathered.pop(scope, None)
        self._panes.pop(scope, None)

    def to_parts(self) -> dict[str, Any]:
        """Plain data, for msgpack."""
        return {"gathered": {s: w.to_parts() for s, w in self._gathered.items()}, "panes": self._panes}

    @classmethod
    def from_parts(cls, parts: dict[str, Any], rules: LearnRules, pane_ms: int, categories: int) -> Self:
        """The learner :meth:`to_parts` was taken of."""
        learner = cls(rules, pane_ms, categories)
        learner._gathered = {s: Rollup.from_parts(w, categories) for s, w in parts["gathered"].items()}
        learner._panes = dict(parts["panes"])
        learner._measure()
        return learner

    def _learns(self, scope: int, registry: Registry, references: References, pending: set[int]) -> bool:
        who = registry.scopes[scope]
        if who is None or scope in references.baseline or scope in pending:
            return False
        if who.family in _WITHOUT or who.model in (INVALID, OTHER) or who.segment == OTHER:
            return False
        if scope in self._gathered:
            return True
        if who.segment:
            whole = registry.find(who.whole)
            return whole is not None and whole in references.baseline
        return self._held_bytes < self._rules.budget_bytes

    def _measure(self) -> None:
        held = (sample for w in self._gathered.values() for samples in w.samples.values() for sample in samples)
        self._held_bytes = sum(sample.values.nbytes for sample in held)


def _histograms(folded: Folded, registry: Registry) -> tuple[dict[str, Any], set[str]]:
    """Quantity → (bins, counts, stats) of LogHistograms; the names of those counted in a baseline's bins."""
    logs: dict[str, Any] = {}
    tight: set[str] = set()
    series = cell.series_of(folded.keys)
    is_binned = cell.is_binned(folded.keys)
    for number, stats in zip(folded.ids.tolist(), folded.stats, strict=True):
        own = series == number
        name = registry.names[number]
        if is_binned[own].any():
            tight.add(name)
            continue
        logs[name] = (cell.bins_of(folded.keys[own]), folded.counts[own], stats)
    return logs, tight


def _with_cells(
    baseline: Baseline, whole: int, references: References, folded: Folded, names: set[str], registry: Registry
) -> Baseline:
    """Replace the binned quantities of a segment's baseline by exact counts in its whole's bins."""
    edges, wander = references.edges(whole, registry), references.wander(whole, registry)
    numeric = {q.name: q for q in baseline.numeric if q.name not in edges}
    series = cell.series_of(folded.keys)
    for number, stats in zip(folded.ids.tolist(), folded.stats, strict=True):
        name = registry.names[number]
        if name not in names or name not in edges:
            continue
        own = series == number
        counts = np.zeros(CELLS, np.int64)
        np.add.at(counts, cell.bins_of(folded.keys[own]), folded.counts[own])
        cut = np.frombuffer(edges[name], "<f8")
        numeric[name] = building.from_cells(name, stats, cut, counts, wander.get(name, ()))
    ordered = tuple(numeric[name] for name in sorted(numeric))
    return building.identified(msgspec.structs.replace(baseline, numeric=ordered))
