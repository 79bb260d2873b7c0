"""How far each family of events has come in a partition: what waits, and the longer windows that are open."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.scopes import Family
from streams.analyse.closing import Closing
from streams.analyse.window import Rollup, Window


@dataclass(slots=True)
class FamilyState:
    """One family: its watermarks and the panes that wait, its open windows by length, and how long it has been silent.

    ``categories`` and ``sample_rows`` are the caps of the windows.
    """

    closing: Closing
    categories: int
    sample_rows: int
    rollups: dict[int, Rollup] = field(default_factory=dict)
    empty_ms: int = 0

    def into_rollup(self, part: Window, size: int, *, sampled: bool) -> Rollup:
        """Add a closed window to the open one of ``size`` ms, with or without its samples."""
        whole = self.rollups.get(size)
        if whole is None:
            whole = self.rollups[size] = Rollup(part.family, part.start_ms // size * size, size, self.categories)
        whole.merge(part)
        if sampled:
            whole.take_samples(part)
            whole.limit_samples(self.sample_rows)
        return whole

    def to_parts(self) -> dict[str, Any]:
        """Plain data, for msgpack."""
        rollups = {size: window.to_parts() for size, window in self.rollups.items()}
        return {"closing": self.closing.to_parts(), "rollups": rollups, "empty_ms": self.empty_ms}


class Families:
    """All families of one partition of ``panes``, each of which closes its windows by its own watermarks."""

    def __init__(self, pane_ms: int, categories: int, sample_rows: int) -> None:
        self._pane_ms, self._categories, self._sample_rows = pane_ms, categories, sample_rows
        self._of: dict[Family, FamilyState] = {}

    def of(self, family: Family) -> FamilyState:
        """One of them; a new one at first sight."""
        state = self._of.get(family)
        if state is None:
            state = self._of[family] = FamilyState(Closing(self._pane_ms), self._categories, self._sample_rows)
        return state

    def all(self) -> Iterable[FamilyState]:
        """Those that were seen."""
        return self._of.values()

    def through_ms(self, families: Iterable[Family]) -> int:
        """Event time through which all of ``families`` are closed."""
        return min(self.of(family).closing.through_ms for family in families)

    def to_parts(self) -> dict[str, Any]:
        """Plain data, for msgpack."""
        return {family.value: state.to_parts() for family, state in self._of.items()}

    def load_parts(self, parts: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over what :meth:`to_parts` gave."""
        for name, own in parts.items():
            rollups = {s: Rollup.from_parts(w, self._categories) for s, w in own["rollups"].items()}
            closing = Closing.from_parts(own["closing"], self._pane_ms)
            state = FamilyState(closing, self._categories, self._sample_rows, rollups, own["empty_ms"])
            self._of[Family(name)] = state
