"""The decoders' shared skeleton: tell encodings apart, read each in its own way, put the events back in order."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from schemas.codecs import arrow_events, json_events
from schemas.codecs.families import FamilySpec
from schemas.codecs.framing import sort
from schemas.codecs.headers import Headers, Hints
from schemas.codecs.json_events import JsonMessages
from schemas.codecs.limits import Limits
from schemas.codecs.merge import merge
from schemas.codecs.morgue import Morgue
from schemas.codecs.readers import UNDECODABLE, reader, uniform_reader
from schemas.columns import Decoded, EventColumns, Ints

_UNIFORM_FROM: Final = 64
"""Batches of fewer messages do not repay making a decoder for their features."""
_UNIFORM_FEATURES: Final = 256


def decode(
    spec: FamilySpec,
    values: Sequence[bytes | None],
    headers: Sequence[Headers | None] | None,
    timestamps_ms: Sequence[int] | Ints | None,
    limits: Limits,
) -> Decoded:
    """Columns and dead letters of one micro-batch. Raises for nothing that a message holds."""
    hints, morgue = Hints(len(values), headers, timestamps_ms), Morgue()
    parts: list[EventColumns | None] = []
    messages = _all_json(spec, values, limits)
    if messages is None:
        found = sort(values, limits, morgue)
        messages = json_events.parse(spec, np.array(found.json_records, np.int64), found.json, morgue)
        if found.arrow:
            parts += arrow_events.columns(spec, found.arrow_records, found.arrow, hints, limits, morgue)
    if messages.events:
        parts.append(json_events.columns(spec, messages, hints, limits, morgue))
    return Decoded(merge(spec.family, [part for part in parts if part is not None]), morgue.letters())


def _all_json(spec: FamilySpec, values: Sequence[bytes | None], limits: Limits) -> JsonMessages | None:
    """What nearly every batch is: good JSON throughout. ``None`` when it is not, for the careful way."""
    fast = reader(spec.strict, spec.segment).fast
    payloads: Sequence[bytes] = values  # type: ignore[assignment]  # None raises TypeError at its length
    try:
        if max(map(len, payloads), default=0) > limits.max_message_bytes:
            return None
        if len(payloads) >= _UNIFORM_FROM and spec.values:
            uniform = _uniform(spec, payloads, getattr(fast(payloads[0]), spec.values), limits)
            if uniform is not None:
                return uniform
        events = [fast(payload) for payload in payloads]
    except UNDECODABLE:
        return None
    return JsonMessages(np.arange(len(payloads)), payloads, events)


def _uniform(
    spec: FamilySpec, payloads: Sequence[bytes], first: Mapping[str, Any] | None, limits: Limits
) -> JsonMessages | None:
    """The batch, if all its messages have the features of its first; most topics have one schema, or nearly."""
    if not first or len(first) > min(_UNIFORM_FEATURES, limits.max_features):
        return None
    fast = uniform_reader(spec.strict, spec.segment, spec.values, tuple(sorted(first)))
    if fast is None:
        return None
    try:
        events = [fast(payload) for payload in payloads]
    except UNDECODABLE:
        return None
    return JsonMessages(np.arange(len(payloads)), payloads, events, tuple(sorted(first)))
