"""The decoders' shared skeleton: tell encodings apart, read each in its own way, put the events back in order."""

from collections.abc import Sequence

import numpy as np

from schemas.codecs import arrow_events, json_events
from schemas.codecs.families import FamilySpec
from schemas.codecs.framing import sort
from schemas.codecs.headers import Headers, Hints
from schemas.codecs.json_events import UNDECODABLE, JsonMessages
from schemas.codecs.limits import Limits
from schemas.codecs.merge import merge
from schemas.codecs.morgue import Morgue
from schemas.columns import Decoded, EventColumns, Ints


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
    fast = json_events.reader(spec.strict, spec.segment).fast
    try:
        if max(map(len, values), default=0) > limits.max_message_bytes:  # type: ignore[arg-type]  # None raises
            return None
        events = [fast(value) for value in values]  # type: ignore[arg-type]  # likewise
    except UNDECODABLE:
        return None
    return JsonMessages(np.arange(len(values)), values, events)  # type: ignore[arg-type]  # there was no None
