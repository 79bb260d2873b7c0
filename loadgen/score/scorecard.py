"""What was injected against what was said: detected or missed, how late, what else was said, what was said twice."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from rich.table import Table

from loadgen.truth import Truth
from schemas.alerts import Alert, Status, milliseconds
from schemas.findings import Severity

SLACK_MS: Final = 60_000
"""How long before a fault's onset the condition behind an alert may be said to have begun: one window."""
_WORDS: Final = {Severity.INFO.value: "info", Severity.TICKET.value: "ticket", Severity.PAGE.value: "page"}
_LOUDNESS: Final = {Severity.INFO.value: 0, Severity.TICKET.value: 1, Severity.PAGE.value: 2}


class Sighting(msgspec.Struct, frozen=True):
    """A firing event of an alert: when (event time), how loud, and of which kinds; ``since_ms`` is its start."""

    at_ms: int
    since_ms: int
    severity: str
    kinds: tuple[str, ...]


class Episode(msgspec.Struct, frozen=True):
    """One alert from its first firing event to its last."""

    id: str
    name: str
    model: str
    summary: str
    sightings: tuple[Sighting, ...]

    @property
    def first(self) -> Sighting:
        """Its first firing event."""
        return self.sightings[0]

    @property
    def severity(self) -> str:
        """The loudest it ever was."""
        return max((sighting.severity for sighting in self.sightings), key=_loudness)


class FaultScore(msgspec.Struct, frozen=True):
    """How one fault fared. ``delay_s`` is event time from its onset to the alert event that names it."""

    fault: str
    model: str
    injected: str
    onset_ms: int
    end_ms: int
    expected_severity: str
    detected: bool
    delay_s: float | None = None
    alert: str = ""
    kind: str = ""
    severity: str = ""
    summary: str = ""
    alerts: int = 0

    @property
    def loud_enough(self) -> bool:
        """Whether it was said at least as loudly as it should be."""
        return self.detected and _loudness(self.severity) >= _loudness(self.expected_severity)


