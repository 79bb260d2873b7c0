"""Alerts: what on-call bridges read. CloudEvents 1.0 in Kafka's binary mode around an Alertmanager-v2-like JSON body.

The body of a firing alert can be posted to Alertmanager as it is: ``labels`` identify (and carry the severity),
``annotations`` describe, ``endsAt`` is absent until the alert has resolved. ``evidence`` is Halcyon's own: the numbers
behind the alert and the query that recomputes them. Keys that mirror Alertmanager keep its camel case.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

CE_TYPE_PREFIX: Final = "sre.halcyon.alert."
CE_SPECVERSION: Final = "1.0"
CE_DATASCHEMA: Final = "urn:halcyon:alert:1"
"""Names the version of the body; a change that is not an addition of a field raises the number."""
CONTENT_TYPE: Final = "application/json"
DEFAULT_SOURCE: Final = "/halcyon/alert"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Status(StrEnum):
    """Where an alert is in its life. ``SUPPRESSED`` (silenced or inhibited) is recorded, never published."""

    FIRING = "firing"
    RESOLVED = "resolved"
    SUPPRESSED = "suppressed"


class Share(msgspec.Struct, frozen=True):
    """A feature's or segment's share in the alert, 0…1, largest first."""

    name: str
    share_ratio: float


class Observation(msgspec.Struct, frozen=True):
    """One number behind an alert: what was seen, against what, over which window, on how many events.

    ``value``, ``baseline`` and ``threshold`` are in ``unit``, null where the detector gave none (NaN or infinite).
    ``segment`` is ``""`` for the model as a whole. ``sql`` recomputes the value from the stored windows.
    """

    kind: str
    detector: str
    quantity: str
    segment: str
    severity: str
    value: float | None
    baseline: float | None
    threshold: float | None
    unit: str
    score: float | None
    rows: int
    confidence_ratio: float | None
    window_start_ms: int
    window_ms: int
    since_ms: int
    baseline_id: str
    summary: str
    sql: str


class Evidence(msgspec.Struct, frozen=True):
    """Why the alert is there.

    ``leading`` is the strongest observation, ``others`` the next ones (bounded; ``observations`` counts all).
    ``features`` and ``segments`` are ordered by share. ``consequences`` are summaries of findings which this alert
    explains, and which therefore made no alert of their own. ``event_ids`` are exemplars to look up.
    """

    leading: Observation
    others: tuple[Observation, ...] = ()
    observations: int = 1
    features: tuple[Share, ...] = ()
    segments: tuple[Share, ...] = ()
    consequences: tuple[str, ...] = ()
    event_ids: tuple[str, ...] = ()


class Alert(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The body of an alert event.

    ``id`` is one episode of ``fingerprint``, ``sequence`` counts its events from 1; both are the same in every replay.
    Times are RFC 3339 in UTC with milliseconds, and are event time. ``silenced_by`` and ``inhibited_by`` tell who
    suppressed it: ids of silences, fingerprints of alerts.
    """

    id: str
    status: Status
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str
    updated_at: str
    fingerprint: str
    sequence: int
    evidence: Evidence
    ends_at: str | msgspec.UnsetType = msgspec.UNSET
    silenced_by: tuple[str, ...] = ()
    inhibited_by: tuple[str, ...] = ()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Alert)


def encode(alert: Alert) -> bytes:
    """JSON for the ``alerts`` topic."""
    return _encoder.encode(alert)


def decode(raw: bytes) -> Alert:
    """The alert in ``raw``; fields this version does not know are passed over.

    Raises
    ------
    msgspec.ValidationError
        If a field is missing or has a wrong type.
    msgspec.DecodeError
        If the bytes are no JSON.
    """
    return _decoder.decode(raw)


def headers(ce_id: str, status: Status, time_ms: int, source: str = DEFAULT_SOURCE) -> list[tuple[str, bytes]]:
    """CloudEvents headers of an alert event; ``time_ms`` is event time."""
    fields = {
        "ce_specversion": CE_SPECVERSION,
        "ce_id": ce_id,
        "ce_type": CE_TYPE_PREFIX + status.value,
        "ce_source": source,
        "ce_time": rfc3339(time_ms),
        "ce_dataschema": CE_DATASCHEMA,
        "content-type": CONTENT_TYPE,
    }
    return [(name, value.encode()) for name, value in fields.items()]


def header(pairs: Iterable[tuple[str, bytes | None]] | Mapping[str, bytes | None] | None, name: str) -> str:
    """The first header of that name as text, ``""`` where there is none."""
    items = pairs.items() if isinstance(pairs, Mapping) else pairs or ()
    return next(((value or b"").decode("utf-8", "replace") for key, value in items if key == name), "")


def rfc3339(ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC.

    Examples
    --------
    >>> rfc3339(1_700_000_000_250)
    '2023-11-14T22:13:20.250Z'
    """
    at = _EPOCH + timedelta(milliseconds=ms)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def milliseconds(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time.

    Raises
    ------
    ValueError
        If ``text`` is no RFC 3339 time.

    Examples
    --------
    >>> milliseconds("2023-11-14T22:13:20.250Z")
    1700000000250
    """
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)


def fingerprint(labels: Mapping[str, str]) -> str:
    """64-bit FNV-1a over the sorted labels with a 0xff byte behind each part: the way Prometheus hashes a label set.

    ``severity`` is left out: it describes, and an alert that escalates stays the same alert.

    Examples
    --------
    >>> fingerprint({"alertname": "ModelDrift", "model": "fraud", "severity": "warning"})
    'bcc9e11b85f65609'
    """
    value = 0xCBF29CE484222325
    for name in sorted(labels):
        if name == "severity":
            continue
        for byte in name.encode() + b"\xff" + labels[name].encode() + b"\xff":
            value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"
