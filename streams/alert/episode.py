"""One alert's episode: when it begins, what is news in it, and the event that says so. Functions of a track alone."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.alerts import Alert, Status, rfc3339
from schemas.findings import Finding, Severity
from schemas.scopes import Scope
from streams.alert.evidence import evidence_of
from streams.alert.policy import COUNTING, AlertPolicy, rank
from streams.alert.state import Member, Track
from streams.alert.wording import description_of, summary_of

_BY_RANK = (Severity.INFO, Severity.TICKET, Severity.PAGE)
_MAX_TOPS = 64


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """One thing to record about an alert, and to publish if ``published``.

    ``ce_id`` is the same in every replay. ``kind`` is that of the leading finding. Times are event time; ``ends_ms`` is
    None until the alert has resolved.
    """

    ce_id: str
    alert: Alert
    published: bool
    scope: Scope
    kind: str
    severity: Severity
    starts_ms: int
    ends_ms: int | None
    time_ms: int


@dataclass(frozen=True, slots=True)
class Mute:
    """Why an alert is not published: ids of silences, fingerprints of the alerts that explain it."""

    silenced_by: tuple[str, ...] = ()
    inhibited_by: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.silenced_by or self.inhibited_by)


def begin(track: Track, at_ms: int, policy: AlertPolicy) -> None:
    """Open an episode: the last one again if it ended within the flap window, else a new one."""
    track.said_rank, track.said_kinds, track.said_tops, track.said_count = -1, [], [], 0.0
    if track.id and at_ms - track.ends_ms <= policy.flap_window_ms:
        return
    since_ms = min(member.since_ms for member in track.members.values())
    starts_ms = max(since_ms, at_ms - policy.retain_ms)
    # A run that began before the last episode ended would else be given that episode's id.
    track.starts_ms = max(starts_ms, track.ends_ms + 1) if track.id else starts_ms
    track.id = _digest(track.fingerprint, str(track.starts_ms))
    track.sequence = 0


def is_news(track: Track, members: Sequence[Member], at_ms: int, policy: AlertPolicy) -> bool:
    """Whether an update is worth it.

    An escalation is, at once; a new kind, a new leading quantity or a further fault in time; and a repeat, later.
    """
    if peak(members) > track.said_rank:
        return True
    silent_ms = at_ms - track.recorded_ms
    lead = members[0].finding
    # What is within its limit again leads only because worse has ended: that is the end of a story, not news.
    changed = lead.evidence and (
        lead.quantity not in track.said_tops or any(m.finding.kind not in track.said_kinds for m in members)
    )
    changed = changed or _faults(members) > track.said_count
    return (changed and silent_ms >= policy.update_after_ms) or silent_ms >= policy.repeat_after_ms


def peak(members: Sequence[Member]) -> int:
    """The rank of the worst severity."""
    return max(rank(member.severity) for member in members)


def _faults(members: Sequence[Member]) -> float:
    """How many faults have come, by the detectors that count them one by one."""
    return sum(member.finding.value for member in members if member.finding.detector in COUNTING)


def severity_of(track: Track, members: Sequence[Member] = ()) -> Severity:
    """How loud the alert is: the worst of this episode and of ``members``. It never falls while the alert fires."""
    return _BY_RANK[max([track.said_rank, 0, *(rank(member.severity) for member in members)])]


def record(
    track: Track,
    members: Sequence[Member],
    status: Status,
    at_ms: int,
    policy: AlertPolicy,
    mute: Mute = Mute(),
    consequences: Sequence[Finding] = (),
) -> AlertEvent:
    """Say what is known of the alert now, and remember that it was said.

    Parameters
    ----------
    track
        The alert; changed.
    members
        What to speak of, strongest first, at least one.
    status, at_ms
        What the alert is from now on, and since when in event time.
    policy, mute, consequences
        The bounds; why it is not published; findings it explains.
    """
    told = track.told
    track.said_rank = max(track.said_rank, peak(members))
    track.said_kinds = sorted({*track.said_kinds, *(member.finding.kind.value for member in members)})
    lead = members[0].finding
    track.said_tops = [*(top for top in track.said_tops if top != lead.quantity), lead.quantity][-_MAX_TOPS:]
    track.said_count = _faults(members)
    track.status, track.recorded_ms, track.sequence = status, at_ms, track.sequence + 1
    # Whoever was told of a fire is told of its end, even if a silence has begun in between.
    published = told if status is Status.RESOLVED else status is Status.FIRING
    track.told = status is not Status.RESOLVED and (told or published)
    severity = severity_of(track)
    return AlertEvent(
        ce_id=_digest(track.id, status.value, str(track.sequence)),
        alert=Alert(
            id=track.id,
            status=status,
            labels={**track.labels, "severity": severity.value},
            annotations=_annotations(track, members, consequences, policy),
            starts_at=rfc3339(track.starts_ms),
            updated_at=rfc3339(at_ms),
            fingerprint=track.fingerprint,
            sequence=track.sequence,
            evidence=evidence_of(members, consequences, policy),
            **({"ends_at": rfc3339(track.ends_ms)} if status is Status.RESOLVED else {}),
            silenced_by=mute.silenced_by,
            inhibited_by=mute.inhibited_by,
        ),
        published=published,
        scope=track.scope,
        kind=lead.kind.value,
        severity=severity,
        starts_ms=track.starts_ms,
        ends_ms=track.ends_ms if status is Status.RESOLVED else None,
        time_ms=at_ms,
    )


def _annotations(
    track: Track, members: Sequence[Member], consequences: Sequence[Finding], policy: AlertPolicy
) -> dict[str, str]:
    summary = summary_of(track.scope, track.group, members)
    return {
        "summary": f"Resolved: {summary}" if track.status is Status.RESOLVED else summary,
        "description": description_of(members, track.starts_ms, consequences),
        "runbook_url": policy.runbook(members[0].finding.kind.value, track.group.value),
    }


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()
