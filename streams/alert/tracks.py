"""The alerts that are known, by fingerprint and by model, under a cap."""

from collections.abc import Iterator

from schemas.alerts import Status, fingerprint
from schemas.findings import Finding
from streams.alert.policy import group_of, labels_of
from streams.alert.state import Track


class Tracks:
    """Alerts by fingerprint; those of one model (or host) can be had together.

    Parameters
    ----------
    known
        Fingerprint → alert; kept up to date.
    most
        How many there may be. For one more, the alert that resolved longest ago makes room.
    """

    def __init__(self, known: dict[str, Track], most: int) -> None:
        self._known, self._most = known, most
        self._peers: dict[str, dict[str, None]] = {}
        self.overflow = 0
        for mark, track in known.items():
            self._peers.setdefault(track.scope.model, {})[mark] = None

    def __iter__(self) -> Iterator[Track]:
        return iter(self._known.values())

    def __getitem__(self, mark: str) -> Track:
        return self._known[mark]

    def find(self, finding: Finding) -> Track | None:
        """The alert of a finding, if it is known."""
        return self._known.get(fingerprint_of(finding))

    def of(self, finding: Finding) -> Track | None:
        """The alert of a finding, made if need be; None if there is no room: then every alert known is alive."""
        known = self.find(finding)
        if known is not None:
            return known
        if len(self._known) >= self._most:
            ended = [track for track in self if track.status is Status.RESOLVED and track.is_at_rest]
            if not ended:
                self.overflow += 1
                return None
            self.forget(min(ended, key=lambda track: (track.ends_ms, track.fingerprint)))
        group, mark = group_of(finding), fingerprint_of(finding)
        track = Track(mark, group, finding.scope.whole, labels_of(finding.scope, group))
        self._known[mark] = track
        self._peers.setdefault(track.scope.model, {})[mark] = None
        return track

    def peers(self, track: Track) -> list[Track]:
        """All alerts about the same model or host, the given one too, in the order in which they came up."""
        return [self._known[mark] for mark in self._peers[track.scope.model]]

    def forget(self, track: Track) -> None:
        """Drop an alert."""
        del self._known[track.fingerprint]
        peers = self._peers[track.scope.model]
        del peers[track.fingerprint]
        if not peers:
            del self._peers[track.scope.model]


def fingerprint_of(finding: Finding) -> str:
    """The fingerprint of the alert a finding belongs to."""
    return fingerprint(labels_of(finding.scope, group_of(finding)))
