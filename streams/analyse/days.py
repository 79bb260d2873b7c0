"""Learning goes on: a baseline of a scope's first minutes is followed by one of its first day, and of its first week.

What teaches are whole hours of event time, exactly as they are stored. An hour in which something was broken (a page is
open, or data is missing or wrong) is passed over. Where more than a few hours of the day lack for it, the same hours of
the next day teach in their place, whatever happens in them: what goes on for a day is no longer an accident. Drift is
no reason, for beside a few minutes every rhythm has drifted.
"""

from collections.abc import Sequence
from typing import Any, Final

from detectors.days import DayCounts
from detectors.seasonal.expectation import HOUR_MS
from schemas.baselines import Baseline
from schemas.findings import Finding, Kind, Severity
from schemas.scopes import Scope
from streams.analyse.course import DAY_MS, Course, Hours
from streams.analyse.exact import by_scope, is_exact, whole_in_force
from streams.analyse.reference import References
from streams.analyse.registry import Registry
from streams.analyse.window import Window

_BROKEN: Final = frozenset({Kind.NULLS, Kind.SCHEMA, Kind.ERRORS, Kind.FRESHNESS, Kind.DUPLICATES, Kind.BAD_INPUT})
"""Kinds of findings under which an hour does not teach, though they may wait for the morning."""
_FAR_OUT: Final = "range"
_FAR_OUT_RATIO: Final = 0.25
"""Of a quantity's values far beyond all there were: another unit, a wrong join. A rhythm carries few of them there."""
_DRIFTED: Final = frozenset({Kind.DRIFT, Kind.SCORE_DRIFT, Kind.CATEGORY_DRIFT})
_MAX_LACKING: Final = 4
"""Hours of a day that may lack without being made up for: those beside them are like them."""
_MIN_HOURS: Final = 4
"""Hours of a day, on average, that must have had events."""
_ROWS_BYTES: Final = 8 << 20
"""For the rows of all wholes of a partition; with more of them each keeps fewer."""
_MIN_ROWS: Final = 200


