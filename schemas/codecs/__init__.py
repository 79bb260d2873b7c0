"""Decoders from messages to columns, and encoders for producers and tests."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

from schemas.codecs import families
from schemas.codecs.batch import decode
from schemas.codecs.encode import encode_arrow, encode_json
from schemas.codecs.headers import Headers
from schemas.codecs.limits import Limits
from schemas.columns import Decoded, Ints
from schemas.scopes import Family

__all__ = [
    "DECODERS",
    "Decoder",
    "Headers",
    "Limits",
    "decode_features",
    "decode_gpu",
    "decode_labels",
    "decode_predictions",
    "encode_arrow",
    "encode_json",
]

_DEFAULTS: Final = Limits()
Values = Sequence[bytes | None]
Times = Sequence[int] | Ints


def decode_predictions(
    values: Values,
    headers: Sequence[Headers | None] | None = None,
    timestamps_ms: Times | None = None,
    limits: Limits = _DEFAULTS,
) -> Decoded:
    """Columns of the messages of a ``predictions`` topic.

    Parameters
    ----------
    values
        The records' values, in offset order; JSON, Confluent-framed JSON and Arrow IPC may be mixed.
    headers
        The records' headers: ``ce_id`` and ``ce_time`` stand in for a missing ``event_id`` and ``ts_ms``.
    timestamps_ms
        The broker's append times, which bound how far ahead an event's time may be; ≤ 0 for unknown.
    limits
        Bounds of what one message may hold.

    Returns
    -------
    Decoded
        Every record is in the columns, in the dead letters, or (an Arrow message with some bad events) in both.

    Examples
    --------
    >>> one = b'{"ts_ms": 1767225600000, "model": "cards", "latency_ms": 12.5, "features": {"amount": 3}}'
    >>> decoded = decode_predictions([one, b"{"])
    >>> decoded.columns.keys[0].model, decoded.columns.numeric["latency_ms"], decoded.columns.blocks[0].names
    ('cards', array([12.5]), ('amount',))
    >>> [(letter.record, letter.reason.value) for letter in decoded.dead]
    [(1, 'invalid_json')]
    """
    return decode(families.PREDICTIONS, values, headers, timestamps_ms, limits)


def decode_features(
    values: Values,
    headers: Sequence[Headers | None] | None = None,
    timestamps_ms: Times | None = None,
    limits: Limits = _DEFAULTS,
) -> Decoded:
    """Columns of the messages of a ``features`` topic; as :func:`decode_predictions`."""
    return decode(families.FEATURES, values, headers, timestamps_ms, limits)


def decode_gpu(
    values: Values,
    headers: Sequence[Headers | None] | None = None,
    timestamps_ms: Times | None = None,
    limits: Limits = _DEFAULTS,
) -> Decoded:
    """Columns of the messages of a ``gpu-telemetry`` topic; as :func:`decode_predictions`."""
    return decode(families.GPU, values, headers, timestamps_ms, limits)


def decode_labels(
    values: Values,
    headers: Sequence[Headers | None] | None = None,
    timestamps_ms: Times | None = None,
    limits: Limits = _DEFAULTS,
) -> Decoded:
    """Columns of the messages of a ``labels`` topic; as :func:`decode_predictions`.

    Examples
    --------
    >>> yes = b'{"event_id": "a", "ts_ms": 1767225600000, "model": "cards", "label": true}'
    >>> cat = b'{"event_id": "b", "ts_ms": 1767225600000, "model": "cards", "label": "stolen"}'
    >>> columns = decode_labels([yes, cat]).columns
    >>> columns.numeric["label"], columns.counted["label"].values
    (array([ 1., nan]), ('stolen',))
    """
    return decode(families.LABELS, values, headers, timestamps_ms, limits)


class Decoder(Protocol):
    """The decoder of one family."""

    def __call__(
        self,
        values: Values,
        headers: Sequence[Headers | None] | None = None,
        timestamps_ms: Times | None = None,
        limits: Limits = _DEFAULTS,
    ) -> Decoded:
        """Columns and dead letters of one micro-batch; see :func:`decode_predictions`."""
        ...


DECODERS: Final[Mapping[Family, Decoder]] = MappingProxyType(
    {
        Family.PREDICTION: decode_predictions,
        Family.FEATURE: decode_features,
        Family.GPU: decode_gpu,
        Family.LABEL: decode_labels,
    }
)
"""The decoder of each source family."""