class Scorecard(msgspec.Struct, frozen=True):
    """The whole account. ``duplicates`` are alert events that came more than once (same id and sequence)."""

    faults: tuple[FaultScore, ...]
    false_pages: tuple[Episode, ...]
    false_tickets: tuple[Episode, ...]
    duplicates: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Every fault was detected loudly enough, nobody else was paged, and nothing was said twice."""
        return all(fault.loud_enough for fault in self.faults) and not self.false_pages and not self.duplicates


def episodes(alerts: Iterable[Alert]) -> tuple[list[Episode], list[str]]:
    """Gather alert events, in the order of their arrival, into episodes.

    Returns
    -------
    tuple
        The episodes that fired, by first event; and ``id/sequence`` of each event that came more than once.
    """
    firing: dict[str, list[Alert]] = {}
    seen: set[tuple[str, int]] = set()
    duplicates = []
    for alert in alerts:
        key = (alert.id, alert.sequence)
        if key in seen:
            duplicates.append(f"{alert.id}/{alert.sequence}")
            continue
        seen.add(key)
        if alert.status is Status.FIRING:
            firing.setdefault(alert.id, []).append(alert)
    gathered = [_episode(events) for events in firing.values()]
    return sorted(gathered, key=lambda episode: episode.first.at_ms), duplicates


def score(truths: Sequence[Truth], alerts: Iterable[Alert], grace_ms: int) -> Scorecard:
    """Judge alert events against the truth.

    An alert is explained by a fault when it names the fault's model and one of the kinds the fault causes, between its
    onset and ``grace_ms`` after its end (event time). What no fault explains is false.
    """
    gathered, duplicates = episodes(alerts)
    unexplained = [episode for episode in gathered if not any(_explains(truth, episode, grace_ms) for truth in truths)]
    return Scorecard(
        faults=tuple(_fault_score(truth, gathered, grace_ms) for truth in truths),
        false_pages=tuple(e for e in unexplained if e.severity == Severity.PAGE),
        false_tickets=tuple(e for e in unexplained if e.severity != Severity.PAGE),
        duplicates=tuple(duplicates),
    )


def explained_by(truths: Sequence[Truth], alert: Alert, grace_ms: int) -> Truth | None:
    """The fault that explains one firing event, None where nothing does; the latest to begin if several do."""
    alone = _episode([alert])
    found = [truth for truth in truths if _explains(truth, alone, grace_ms)]
    return max(found, key=lambda truth: truth.onset_ms, default=None)


def to_json(card: Scorecard) -> bytes:
    """The account for machines; ``passed`` is part of it."""
    return msgspec.json.format(msgspec.json.encode({"passed": card.passed, **msgspec.to_builtins(card)}), indent=2)


def table(card: Scorecard) -> Table:
    """The account for people."""
    grid = Table(title="Scorecard", title_justify="left", title_style="bold", show_edge=False)
    for heading in ("injected", "model", "detected as"):
        grid.add_column(heading)
    grid.add_column("after", justify="right")
    for fault in card.faults:
        after = "–" if fault.delay_s is None else f"{fault.delay_s:.0f} s"
        grid.add_row(f"{fault.fault}\n[dim]{fault.injected}[/]", fault.model, _verdict(fault), after)
    return grid


def verdict(card: Scorecard) -> str:
    """The account in one sentence."""
    found = sum(fault.detected for fault in card.faults)
    return (
        f"{found} of {len(card.faults)} faults detected, {len(card.false_pages)} false pages, "
        f"{len(card.false_tickets)} false tickets, {len(card.duplicates)} duplicates"
    )


def _verdict(fault: FaultScore) -> str:
    if not fault.detected:
        return "[red]missed[/]"
    words = f"{fault.kind}, {_WORDS.get(fault.severity, fault.severity)}"
    if fault.loud_enough:
        return f"[green]{words}[/]"
    return f"[yellow]{words}, not {_WORDS.get(fault.expected_severity, fault.expected_severity)}[/]"


def _loudness(severity: str) -> int:
    return _LOUDNESS.get(severity, 0)


def _episode(events: list[Alert]) -> Episode:
    first = events[0]
    return Episode(
        id=first.id,
        name=first.labels.get("alertname", ""),
        model=first.labels.get("model", first.labels.get("host", "")),
        summary=first.annotations.get("summary", ""),
        sightings=tuple(_sighting(event) for event in events),
    )


def _sighting(alert: Alert) -> Sighting:
    evidence = alert.evidence
    kinds = dict.fromkeys(observation.kind for observation in (evidence.leading, *evidence.others))
    return Sighting(
        at_ms=milliseconds(alert.updated_at),
        since_ms=milliseconds(alert.starts_at),
        severity=alert.labels.get("severity", ""),
        kinds=tuple(kinds),
    )


def _explains(truth: Truth, episode: Episode, grace_ms: int) -> bool:
    explained = {*truth.kinds, *truth.collateral}
    return (
        episode.model == truth.entity
        and _within(truth, episode.first, grace_ms)
        and bool(explained.intersection(episode.first.kinds))
    )


def _within(truth: Truth, sighting: Sighting, grace_ms: int) -> bool:
    begun = sighting.since_ms >= truth.onset_ms - SLACK_MS
    return begun and truth.onset_ms <= sighting.at_ms <= truth.end_ms + grace_ms


def _fault_score(truth: Truth, gathered: Sequence[Episode], grace_ms: int) -> FaultScore:
    explained = [episode for episode in gathered if _explains(truth, episode, grace_ms)]
    named = [
        (sighting.at_ms, episode, sighting)
        for episode in explained
        for sighting in episode.sightings
        if _within(truth, sighting, grace_ms) and set(truth.kinds).intersection(sighting.kinds)
    ]
    base = FaultScore(
        fault=truth.name,
        model=truth.entity,
        injected=truth.injected,
        onset_ms=truth.onset_ms,
        end_ms=truth.end_ms,
        expected_severity=truth.severity.value,
        detected=bool(named),
        alerts=len(explained),
    )
    if not named:
        return base
    at_ms, episode, sighting = min(named, key=lambda found: found[0])
    return msgspec.structs.replace(
        base,
        delay_s=(at_ms - truth.onset_ms) / 1000,
        alert=episode.id,
        kind=next(kind for kind in sighting.kinds if kind in truth.kinds),
        severity=max((seen.severity for _, _, seen in named), key=_loudness),
        summary=episode.summary,
    )
