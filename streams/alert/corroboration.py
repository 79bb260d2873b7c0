"""What one alert knows that makes another worth waking somebody for.

A crowd of events that look alike may be a campaign, and labels that turn positive may be last month's news: both can
wait for the morning. Both at once, of a model whose positives are losses, are an attack that the model lets pass.
"""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from detectors.confidence import combined
from schemas.findings import Finding, Severity
from streams.alert.policy import AlertPolicy, Group
from streams.alert.state import Member, Track

LOSS_FACTOR: Final = 1.5
"""How many times its past the share of positive labels must be: half as many losses again."""


def corroboration(track: Track, peers: Iterable[Track], policy: AlertPolicy) -> list[Finding]:
    """What bears out that outliers are an attack, strongest first; nothing where they are not, or not surely enough.

    Parameters
    ----------
    track
        The alert about outliers; any other has none.
    peers
        All alerts about the same model.
    policy
        Its ``attack_models`` and ``page_confidence_ratio``, which both together must reach.
    """
    if track.group is not Group.OUTLIERS or not _is_concerned(track, policy):
        return []
    losses = [
        member.finding
        for peer in peers
        if peer.group is Group.MODEL_QUALITY
        for member in peer.members.values()
        if _is_loss(member.finding)
    ]
    seen = [member.finding for member in track.members.values() if not member.finding.scope.segment]
    if not losses or not seen:
        return []
    surest: dict[str, float] = {}
    for finding in (*losses, *seen):
        surest[finding.detector] = max(surest.get(finding.detector, 0.0), finding.confidence_ratio)
    if combined(list(surest.values())) < policy.page_confidence_ratio:
        return []
    return sorted(losses, key=lambda finding: (-finding.confidence_ratio, finding.id))


def raised(members: Sequence[Member]) -> list[Member]:
    """The same members, those about the whole as pages: what is borne out does not wait."""
    return [
        member if member.finding.scope.segment else msgspec.structs.replace(member, severity=Severity.PAGE)
        for member in members
    ]


def _is_concerned(track: Track, policy: AlertPolicy) -> bool:
    return any(fnmatchcase(track.scope.model, pattern) for pattern in policy.attack_models)


def _is_loss(finding: Finding) -> bool:
    """Whether labels say clearly more positives than they used to."""
    return finding.detector == "label_rate" and finding.value >= LOSS_FACTOR * finding.baseline
