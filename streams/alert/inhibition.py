"""Which finding explains which: the cause is said, its consequences are folded into it.

A rule is a function of two findings. Rules that need more than the two scopes (a GPU's fault and the models its host
serves) belong into :data:`RULES` too, once the book knows who serves what.
"""

from collections.abc import Callable, Iterable
from typing import Final

from schemas.findings import Finding, Kind
from schemas.scopes import Family
from streams.alert.policy import Group
from streams.alert.state import Track

Rule = Callable[[Finding, Finding], bool]
"""Tells whether the first finding explains the second."""

_DRIFTS: Final = frozenset({Kind.DRIFT, Kind.CATEGORY_DRIFT, Kind.SCORE_DRIFT, Kind.CHANGE})


def _same_model(cause: Finding, effect: Finding) -> bool:
    """Whether the cause is about the effect's model: in that version, or in all of them."""
    return cause.scope.model == effect.scope.model and cause.scope.model_version in ("", effect.scope.model_version)


def _covers(cause: Finding, effect: Finding) -> bool:
    """Whether the cause was seen in the effect's segment or in the model as a whole."""
    return _same_model(cause, effect) and cause.scope.segment in ("", effect.scope.segment)


def bad_input_explains_drift(cause: Finding, effect: Finding) -> bool:
    """What is left when most events are rejected is no fair sample of the traffic."""
    return cause.kind is Kind.BAD_INPUT and effect.kind in _DRIFTS and _same_model(cause, effect)


def silence_explains_drift(cause: Finding, effect: Finding) -> bool:
    """Where no event comes, nothing can have drifted; a volume that merely fell explains nothing."""
    return cause.kind is Kind.VOLUME and cause.value <= 0 and effect.kind in _DRIFTS and _covers(cause, effect)


def nulls_explain_drift(cause: Finding, effect: Finding) -> bool:
    """A feature that has gone missing has a different distribution because of that."""
    same_series = cause.scope.family is effect.scope.family and cause.quantity == effect.quantity
    return cause.kind is Kind.NULLS and effect.kind in _DRIFTS and same_series and _covers(cause, effect)


def shape_explains_nulls_and_drift(cause: Finding, effect: Finding) -> bool:
    """A field that is gone, or comes as text, has no numbers: they are null, and what is left of them has drifted."""
    same_series = cause.scope.family is effect.scope.family and cause.quantity == effect.quantity
    follows = effect.kind in _DRIFTS or effect.kind is Kind.NULLS
    return cause.kind is Kind.SCHEMA and follows and same_series and _covers(cause, effect)


def a_frozen_feature_explains_drift(cause: Finding, effect: Finding) -> bool:
    """A feature that has one value is distributed otherwise because of that."""
    same_series = cause.scope.family is effect.scope.family and cause.quantity == effect.quantity
    return cause.kind is Kind.FRESHNESS and effect.kind in _DRIFTS and same_series and _covers(cause, effect)


def an_input_that_is_gone_explains_what_the_score_follows(cause: Finding, effect: Finding) -> bool:
    """A model that misses a feature, or has it from yesterday, goes by the others: its score follows them more."""
    lost = cause.kind in {Kind.SCHEMA, Kind.NULLS, Kind.FRESHNESS} and cause.scope.family is effect.scope.family
    return lost and effect.kind is Kind.CONCEPT_DRIFT and _covers(cause, effect)


def skew_explains_drift(cause: Finding, effect: Finding) -> bool:
    """What a model is not given as it is served is distributed otherwise, and the score follows something else."""
    given = effect.scope.family is Family.PREDICTION and _same_model(cause, effect)
    drifted = effect.kind in _DRIFTS and cause.quantity == effect.quantity
    return cause.kind is Kind.SKEW and given and (drifted or effect.kind is Kind.CONCEPT_DRIFT)


RULES: Final[tuple[Rule, ...]] = (
    bad_input_explains_drift,
    silence_explains_drift,
    nulls_explain_drift,
    shape_explains_nulls_and_drift,
    a_frozen_feature_explains_drift,
    an_input_that_is_gone_explains_what_the_score_follows,
    skew_explains_drift,
)

CAUSES: Final = frozenset({Group.BAD_INPUT, Group.VOLUME, Group.NULLS, Group.SCHEMA, Group.FRESHNESS, Group.SKEW})
"""Groups whose findings can explain others: when one begins or ends, its model's other alerts are looked at again."""


def causes_in(track: Track) -> list[Finding]:
    """What an alert can explain: what fires in it, and what ended a short while ago.

    A detector that wants several windows of the last few goes on for some after the cause has ended.
    """
    return [member.finding for member in (*track.members.values(), *track.recent.values())]


def causes_of(effect: Finding, others: Iterable[Track], rules: tuple[Rule, ...] = RULES) -> list[str]:
    """Fingerprints of the alerts with a finding that explains ``effect``, sorted."""
    return sorted(
        track.fingerprint
        for track in others
        if track.group in CAUSES and any(rule(cause, effect) for cause in causes_in(track) for rule in rules)
    )


def consequences_of(track: Track, others: Iterable[Track], rules: tuple[Rule, ...] = RULES) -> list[Finding]:
    """Findings of other alerts which ``track`` explains, in the order in which they came."""
    if track.group not in CAUSES:
        return []
    causes = causes_in(track)
    return [
        member.finding
        for other in others
        if other is not track
        for member in other.members.values()
        if any(rule(cause, member.finding) for cause in causes for rule in rules)
    ]
