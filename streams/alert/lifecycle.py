"""The life of alerts: a deterministic fold over findings in log order. It asks no clock and does no I/O."""

import hashlib
from collections import Counter
from collections.abc import Iterable

import msgspec

from schemas.alerts import Status, fingerprint
from schemas.findings import Finding, FindingMessage, Progress, Severity
from streams.alert import episode, state
from streams.alert.episode import AlertEvent, Mute
from streams.alert.evidence import ordered
from streams.alert.inhibition import CAUSES, causes_of, consequences_of
from streams.alert.policy import AlertPolicy, group_of, labels_of
from streams.alert.silences import is_valid, silencing
from streams.alert.state import BookState, Member, Silence, Track


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
        self._dirty: set[str] = set()
        self._peers: dict[str, dict[str, None]] = {}
        self.overflow: Counter[str] = Counter()
        for mark, track in self._state.tracks.items():
            self._peers.setdefault(track.scope.model, {})[mark] = None
            if track.dirty_ms is not None:
                self._dirty.add(mark)

    @classmethod
    def from_bytes(cls, raw: bytes, policy: AlertPolicy) -> "AlertBook":
        """The book that continues exactly where :meth:`to_bytes` was called."""
        return cls(policy, state.decode(raw))

    def to_bytes(self) -> bytes:
        """The whole state."""
        return state.encode(self._state)

    @property
    def through_ms(self) -> int | None:
        """Event time that every known partition has passed; None before the first progress."""
        return min(self._state.progress.values(), default=None)

    def firing(self) -> Counter[Severity]:
        """How many alerts fire and are not suppressed, by severity."""
        tracks = self._state.tracks.values()
        return Counter(episode.severity_of(track) for track in tracks if track.status is Status.FIRING)

    def fold(self, message: FindingMessage) -> list[AlertEvent]:
        """Take the next message of the topic; what is to be recorded and published because of it, in order."""
        if isinstance(message, Progress):
            return self._progress(message)
        end_ms = message.window_start_ms + message.window_ms
        series = _series(message)
        if self._is_repeat(series, end_ms):
            return []
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
            self.overflow["silence"] += 1
            return False
        silences[silence.id] = silence
        self._touch_all(None)
        return True

    # ------------------------------------------------------------------------------------------------- findings

    def _is_repeat(self, series: str, end_ms: int) -> bool:
        """Whether this window of the series has been folded; remembers it if not."""
        seen, through_ms = self._state.seen, self.through_ms
        if through_ms is not None and end_ms <= through_ms - self._policy.replay_horizon_ms:
            return True
        if seen.get(series, end_ms - 1) >= end_ms:
            return True
        seen.pop(series, None)
        seen[series] = end_ms
        if len(seen) > self._policy.max_series:
            del seen[next(iter(seen))]
            self.overflow["series"] += 1
        return False

    def _fire(self, series: str, finding: Finding, end_ms: int) -> None:
        track = self._track(finding)
        if track is None:
            return
        if not track.members and track.status is Status.RESOLVED:
            track.lasting = None
        known = track.members.get(series)
        since_ms = min(finding.since_ms, known.since_ms) if known else finding.since_ms
        kept = msgspec.structs.replace(
            finding,
            exemplars=finding.exemplars[: self._policy.max_exemplars],
            contributions=finding.contributions[: self._policy.max_evidence],
        )
        track.members[series] = Member(kept, self._policy.severity(finding), since_ms)
        if len(track.members) > self._policy.max_members:
            weakest = ordered(track.members.values())[-1]
            track.members = {key: member for key, member in track.members.items() if member is not weakest}
            track.overflow += 1
            self.overflow["finding"] += 1
        self._touch(track, end_ms, spread=known is None)

    def _clear(self, series: str, finding: Finding, end_ms: int) -> None:
        track = self._state.tracks.get(_fingerprint(finding))
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

    def _track(self, finding: Finding) -> Track | None:
        """The alert of a finding, made if need be; None if there is no room: then every alert known is still alive."""
        tracks, mark = self._state.tracks, _fingerprint(finding)
        if mark in tracks:
            return tracks[mark]
        if len(tracks) >= self._policy.max_alerts:
            ended = [track for track in tracks.values() if track.status is Status.RESOLVED and not track.members]
            if not ended:
                self.overflow["alert"] += 1
                return None
            self._forget(min(ended, key=lambda track: (track.ends_ms, track.fingerprint)))
        group = group_of(finding)
        track = Track(mark, group, finding.scope.whole, labels_of(finding.scope, group))
        tracks[mark] = track
        self._peers.setdefault(track.scope.model, {})[mark] = None
        return track

    def _forget(self, track: Track) -> None:
        del self._state.tracks[track.fingerprint]
        self._dirty.discard(track.fingerprint)
        peers = self._peers[track.scope.model]
        del peers[track.fingerprint]
        if not peers:
            del self._peers[track.scope.model]

    # --------------------------------------------------------------------------------------------------- event time

    def _progress(self, message: Progress) -> list[AlertEvent]:
        progress, before_ms = self._state.progress, self.through_ms
        known_ms = progress.get(message.source_partition, message.through_ms)
        progress[message.source_partition] = max(known_ms, message.through_ms)
        through_ms = self.through_ms
        if through_ms is not None and before_ms is not None and through_ms > before_ms:
            self._expire(through_ms)
            self._turn_silences(before_ms, through_ms)
            self._prune(through_ms)
        return self._settle(message.through_ms)

    def _expire(self, through_ms: int) -> None:
        """End what has not come again. A window of an hour comes once an hour, so its length is granted on top."""
        for track in self._state.tracks.values():
            for series, member in list(track.recent.items()):
                if member.ended_ms + self._policy.inhibit_after_ms <= through_ms:
                    del track.recent[series]
                    self._touch(track, through_ms, spread=True)
            for series, member in list(track.members.items()):
                due_ms = member.end_ms + member.finding.window_ms + self._policy.resolve_after_ms
                if due_ms <= through_ms:
                    self._end(track, series, due_ms)
                    self._touch(track, due_ms, spread=True)

    def _turn_silences(self, before_ms: int, through_ms: int) -> None:
        """Look again at what fires when a silence begins or ends, and forget those that have ended."""
        silences = self._state.silences
        edges = [at for one in silences.values() for at in (one.starts_ms, one.ends_ms) if before_ms < at <= through_ms]
        if edges:
            self._touch_all(max(edges))
        self._state.silences = {key: one for key, one in silences.items() if one.ends_ms > through_ms}

    def _prune(self, through_ms: int) -> None:
        horizon_ms = self._policy.replay_horizon_ms
        seen = self._state.seen
        for series in [key for key, end_ms in seen.items() if end_ms <= through_ms - horizon_ms]:
            del seen[series]
        kept_ms = through_ms - horizon_ms - self._policy.retain_ms
        tracks = self._state.tracks.values()
        for track in [one for one in tracks if not one.members and one.dirty_ms is None and one.ends_ms < kept_ms]:
            self._forget(track)

    # ---------------------------------------------------------------------------------------------------- decisions

    def _touch(self, track: Track, at_ms: int, *, spread: bool) -> None:
        """Have the alert looked at, and with it those it may explain."""
        track.dirty_ms = at_ms if track.dirty_ms is None else max(track.dirty_ms, at_ms)
        self._dirty.add(track.fingerprint)
        if spread and track.group in CAUSES:
            for peer in self._peer_tracks(track):
                if peer.members and peer.group not in CAUSES:
                    self._touch(peer, at_ms, spread=False)

    def _touch_all(self, at_ms: int | None) -> None:
        for track in self._state.tracks.values():
            if track.members:
                self._touch(track, track.recorded_ms if at_ms is None else at_ms, spread=False)

    def _peer_tracks(self, track: Track) -> Iterable[Track]:
        return [self._state.tracks[mark] for mark in self._peers[track.scope.model]]

    def _settle(self, through_ms: int) -> list[AlertEvent]:
        """Decide about every alert whose latest window ended by ``through_ms``: causes first, then by fingerprint."""
        tracks = [self._state.tracks[mark] for mark in self._dirty]
        due = [track for track in tracks if track.dirty_ms is not None and track.dirty_ms <= through_ms]
        due.sort(key=lambda track: (track.group not in CAUSES, track.fingerprint))
        return [event for track in due for event in self._decide(track)]

    def _decide(self, track: Track) -> list[AlertEvent]:
        at_ms, track.dirty_ms = max(track.dirty_ms or 0, track.recorded_ms), None
        self._dirty.discard(track.fingerprint)
        if not track.members:
            return self._resolve(track, at_ms)
        peers = self._peer_tracks(track)
        explained = {key: causes_of(member.finding, peers) for key, member in track.members.items()}
        speaking = ordered(member for key, member in track.members.items() if not explained[key])
        members = speaking or ordered(track.members.values())
        if track.status is Status.RESOLVED:
            episode.begin(track, at_ms, self._policy)
        labels = {**track.labels, "severity": episode.severity_of(track, members).value}
        mute = Mute(
            silenced_by=tuple(silencing(self._state.silences.values(), labels, at_ms)),
            inhibited_by=()
            if speaking
            else tuple(sorted({cause for causes in explained.values() for cause in causes})),
        )
        status = Status.SUPPRESSED if mute else Status.FIRING
        if status is track.status and not episode.is_news(track, members, at_ms, self._policy):
            return []
        consequences = consequences_of(track, peers)
        return [episode.record(track, members, status, at_ms, self._policy, mute, consequences)]

    def _resolve(self, track: Track, at_ms: int) -> list[AlertEvent]:
        if track.status is Status.RESOLVED or track.lasting is None:
            return []
        return [episode.record(track, [track.lasting], Status.RESOLVED, at_ms, self._policy)]


def _fingerprint(finding: Finding) -> str:
    return fingerprint(labels_of(finding.scope, group_of(finding)))


def _series(finding: Finding) -> str:
    scope = finding.scope
    parts = (scope.family, scope.model, scope.model_version, scope.segment, finding.kind, finding.detector)
    text = "\x1f".join((*parts, finding.quantity, str(finding.window_ms)))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
