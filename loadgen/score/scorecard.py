"""One run judged: each injection detected, missed or rightly passed over; each alert true, tolerated or false."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec
from rich.markup import escape
from rich.table import Table

from loadgen.score.episodes import Episode, Sighting, episode_of, episodes, loudness, word
from loadgen.truth import Expectation, Truth
from schemas.alerts import Alert
from schemas.findings import Severity

SLACK_MS: Final = 60_000
"""How long before a fault's onset the condition behind an alert may be said to have begun: one window."""


class Judgement(StrEnum):
    """What an alert was. Every episode is exactly one of these: the first that holds."""

    DETECTS = "detects"
    """It names a fault that must be found."""
    COLLATERAL = "collateral"
    """It names what such a fault explains, though that does not count as its detection: neither true nor false."""
    TOLERATED = "tolerated"
    """It names an injection that may be found: neither true nor false."""
    NEAR_MISS = "near_miss"
    """False: something that must not alert was on."""
    WRONG_FAMILY = "wrong_family"
    """False: in a fault's time, about its entity, but of a kind that it does not cause."""
    UNPROVOKED = "unprovoked"
    """False: nothing was injected there and then."""


FALSE: Final = frozenset({Judgement.NEAR_MISS, Judgement.WRONG_FAMILY, Judgement.UNPROVOKED})


class FaultScore(msgspec.Struct, frozen=True):
    """How one injection fared.

    Attributes
    ----------
    truth
        What was injected.
    detected
        Whether an alert named it, however quietly. Of a near miss: whether it alerted.
    delay_s
        Event time from the onset to the first alert event that names it.
    alert, kind, severity, summary
        Of that event; the severity is the loudest with which it was named.
    alerts
        Episodes that it explains; of a near miss, those that it provoked.
    """

    truth: Truth
    detected: bool
    delay_s: float | None = None
    alert: str = ""
    kind: str = ""
    severity: str = ""
    summary: str = ""
    alerts: int = 0

    @property
    def told(self) -> bool:
        """Whether somebody was told: by a ticket at least, or by an info where no more is wanted.

        Nobody is told of an info, so that infos about everything are no detection of anything.
        """
        wanted = min(loudness(self.truth.severity), loudness(Severity.TICKET))
        return self.detected and loudness(self.severity) >= wanted

    @property
    def loud_enough(self) -> bool:
        """Whether it was said at least as loudly as it should be."""
        return self.detected and loudness(self.severity) >= loudness(self.truth.severity)


class Judged(msgspec.Struct, frozen=True):
    """An episode and what it was; ``truth`` and ``injection`` name what it was held against, empty for nothing."""

    episode: Episode
    judgement: Judgement
    truth: str = ""
    injection: str = ""

    @property
    def false(self) -> bool:
        """Whether it should not have been said."""
        return self.judgement in FALSE


class Scorecard(msgspec.Struct, frozen=True):
    """The whole account of a run.

    Attributes
    ----------
    faults
        Every injection, by onset.
    alerts
        Every episode, by its first event.
    duplicates
        Alert events that came more than once (same id and sequence).
    grace_ms
        How long after an injection's end an alert could belong to it.
    """

    faults: tuple[FaultScore, ...]
    alerts: tuple[Judged, ...]
    duplicates: tuple[str, ...]
    grace_ms: int

    @property
    def false_pages(self) -> tuple[Episode, ...]:
        """Alerts that woke somebody for nothing."""
        return tuple(a.episode for a in self.alerts if a.false and a.episode.severity == Severity.PAGE)

    @property
    def false_tickets(self) -> tuple[Episode, ...]:
        """What else was said for nothing."""
        return tuple(a.episode for a in self.alerts if a.false and a.episode.severity != Severity.PAGE)

    @property
    def passed(self) -> bool:
        """Whether every fault was detected loudly enough, nobody else was paged, and nothing was said twice."""
        found = all(fault.loud_enough for fault in self.of(Expectation.MUST))
        return found and not self.false_pages and not self.duplicates

    def of(self, expectation: Expectation) -> list[FaultScore]:
        """The injections of which this is expected."""
        return [fault for fault in self.faults if fault.truth.expectation is expectation]


def score(truths: Sequence[Truth], alerts: Iterable[Alert], grace_ms: int) -> Scorecard:
    """Judge alert events against the truth.

    An alert is explained by a fault when it names the fault's entity and one of the kinds the fault causes, between its
    onset and ``grace_ms`` after its end (event time). What no fault explains is false.
    """
    gathered, duplicates = episodes(alerts)
    judged = [_judged(truths, episode, grace_ms) for episode in gathered]
    return Scorecard(
        faults=tuple(_fault_score(truth, judged, grace_ms) for truth in sorted(truths, key=lambda one: one.onset_ms)),
        alerts=tuple(judged),
        duplicates=tuple(duplicates),
        grace_ms=grace_ms,
    )


def explained_by(truths: Sequence[Truth], alert: Alert, grace_ms: int) -> Truth | None:
    """The fault that explains one firing event, None where nothing does; the latest to begin if several do."""
    judged = _judged(truths, episode_of(alert), grace_ms)
    return None if judged.false else next((truth for truth in truths if truth.name == judged.truth), None)