class Days:
    """The scopes of a partition whose baselines were learned, on their way to the next one.

    Parameters
    ----------
    days
        After how many whole days a baseline is learned anew, ascending; none: never.
    min_rows, max_rows
        Events that a baseline takes; the most rows of its sample.
    categories
        The most per feature.
    """

    def __init__(self, days: Sequence[int], min_rows: int, max_rows: int, categories: int) -> None:
        self._days, self._min_rows, self._max_rows = tuple(days), min_rows, max_rows
        self._categories = categories
        self._courses: dict[int, Course] = {}
        self._broken: set[int] = set()
        self._drifted: set[int] = set()

    def heed(self, finding: Finding, registry: Registry) -> None:
        """Take note of what is found; until the hour ends it counts for it."""
        scope = registry.find(finding.scope)
        if scope is None or not finding.firing or finding.severity is Severity.INFO:
            return
        if finding.severity is Severity.PAGE or finding.kind in _BROKEN or _is_far_out(finding):
            self._broken.add(scope)
        elif finding.kind in _DRIFTED:
            self._drifted.add(scope)

    def sample(self, window: Window) -> None:
        """Take in the rows of a closed window of the shortest length that has any."""
        wholes = sum(course.is_whole for course in self._courses.values())
        for scope in window.sampled():
            course = self._courses.get(scope)
            rows = window.sample(scope, self._max_rows) if course is not None else None
            if course is not None and rows is not None:
                share = _ROWS_BYTES // (max(wholes, 1) * (4 * len(rows.names) + 16))
                course.rows.add(rows, min(self._max_rows, max(share, _MIN_ROWS)))

    def observe(self, window: Window, registry: Registry, references: References, pending: set[int]) -> list[int]:
        """Take in a closed hour of all source partitions.

        Returns
        -------
        The scopes that have shown enough whole days, wholes first.
        """
        if not self._days:
            return []
        for scope in sorted(window.rows.keys() - self._courses.keys() - pending):
            who, known = registry.scopes[scope], references.baseline.get(scope)
            if who is not None and known is not None:
                self.adopt(scope, who, known, recut=False)
        own = [s for s in self._courses if (who := registry.scopes[s]) and who.family is window.family]
        folded = by_scope(window.fold(), registry, [s for s in own if window.rows.get(s)])
        for scope in own:
            course, part = self._courses[scope], folded.get(scope)
            if part is None:
                # Of an hour without an event there is nothing to be made up for.
                course.hours.passed &= ~_bit(window)
                continue
            whole = whole_in_force(scope, registry, references)
            at = scope if whole is None else whole
            if is_exact(part, at, window.layouts.get(scope, ""), registry, references):
                broken = scope in self._broken or whole in self._broken
                teaches = _teaches(course.hours, window, broken=broken)
            else:
                teaches = _passes_over(course.hours, window)
            if teaches:
                course.teach(window, scope, part, registry)
                course.hours.drifted += scope in self._drifted
            else:
                course.rows.drop(window.start_ms, window.end_ms)
        ready = [scope for scope in own if self._is_ready(self._courses[scope], window)]
        self._calm(window, registry)
        return sorted(ready, key=lambda scope: (not self._courses[scope].is_whole, scope))

    def take(self, scope: int, end_ms: int, pane_ms: int, registry: Registry) -> tuple[DayCounts, str]:
        """What a scope that is ready has shown until ``end_ms``, and where it comes from, in words."""
        course = self._courses[scope]
        hours = course.hours
        span = (end_ms - hours.start_ms) // HOUR_MS - hours.broken - hours.spare
        panes = span * HOUR_MS // pane_ms
        counts = course.counts(course.target, panes, pane_ms, registry)
        words = [f"{_span(course.target)}, {course.events} events"]
        if hours.broken:
            words.append(f"without {hours.broken} h in which something was broken")
        if hours.drifted:
            words.append(f"drift was found in {hours.drifted} h")
        return counts, "; ".join(words)

    def may_recut(self, scope: int) -> bool:
        """Whether a scope's edges may be cut anew."""
        return self._courses[scope].may_recut

    def advance(self, scope: int, *, recut: bool) -> None:
        """A scope's baseline is made: go on to the next, or end; with new edges, count as many days again, once."""
        course = self._courses[scope]
        if recut:
            course.may_recut = False
            course.begin()
            return
        course.target = next((d for d in self._days if d > course.target), 0)
        course.hours.fills = False
        if not course.target:
            del self._courses[scope]

    def adopt(self, scope: int, who: Scope, baseline: Baseline, *, recut: bool) -> None:
        """A baseline takes effect; ``recut``: with other edges than before."""
        target = next((d for d in self._days if d > baseline.learned_days), 0)
        if baseline.learned_days < 0 or not target:
            self.forget(scope)
            return
        course = self._courses.get(scope)
        if course is None:
            course = self._courses[scope] = Course(who.family, self._categories, target, is_whole=not who.segment)
        course.target = max(course.target, target)
        if recut:
            course.begin()

    def forget(self, scope: int) -> None:
        """A scope is gone, or has a baseline that is not followed by another."""
        self._courses.pop(scope, None)
        self._broken.discard(scope)
        self._drifted.discard(scope)

    def to_parts(self) -> dict[str, Any]:
        """Plain data, for msgpack."""
        return {
            "courses": {scope: course.to_parts() for scope, course in self._courses.items()},
            "broken": sorted(self._broken),
            "drifted": sorted(self._drifted),
        }

    def load_parts(self, parts: dict[str, Any]) -> None:
        """Take over what :meth:`to_parts` gave; nothing of it where learning does not go on any more."""
        courses = {s: Course.from_parts(p, self._categories) for s, p in parts.get("courses", {}).items()}
        self._courses = {s: course for s, course in courses.items() if course.target in self._days}
        self._broken, self._drifted = set(parts.get("broken", ())), set(parts.get("drifted", ()))

    def _is_ready(self, course: Course, window: Window) -> bool:
        hours = course.hours
        if hours.start_ms < 0:
            return False
        days = (window.end_ms - hours.start_ms) // DAY_MS
        is_over, hours.days_seen = days > hours.days_seen, days
        if days < course.target or course.events < self._min_rows or hours.taught < _MIN_HOURS * course.target:
            return False
        if hours.fills:
            return is_over or not hours.lacking
        lacks = hours.lacking.bit_count() > _MAX_LACKING
        hours.fills = is_over and lacks
        return is_over and not lacks

    def _calm(self, window: Window, registry: Registry) -> None:
        """An hour of a family is over: what was found in it counts no longer."""
        for marked in (self._broken, self._drifted):
            marked -= {s for s in marked if (who := registry.scopes[s]) is None or who.family is window.family}


def _is_far_out(finding: Finding) -> bool:
    return finding.detector == _FAR_OUT and finding.value >= _FAR_OUT_RATIO


def _teaches(hours: Hours, window: Window, *, broken: bool) -> bool:
    """Whether an hour is to be counted; if it is not, it is passed over."""
    bit = _bit(window)
    if hours.start_ms < 0:
        hours.start_ms = window.start_ms
    if hours.fills and not hours.lacking & bit:
        hours.spare += 1
        return False
    if broken and not hours.passed & bit:
        return _passes_over(hours, window)
    hours.passed &= ~bit
    hours.known |= bit
    hours.taught += 1
    return True


def _passes_over(hours: Hours, window: Window) -> bool:
    """The hour does not teach, ``False``: it lacks."""
    if hours.start_ms >= 0:
        hours.passed |= _bit(window)
        hours.broken += 1
    return False


def _bit(window: Window) -> int:
    return 1 << (window.start_ms % DAY_MS // HOUR_MS)


def _span(days: int) -> str:
    return {1: "the first day", 7: "the first week"}.get(days, f"the first {days} days")
