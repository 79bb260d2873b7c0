"""The decoders' shared skeleton: tell encodings apart, read each in its own way, put the events back in order."""

from collections.abc import Sequence
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
_CHUNK: Final = 256
"""How many good messages a bad one makes to be read again."""
_BRACE: Final = ord("{")


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
    messages = _uniform(spec, values, limits)
    if messages is None:
        messages, others = _plain(spec, values, limits)
        found = sort(values, others, limits, morgue)
        if found.json:
            framed = json_events.parse(spec, np.array(found.json_records, np.int64), found.json, morgue)
            messages = json_events.joined(messages, framed)
        if found.arrow:
            parts += arrow_events.columns(spec, found.arrow_records, found.arrow, hints, limits, morgue)
    if messages.events:
        parts.append(json_events.columns(spec, messages, hints, limits, morgue))
    return Decoded(merge(spec.family, [part for part in parts if part is not None]), morgue.letters())


def _uniform(spec: FamilySpec, values: Sequence[bytes | None], limits: Limits) -> JsonMessages | None:
    """The batch, if all of it is good JSON with the features of its first message: most topics have one schema."""
    if len(values) < _UNIFORM_FROM or not spec.values:
        return None
    payloads: Sequence[bytes] = values  # type: ignore[assignment]  # None raises TypeError at its length
    try:
        if max(map(len, payloads)) > limits.max_message_bytes:
            return None
        first = getattr(reader(spec.strict, spec.segment).fast(payloads[0]), spec.values)
        if not first or len(first) > min(_UNIFORM_FEATURES, limits.max_features):
            return None
        names = tuple(sorted(first))
        fast = uniform_reader(spec.strict, spec.segment, spec.values, names)
        events = [fast(payload) for payload in payloads] if fast else []
    except UNDECODABLE:
        return None
    return JsonMessages(np.arange(len(payloads)), payloads, events, names) if fast else None


def _plain(spec: FamilySpec, values: Sequence[bytes | None], limits: Limits) -> tuple[JsonMessages, list[int]]:
    """The good JSON messages of a batch, and the places of all others."""
    fast = reader(spec.strict, spec.segment).fast
    records: list[int] = []
    events: list[Any] = []
    others: list[int] = []
    for start in range(0, len(values), _CHUNK):
        chunk: Sequence[bytes] = values[start : start + _CHUNK]  # type: ignore[assignment]  # None raises as above
        try:
            if max(map(len, chunk)) <= limits.max_message_bytes:
                events += [fast(payload) for payload in chunk]
                records += range(start, start + len(chunk))
                continue
        except UNDECODABLE:
            pass
        for record, payload in enumerate(chunk, start):
            # asking first is cheaper than an exception, of which an Arrow or framed topic would have many
            if payload and payload[0] == _BRACE and len(payload) <= limits.max_message_bytes:
                try:
                    events.append(fast(payload))
                    records.append(record)
                    continue
                except UNDECODABLE:
                    pass
            others.append(record)
    payloads: list[bytes] = [values[record] or b"" for record in records] if others else list(values)  # type: ignore[arg-type]
    return JsonMessages(np.array(records, np.int64), payloads, events), others
