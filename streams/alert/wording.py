"""What an alert says to people: one line for three in the morning, and a paragraph beneath it."""

import math
from collections.abc import Sequence
from typing import Final

from schemas.alerts import rfc3339
from schemas.findings import Finding, Kind
from schemas.scopes import INVALID, Family, Scope
from streams.alert.policy import Group
from streams.alert.state import Member

_HEADLINES: Final[dict[Group, str]] = {
    Group.DRIFT: "drifts from its baseline",
    Group.OUTLIERS: "sees outliers",
    Group.NULLS: "misses values",
    Group.VOLUME: "has unusual traffic",
    Group.ERRORS: "fails requests",
    Group.LATENCY: "is slow",
    Group.ERROR_BUDGET: "burns its error budget",
    Group.BAD_INPUT: "gets input that cannot be read",
    Group.SCHEMA: "gets events of another shape",
    Group.FRESHNESS: "serves stale values",
    Group.SKEW: "is given other values than it is served",
    Group.DUPLICATES: "gets events more than once",
    Group.MODEL_QUALITY: "has other outcomes than its baseline",
    Group.LABELS: "gets its labels late",
    Group.GPU_THERMAL: "runs hot or throttled",
    Group.GPU_MEMORY: "is short of memory",
    Group.GPU_FAULT: "reports a fault",
    Group.GPU_IDLE: "holds memory and does nothing",
    Group.GPU_SLOW: "is slower than its peers",
}
_BY_DETECTOR: Final = {"association": "answers otherwise than its baseline"}
"""Where no label has told of an outcome yet."""
_PERCENT: Final = {
    "ratio": "",
    "null ratio": "null",
    "error ratio": "errors",
    "changed ratio": "gone or of another type",
    "new ratio": "new",
    "out-of-range ratio": "out of range",
    "repeated ids ratio": "repeated",
    "share of events": "of events",
    "of rows": "of rows",
    "positive": "positive",
    "of time": "of the time",
    "of samples": "of samples",
    "of memory": "of memory",
}
_NAMED: Final = frozenset({"PSI", "JS distance", "KS distance", "mean", "correlation", "span"})


def name_of(scope: Scope) -> str:
    """How people call a scope.

    Examples
    --------
    >>> name_of(Scope(Family.PREDICTION, "fraud", "3")), name_of(Scope(Family.GPU, "node-1", "GPU-7"))
    ('fraud v3', 'GPU-7 on node-1')
    """
    if scope.model == INVALID:
        return f"{scope.family.value} stream"
    if scope.family is Family.GPU:
        return f"{scope.model_version or 'a GPU'} on {scope.model}"
    version = scope.model_version
    marked = f"v{version}" if version.replace(".", "").isdecimal() else version
    return f"{scope.model} {marked}".rstrip()


def number(value: float | None, unit: str = "") -> str:
    """A number with its unit, three significant digits.

    Examples
    --------
    >>> number(0.0612, "null ratio"), number(0.41, "PSI"), number(1234567, "rows"), number(None), number(81.26, "°C")
    ('6.12 % null', 'PSI 0.41', '1,234,567 rows', '–', '81.3 °C')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if unit in _PERCENT:
        return f"{100 * value:.3g} % {_PERCENT[unit]}".rstrip()
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{unit} {text}" if unit in _NAMED else f"{text} {unit}".rstrip()


def summary_of(scope: Scope, group: Group, members: Sequence[Member]) -> str:
    """One line: who, what, how much against what. ``members`` strongest first, at least one."""
    lead = members[0].finding
    names = list(dict.fromkeys(member.finding.quantity for member in members))
    where = f" in {lead.scope.segment}" if lead.scope.segment else ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{name_of(scope)} {_BY_DETECTOR.get(lead.detector, _HEADLINES[group])}{where}: {_measured(lead)}{more}"


def description_of(members: Sequence[Member], starts_ms: int, consequences: Sequence[Finding]) -> str:
    """A paragraph: what changed, from what to what, since when, on how many events, and what follows from it."""
    lead = members[0].finding
    sentences = [
        f"{lead.summary.rstrip('. ') or _measured(lead)}.",
        (
            f"Threshold {number(lead.threshold, lead.unit)}, by {lead.detector} over {_span(lead.window_ms)};"
            f" began {rfc3339(starts_ms)[:19].replace('T', ' ')} UTC."
        ),
    ]
    others = list(dict.fromkeys(member.finding.quantity for member in members[1:] if member.finding is not lead))
    others = [name for name in others if name != lead.quantity]
    if others:
        sentences.append(f"Also: {_listed(others)}.")
    segments = list(dict.fromkeys(m.finding.scope.segment for m in members if m.finding.scope.segment))
    if segments:
        sentences.append(f"Seen in {_listed(segments)}.")
    if consequences:
        sentences.append(f"Explains: {_listed([finding.summary.rstrip('. ') for finding in consequences])}.")
    return " ".join(sentences)


def _measured(finding: Finding) -> str:
    if finding.kind is Kind.BAD_INPUT:
        return f"{number(finding.value, finding.unit)} rejected"
    against = f" (baseline {number(finding.baseline, finding.unit)})" if math.isfinite(finding.baseline) else ""
    return f"{finding.quantity} {number(finding.value, finding.unit)}{against}"


def _listed(names: Sequence[str], limit: int = 5) -> str:
    shown = "; ".join(names[:limit]) if any(" " in name for name in names) else ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown


def _span(window_ms: int) -> str:
    seconds = window_ms // 1000
    return f"{seconds // 60} min" if seconds >= 60 and seconds % 60 == 0 else f"{seconds} s"
