"""Runs added up, by kind of injection and in all: how much was found, how soon, and at what price in false alerts."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np

from loadgen.score.episodes import Episode, loudness
from loadgen.score.interval import IntervalScore, best, f1, of_as_many
from loadgen.score.run import DAY_MS, Run
from loadgen.score.scorecard import FaultScore, Judged, Judgement
from loadgen.truth import Expectation
from schemas.findings import Severity

QUIET: Final = "(nothing injected)"
"""The kind of what was said where and when nothing was on."""
ALL: Final = "(all)"


class FalseAlerts(msgspec.Struct, frozen=True):
    """What was said for nothing: by how loudly, and by why it was false.

    Infos are told to nobody, and stand apart: ``near_misses``, ``wrong_family`` and ``unprovoked`` add up to pages and
    tickets.
    """

    pages: int = 0
    tickets: int = 0
    infos: int = 0
    near_misses: int = 0
    wrong_family: int = 0
    unprovoked: int = 0

    @property
    def total(self) -> int:
        """Pages and tickets."""
        return self.pages + self.tickets


class KindScore(msgspec.Struct, frozen=True):
    """How one kind of injection fared over the runs.

    Attributes
    ----------
    injection
        The kind; :data:`QUIET` where nothing was on, :data:`ALL` for all of them.
    must, detected, noticed, quiet
        Injections that must alert; those about which somebody was told; those that an info alone named; and of those
        detected, the ones that were said more quietly than they should be.
    may, near_misses, near_misses_alerted
        Injections that may alert; that must not; and of these, those about which somebody was told.
    recall, precision, f1
        ``recall`` is detected ÷ must; ``precision`` true ÷ (true + false) pages and tickets; None where there is
        nothing to divide by.
    page_precision
        Of the pages, the share that named a fault.
    delay_p50_s, delay_p95_s
        Event time from onset to the first alert event that names the fault, over those detected; None for none.
    true_alerts, other_alerts
        Pages and tickets that name a fault that must be found; those that count neither way (collateral, and injections
        that may alert). More true alerts than detected faults means that faults were told more than once.
    false
        Alerts for which there was no reason, counted under the injection during which they came.
    model_days
        For how long this kind was on, its grace included, in days of one entity; of :data:`QUIET`, the rest.
    false_per_model_day, false_pages_per_model_day
        False pages and tickets, and pages alone, in that time.
    """

    injection: str
    must: int = 0
    detected: int = 0
    noticed: int = 0
    quiet: int = 0
    may: int = 0
    near_misses: int = 0
    near_misses_alerted: int = 0
    recall: float | None = None
    precision: float | None = None
    page_precision: float | None = None
    f1: float = 0.0
    delay_p50_s: float | None = None
    delay_p95_s: float | None = None
    true_alerts: int = 0
    other_alerts: int = 0
    false: FalseAlerts = FalseAlerts()
    model_days: float = 0.0
    false_per_model_day: float | None = None
    false_pages_per_model_day: float | None = None


class Account(msgspec.Struct, frozen=True):
    """The runs in all.

    Attributes
    ----------
    runs
        How many.
    kinds
        By kind, in alphabetical order; :data:`QUIET` last.
    total
        In all.
    duplicates
        Alert events that came more than once.
    as_many, best_interval
        What an alarm at fixed intervals would have scored: with as many alarms, and at the interval that does best in
        hindsight. None where there was nothing to compare with.
    """

    runs: int
    kinds: tuple[KindScore, ...]
    total: KindScore
    duplicates: int
    as_many: IntervalScore | None
    best_interval: IntervalScore | None

    def kind(self, injection: str) -> KindScore | None:
        """The row of this kind, None where it was not injected."""
        return next((kind for kind in self.kinds if kind.injection == injection), None)


def account(runs: Sequence[Run]) -> Account:
    """Add up runs."""
    faults = [fault for run in runs for fault in run.card.faults]
    alerts = [judged for run in runs for judged in run.card.alerts]
    struck = [judged for judged in alerts if judged.judgement is not Judgement.UNPROVOKED]
    names = sorted({fault.truth.injection for fault in faults})
    kinds = [
        _kind(
            name,
            [fault for fault in faults if fault.truth.injection == name],
            [judged for judged in struck if judged.injection == name],
            sum(_struck_days(run, name) for run in runs),
        )
        for name in names
    ]
    quiet_days = sum(run.watched.days - _struck_days(run, None) for run in runs)
    quiet = _kind(QUIET, [], [judged for judged in alerts if judged.judgement is Judgement.UNPROVOKED], quiet_days)
    total = _kind(ALL, faults, alerts, sum(run.watched.days for run in runs))
    return Account(
        runs=len(runs),
        kinds=(*kinds, quiet),
        total=total,
        duplicates=sum(len(run.card.duplicates) for run in runs),
        as_many=of_as_many(runs, total.true_alerts + total.false.total),
        best_interval=best(runs),
    )


def _kind(name: str, faults: Sequence[FaultScore], alerts: Sequence[Judged], days: float) -> KindScore:
    must = [fault for fault in faults if fault.truth.expectation is Expectation.MUST]
    near_misses = [fault for fault in faults if fault.truth.expectation is Expectation.MUST_NOT]
    found = [fault for fault in must if fault.told]
    delays = [fault.delay_s for fault in found if fault.delay_s is not None]
    told = [judged for judged in alerts if loudness(judged.episode.severity)]
    true = [judged.episode for judged in told if judged.judgement is Judgement.DETECTS]
    false = _false(alerts)
    recall = _ratio(len(found), len(must))
    precision = _ratio(len(true), len(true) + false.total)
    true_pages = sum(_is_page(episode) for episode in true)
    return KindScore(
        injection=name,
        must=len(must),
        detected=len(found),
        noticed=sum(fault.detected for fault in must) - len(found),
        quiet=sum(not fault.loud_enough for fault in found),
        may=len(faults) - len(must) - len(near_misses),
        near_misses=len(near_misses),
        near_misses_alerted=sum(fault.told for fault in near_misses),
        recall=recall,
        precision=precision,
        page_precision=_ratio(true_pages, true_pages + false.pages),
        f1=f1(recall, precision),
        delay_p50_s=_percentile(delays, 50),
        delay_p95_s=_percentile(delays, 95),
        true_alerts=len(true),
        other_alerts=len(told) - len(true) - false.total,
        false=false,
        model_days=days,
        false_per_model_day=_ratio(false.total, days),
        false_pages_per_model_day=_ratio(false.pages, days),
    )


def _false(alerts: Iterable[Judged]) -> FalseAlerts:
    false = [judged for judged in alerts if judged.false]
    loud = [loudness(judged.episode.severity) for judged in false]
    why = [judged.judgement for judged in false if loudness(judged.episode.severity)]
    return FalseAlerts(
        pages=loud.count(2),
        tickets=loud.count(1),
        infos=loud.count(0),
        near_misses=why.count(Judgement.NEAR_MISS),
        wrong_family=why.count(Judgement.WRONG_FAMILY),
        unprovoked=why.count(Judgement.UNPROVOKED),
    )


def _is_page(episode: Episode) -> bool:
    return episode.severity == Severity.PAGE


def _struck_days(run: Run, injection: str | None) -> float:
    """For how long injections of a kind, or of any, were on, grace included; overlaps on an entity count once."""
    total_ms = 0
    for entity in run.watched.entities:
        truths = [fault.truth for fault in run.card.faults if fault.truth.entity == entity]
        spans = sorted(
            (max(truth.onset_ms, run.watched.start_ms), min(truth.end_ms + run.card.grace_ms, run.watched.end_ms))
            for truth in truths
            if injection in {None, truth.injection}
        )
        through_ms = run.watched.start_ms
        for first, last in spans:
            total_ms += max(0, last - max(first, through_ms))
            through_ms = max(through_ms, last)
    return total_ms / DAY_MS


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _percentile(values: Sequence[float], percent: int) -> float | None:
    return float(np.percentile(values, percent)) if values else None
