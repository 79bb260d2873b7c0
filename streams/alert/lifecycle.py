"""The life of alerts: a deterministic fold over findings in log order. It asks no clock and does no I/O."""

from collections import Counter

import msgspec

from schemas.alerts import Status
from schemas.findings import Finding, FindingMessage, Progress, Severity
from streams.alert import episode, state
from streams.alert.corroboration import corroboration, raised
from streams.alert.episode import AlertEvent, Mute
from streams.alert.evidence import ordered
from streams.alert.inhibition import CAUSES, causes_of, consequences_of
from streams.alert.passage import ANY, Passage, series_of
from streams.alert.policy import AlertPolicy
from streams.alert.silences import is_valid, silencing
from streams.alert.state import BookState, Member, Silence, Track
from streams.alert.tracks import Tracks


class AlertBook:
    """All alerts that are known, folded out of the ``findings`` topic.

    A finding changes an alert's members; what is said about it is decided when the window is complete: at the next
    progress message that has passed it, or the next finding of a later window. So the findings of one window are seen
    together, and a cause is known before its consequence is published.

    A finding that comes again because the analyse stage stepped back changes nothing: each series' windows count once.

    Parameters
    ----------
    policy
        The knobs.
    known
        What :meth:`to_bytes` gave of an earlier life, decoded; None at the beginning.

    Notes
    -----
    Same messages, same events, same ids, whatever the batches and however often it was saved and restored between.
    O(1) for a finding, O(active alerts) for an advance of event time.
    """

    def __init__(self, policy: AlertPolicy, known: BookState | None = None) -> None:
        self._policy = policy
        self._state = known or BookState()
        self._passage = Passage(self._state, policy.replay_horizon_ms, policy.max_series)
        self._tracks = Tracks(self._state.tracks, policy.max_alerts)
        self._dirty = {track.fingerprint for track in self._tracks if track.dirty_ms is not None}
        self._refused: Counter[str] = Counter()

    @classmethod
    def from_bytes(cls, raw: bytes, policy: AlertPolicy) -> "AlertBook":
        """The book that continues exactly where :meth:`to_bytes` was called."""
        return cls(policy, state.decode(raw))

    def to_bytes(self) -> bytes:
        """The whole state."""
        return state.encode(self._state)

    @property
    def overflow(self) -> Counter[str]:
        """What was over a cap since this book was made, by what it was: alert, finding, series, silence."""
        return self._refused + Counter(alert=self._tracks.overflow, series=self._passage.overflow)

    def firing(self) -> Counter[Severity]:
        """How many alerts fire and are not suppressed, by severity."""
        return Counter(episode.severity_of(track) for track in self._tracks if track.status is Status.FIRING)

    def fold(self, message: FindingMessage) -> list[AlertEvent]:
        """Take the next message of the topic; what is to be recorded and published because of it, in order."""
        if isinstance(message, Progress):
            return self._progress(message)
        series = series_of(message)
        if self._passage.is_repeat(message, series):
            return []
        end_ms = message.window_start_ms + message.window_ms
        events = self._settle(end_ms - 1)
        if message.firing:
            self._fire(series, message, end_ms)
        else:
            self._clear(series, message, end_ms)
        return events

    def silence(self, silence: Silence) -> bool:
        """Add, replace (same id) or end (``ends_ms`` passed) a silence; False if it is invalid or there is no room.

        Alerts that fire are looked at again with the next message.
        """
        silences = self._state.silences
        if not is_valid(silence):
            return False
        if silence.id not in silences and len(silences) >= self._policy.max_silences:
            self._refused["silence"] += 1
            return False
        silences[silence.id] = silence
        for track in self._tracks:
            if track.members:
                self._touch(track, track.recorded_ms, spread=False)
        return True

    # ---- findings

    def _fire(self, series: str, finding: Finding, end_ms: int) -> None:
        track = self._tracks.of(finding)
        if track is None:
            return
        if not track.members and track.status is Status.RESOLVED:
            track.lasting = None
        known = track.members.get(series)
        kept = msgspec.structs.replace(
            finding,
            exemplars=finding.exemplars[: self._policy.max_exemplars],
            contributions=finding.contributions[: self._policy.max_evidence],
        )
        since_ms = min(finding.since_ms, known.since_ms) if known else finding.since_ms
        track.members[series] = Member(kept, self._policy.severity(finding), since_ms)
        if len(track.members) > self._policy.max_members:
            weakest = ordered(track.members.values())[-1]
            track.members = {key: member for key, member in track.members.items() if member is not weakest}
            self._refused["finding"] += 1
        self._touch(track, end_ms, spread=known is None)

    def _clear(self, series: str, finding: Finding, end_ms: int) -> None:
        track = self._tracks.find(finding)
        if track and series in track.members:
            self._end(track, series, end_ms)
            self._touch(track, end_ms, spread=True)

    def _end(self, track: Track, series: str, at_ms: int) -> None:
        member = msgspec.structs.replace(track.members.pop(series), ended_ms=at_ms)
        track.lasting = member if track.lasting is None else ordered([track.lasting, member])[0]
        track.ends_ms = max(track.ends_ms, at_ms)
        if track.group in CAUSES:
            track.recent[series] = member
            if len(track.recent) > self._policy.max_members:
                del track.recent[next(iter(track.recent))]

    # ---- event time

    def _progress(self, message: Progress) -> list[AlertEvent]:
        moved = self._passage.advance(message)
        if moved is not None:
            family, before_ms = moved
            through_ms = self._passage.through_ms(family)
            if through_ms is not None:
                tracks = [track for track in self._tracks if family in (ANY, track.scope.family.value)]
                self._turn_silences(tracks, before_ms, through_ms)
                self._expire(tracks, through_ms)
                self._forget(tracks, through_ms)
                self._passage.prune(family, through_ms)
        return self._settle(message.through_ms)

    def _expire(self, tracks: list[Track], through_ms: int) -> None:
        """End what has not come again. A window of an hour comes once an hour, so its length is granted on top."""
        for track in tracks:
            for series, member in list(track.recent.items()):
                if member.ended_ms + self._policy.inhibit_after_ms <= through_ms:
                    del track.recent[series]
                    self._touch(track, through_ms, spread=True)
            for series, member in list(track.members.items()):
                due_ms = member.end_ms + member.finding.window_ms + self._policy.resolve_after_ms
                if due_ms <= through_ms:
                    self._end(track, series, due_ms)
                    self._touch(track, due_ms, spread=True)

    def _turn_silences(self, tracks: list[Track], before_ms: int, through_ms: int) -> None:
        """Look again at what fires when a silence begins or ends, and forget those that have ended for everybody."""
        silences = self._state.silences
        edges = [at for one in silences.values() for at in (one.starts_ms, one.ends_ms) if before_ms < at <= through_ms]
        if edges:
            for track in tracks:
                if track.members:
                    self._touch(track, max(edges), spread=False)
        slowest_ms = min(min(partitions.values()) for partitions in self._state.progress.values())
        self._state.silences = {key: one for key, one in silences.items() if one.ends_ms > slowest_ms}

    def _forget(self, tracks: list[Track], through_ms: int) -> None:
        kept_ms = through_ms - self._policy.replay_horizon_ms - self._policy.retain_ms
        for track in tracks:
            if track.is_at_rest and track.ends_ms < kept_ms:
                self._tracks.forget(track)

    # ---- decisions

    def _touch(self, track: Track, at_ms: int, *, spread: bool) -> None:
        """Have the alert looked at, and with it those it may explain."""
        track.dirty_ms = at_ms if track.dirty_ms is None else max(track.dirty_ms, at_ms)
        self._dirty.add(track.fingerprint)
        if spread and track.group in CAUSES:
            for peer in self._tracks.peers(track):
                if peer.members and peer.group not in CAUSES:
                    self._touch(peer, at_ms, spread=False)

    def _settle(self, through_ms: int) -> list[AlertEvent]:
        """Decide about every alert whose latest window ended by ``through_ms``: causes first, then by fingerprint."""
        tracks = [self._tracks[mark] for mark in self._dirty]
        due = [track for track in tracks if track.dirty_ms is not None and track.dirty_ms <= through_ms]
        due.sort(key=lambda track: (track.group not in CAUSES, track.fingerprint))
        return [event for track in due for event in self._decide(track)]

    def _decide(self, track: Track) -> list[AlertEvent]:
        at_ms, track.dirty_ms = max(track.dirty_ms or 0, track.recorded_ms), None
        self._dirty.discard(track.fingerprint)
        if not track.members:
            if track.status is Status.RESOLVED or track.lasting is None:
                return []
            return [episode.record(track, [track.lasting], Status.RESOLVED, at_ms, self._policy)]
        if track.status is Status.RESOLVED and not any(member.finding.evidence for member in track.members.values()):
            # What is within its limit again, and comes late, is the end of a story that has been told.
            return []
        peers = self._tracks.peers(track)
        explained = {key: causes_of(member.finding, peers) for key, member in track.members.items()}
        speaking = ordered(member for key, member in track.members.items() if not explained[key])
        members = speaking or ordered(track.members.values())
        borne_out = corroboration(track, peers, self._policy)
        members = raised(members) if borne_out else members
        if track.status is Status.RESOLVED:
            episode.begin(track, at_ms, self._policy)
        labels = {**track.labels, "severity": episode.severity_of(track, members).value}
        causes = () if speaking else tuple(sorted({cause for found in explained.values() for cause in found}))
        mute = Mute(tuple(silencing(self._state.silences.values(), labels, at_ms)), causes)
        status = Status.SUPPRESSED if mute else Status.FIRING
        if status is track.status and not episode.is_news(track, members, at_ms, self._policy):
            return []
        consequences = [*borne_out, *consequences_of(track, peers)]
        return [episode.record(track, members, status, at_ms, self._policy, mute, consequences)]