def to_json(card: Scorecard) -> bytes:
    """The account for machines; ``passed`` and what was false are part of it."""
    told: dict[str, Any] = {"passed": card.passed, **msgspec.to_builtins(card)}
    told["false_pages"] = msgspec.to_builtins(card.false_pages)
    told["false_tickets"] = msgspec.to_builtins(card.false_tickets)
    return msgspec.json.format(msgspec.json.encode(told), indent=2)


def table(card: Scorecard) -> Table:
    """The account for people."""
    grid = Table(title="Scorecard", title_justify="left", title_style="bold", show_edge=False)
    for heading in ("injected", "entity", "detected as"):
        grid.add_column(heading)
    grid.add_column("after", justify="right")
    for fault in card.faults:
        after = "–" if fault.delay_s is None else f"{fault.delay_s:.0f} s"
        what = f"{escape(fault.truth.name)}\n[dim]{escape(fault.truth.injected)}[/]"
        grid.add_row(what, escape(fault.truth.entity), _verdict(fault), after)
    return grid


def verdict(card: Scorecard) -> str:
    """The account in one sentence."""
    must = card.of(Expectation.MUST)
    return (
        f"{sum(fault.detected for fault in must)} of {len(must)} faults detected, {len(card.false_pages)} false pages, "
        f"{len(card.false_tickets)} false tickets, {len(card.duplicates)} duplicates"
    )


def _verdict(fault: FaultScore) -> str:
    words = escape(f"{fault.kind}, {word(fault.severity)}")
    if fault.truth.expectation is Expectation.MUST_NOT:
        return f"[red]near miss, alerted: {words}[/]" if fault.detected else "[green]near miss, quiet[/]"
    if fault.truth.expectation is Expectation.MAY:
        return f"[dim]{words if fault.detected else 'quiet, as it may be'}[/]"
    if not fault.detected:
        return "[red]missed[/]"
    if fault.loud_enough:
        return f"[green]{words}[/]"
    return f"[yellow]{words}, not {word(fault.truth.severity)}[/]"


# -- judging ---------------------------------------------------------------------------------------------------------


def _judged(truths: Sequence[Truth], episode: Episode, grace_ms: int) -> Judged:
    """The first judgement that holds; where several truths bear it out, the latest to begin."""
    around = [truth for truth in truths if _concerns(truth, episode) and _within(truth, episode.first, grace_ms)]
    for judgement in Judgement:
        borne_out = [truth for truth in around if _bears_out(truth, episode, judgement, grace_ms)]
        if borne_out:
            latest = max(borne_out, key=lambda truth: truth.onset_ms)
            return Judged(episode, judgement, latest.name, latest.injection)
    return Judged(episode, Judgement.UNPROVOKED)


def _bears_out(truth: Truth, episode: Episode, judgement: Judgement, grace_ms: int) -> bool:
    must, near_miss = truth.expectation is Expectation.MUST, truth.expectation is Expectation.MUST_NOT
    caused = {*truth.kinds, *truth.collateral}
    explained = bool(caused.intersection(episode.first.kinds)) or not caused
    if judgement is Judgement.DETECTS:
        return must and explained and bool(_named(truth, episode, grace_ms))
    if judgement is Judgement.COLLATERAL:
        return must and explained
    if judgement is Judgement.TOLERATED:
        return truth.expectation is Expectation.MAY and explained
    if judgement is Judgement.NEAR_MISS:
        return near_miss
    return judgement is Judgement.WRONG_FAMILY


def _concerns(truth: Truth, episode: Episode) -> bool:
    """Whether they are about the same: the other GPUs of a host are well."""
    same_gpu = not episode.gpu or not truth.target or truth.target == episode.gpu
    return truth.entity == episode.entity and same_gpu


def _within(truth: Truth, sighting: Sighting, grace_ms: int) -> bool:
    begun = sighting.since_ms >= truth.onset_ms - SLACK_MS
    return begun and truth.onset_ms <= sighting.at_ms <= truth.end_ms + grace_ms


def _named(truth: Truth, episode: Episode, grace_ms: int) -> list[Sighting]:
    """The events of an episode that name a kind by which the truth counts as detected."""
    wanted = set(truth.kinds)
    return [s for s in episode.sightings if _within(truth, s, grace_ms) and wanted.intersection(s.kinds)]


def _fault_score(truth: Truth, judged: Sequence[Judged], grace_ms: int) -> FaultScore:
    around = [j for j in judged if _concerns(truth, j.episode) and _within(truth, j.episode.first, grace_ms)]
    if truth.expectation is Expectation.MUST_NOT:
        own = [j.episode for j in around if j.judgement is Judgement.NEAR_MISS and j.truth == truth.name]
        sightings = [(episode.first, episode) for episode in own]
    else:
        own = [j.episode for j in around if {*truth.kinds, *truth.collateral}.intersection(j.episode.first.kinds)]
        sightings = [(sighting, episode) for episode in own for sighting in _named(truth, episode, grace_ms)]
    if not sightings:
        return FaultScore(truth, detected=False, alerts=len(own))
    sighting, episode = min(sightings, key=lambda found: found[0].at_ms)
    return FaultScore(
        truth,
        detected=True,
        delay_s=(sighting.at_ms - truth.onset_ms) / 1000,
        alert=episode.id,
        kind=next((kind for kind in sighting.kinds if kind in truth.kinds), sighting.kinds[0]),
        severity=max((seen.severity for seen, _ in sightings), key=loudness),
        summary=episode.summary,
        alerts=len(own),
    )
