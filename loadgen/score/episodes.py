"""Alert events gathered into episodes: what was said, about whom, from when to when."""

from collections.abc import Iterable
from typing import Final

import msgspec

from schemas.alerts import Alert, Status, milliseconds
from schemas.findings import Severity

_LOUDNESS: Final = {Severity.INFO.value: 0, Severity.TICKET.value: 1, Severity.PAGE.value: 2}
_WORDS: Final = {Severity.INFO.value: "info", Severity.TICKET.value: "ticket", Severity.PAGE.value: "page"}


class Sighting(msgspec.Struct, frozen=True):
    """A firing event of an alert: when (event time), how loud, and of which kinds; ``since_ms`` is its start."""

    at_ms: int
    since_ms: int
    severity: str
    kinds: tuple[str, ...]


class Episode(msgspec.Struct, frozen=True):
    """One alert from its first firing event until it resolved: one that fires again has another episode.

    Attributes
    ----------
    id, name, summary
        The alert's; episodes of an alert that flaps share its id.
    entity
        The model, the feature set or the host it is about.
    gpu
        The GPU of the host, where it is about one.
    sightings
        Its firing events, one at least, in the order in which they came.
    end_ms
        When it ended; None while it fires.
    """

    id: str
    name: str
    entity: str
    gpu: str
    summary: str
    sightings: tuple[Sighting, ...]
    end_ms: int | None = None

    @property
    def first(self) -> Sighting:
        """Its first firing event."""
        return self.sightings[0]

    @property
    def severity(self) -> str:
        """The loudest it ever was."""
        return max((sighting.severity for sighting in self.sightings), key=loudness)


def loudness(severity: str) -> int:
    """Severities in order: 0 for an info and for what is unknown, 1 for a ticket, 2 for a page."""
    return _LOUDNESS.get(severity, 0)


def word(severity: str) -> str:
    """What people call a severity."""
    return _WORDS.get(severity, severity)


def episodes(alerts: Iterable[Alert]) -> tuple[list[Episode], list[str]]:
    """Gather alert events, in the order of their arrival, into episodes.

    Returns
    -------
    tuple
        The episodes that fired, by first event; and ``id/sequence`` of each event that came more than once.
    """
    open_: dict[str, Episode] = {}
    over: list[Episode] = []
    seen: set[tuple[str, int]] = set()
    duplicates = []
    ended: dict[str, int] = {}
    for alert in alerts:
        if (alert.id, alert.sequence) in seen:
            duplicates.append(f"{alert.id}/{alert.sequence}")
            continue
        seen.add((alert.id, alert.sequence))
        if alert.status is Status.FIRING:
            open_[alert.id] = _extended(open_.get(alert.id), alert, ended.get(alert.id))
        elif alert.status is Status.RESOLVED:
            ended[alert.id] = milliseconds(alert.ends_at if isinstance(alert.ends_at, str) else alert.updated_at)
            if (episode := open_.pop(alert.id, None)) is not None:
                over.append(msgspec.structs.replace(episode, end_ms=ended[alert.id]))
    return sorted((*over, *open_.values()), key=lambda episode: episode.first.at_ms), duplicates


def episode_of(alert: Alert) -> Episode:
    """A single firing event as an episode."""
    return _extended(None, alert, None)


def _extended(known: Episode | None, alert: Alert, ended_ms: int | None) -> Episode:
    evidence = alert.evidence
    observations = (evidence.leading, *evidence.others)
    sighting = Sighting(
        at_ms=milliseconds(alert.updated_at),
        since_ms=_since_ms(alert, known, ended_ms),
        severity=alert.labels.get("severity", ""),
        kinds=tuple(dict.fromkeys(observation.kind for observation in observations)),
    )
    if known is not None:
        return msgspec.structs.replace(known, sightings=(*known.sightings, sighting))
    labels = alert.labels
    return Episode(
        id=alert.id,
        name=labels.get("alertname", ""),
        entity=next((labels[name] for name in ("model", "feature_set", "host") if name in labels), ""),
        gpu=labels.get("gpu_uuid", ""),
        summary=alert.annotations.get("summary", ""),
        sightings=(sighting,),
    )


def _since_ms(alert: Alert, known: Episode | None, ended_ms: int | None) -> int:
    if known is not None:
        return known.first.since_ms
    if ended_ms is None:
        return milliseconds(alert.starts_at)
    # An alert that flaps keeps its first start; what it sees now began when its observations say, and after its end.
    evidence = alert.evidence
    return max(ended_ms, min(observation.since_ms for observation in (evidence.leading, *evidence.others)))
