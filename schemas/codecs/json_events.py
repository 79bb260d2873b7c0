"""JSON messages into columns: structs first, because that is the fastest parser there is, then one pass per field."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np

from schemas.codecs import counters
from schemas.codecs.blocks import feature_blocks
from schemas.codecs.families import FamilySpec
from schemas.codecs.headers import Hints
from schemas.codecs.keys import Cuts, canonical, event_key
from schemas.codecs.limits import Limits
from schemas.codecs.morgue import Morgue
from schemas.codecs.texts import TRUNCATED, Notes, Numbering
from schemas.codecs.times import Problem, problems
from schemas.columns import Codes, CountedColumn, EventColumns, EventKey, Floats, Ints, Reason
from schemas.common import INT64_MIN, Value

UNDECODABLE: Final = (msgspec.DecodeError, ValueError, TypeError, RecursionError, OverflowError)
"""All that msgspec and ``len`` raise for bytes or null; ``DecodeError`` includes validation."""

_MISSING_TIME: Final = INT64_MIN
_segments: Final = msgspec.json.Decoder(dict[str, Value] | None).decode


@dataclass(frozen=True, slots=True)
class Reader:
    """The decoders of one family: ``fast`` fills a private struct, ``strict`` the public one, for its words."""

    fast: Callable[[bytes], Any]
    strict: Callable[[bytes], Any]


@cache
def reader(strict: type[msgspec.Struct], segment: str) -> Reader:
    """The decoders of a public struct.

    The private struct differs in two fields: a missing ``ts_ms`` is no error yet, because a header may have it, and
    the segments stay bytes, because the same bytes come again and again and need to be read once.
    """
    fields: list[Any] = []
    for known in msgspec.structs.fields(strict):
        if known.name == "ts_ms":
            fields.append((known.name, known.type, _MISSING_TIME))
        elif known.name == segment:
            fields.append((known.name, msgspec.Raw, msgspec.Raw(b"")))
        elif known.required:
            fields.append((known.name, known.type))
        else:
            fields.append((known.name, known.type, known.default))
    wire = msgspec.defstruct(f"{strict.__name__}Wire", fields, kw_only=True, gc=False)
    return Reader(msgspec.json.Decoder(wire).decode, msgspec.json.Decoder(strict).decode)


@dataclass(frozen=True, slots=True)
class JsonMessages:
    """JSON bodies of one micro-batch: ``record`` int64[n] their places in it, ``events`` what they held."""

    record: Ints
    payloads: Sequence[bytes]
    events: list[Any]

    def without(self, bad: Sequence[int]) -> "JsonMessages":
        """The same less the events at places ``bad``."""
        keep = np.ones(len(self.events), bool)
        keep[list(bad)] = False
        places = np.flatnonzero(keep).tolist()
        return JsonMessages(
            self.record[keep], [self.payloads[place] for place in places], [self.events[place] for place in places]
        )


def parse(spec: FamilySpec, record: Ints, payloads: Sequence[bytes], morgue: Morgue) -> JsonMessages:
    """Decode each payload by itself; the bad ones go to the morgue."""
    decoders = reader(spec.strict, spec.segment)
    events, good = [], []
    for place, payload in enumerate(payloads):
        try:
            events.append(decoders.fast(payload))
            good.append(place)
        except UNDECODABLE as error:
            morgue.add(int(record[place]), *explain(error))
    return JsonMessages(record[good], [payloads[place] for place in good], events)


def explain(error: Exception) -> tuple[Reason, str]:
    """The reason and the words for what msgspec raised."""
    if isinstance(error, msgspec.ValidationError):
        return Reason.SCHEMA_MISMATCH, str(error)
    if isinstance(error, RecursionError):
        return Reason.INVALID_JSON, "nested too deeply"
    return Reason.INVALID_JSON, str(error)


def columns(
    spec: FamilySpec, messages: JsonMessages, hints: Hints, limits: Limits, morgue: Morgue
) -> EventColumns | None:
    """The usable events of ``messages``; ``None`` when none is. The others go to the morgue."""
    notes = Notes()
    times, keyed, bad = _screen(spec, messages, hints, limits, notes)
    if bad:
        morgue.add_all(messages.record, bad)
        messages, notes = messages.without([place for place, _, _ in bad]), Notes()
        times, keyed, _ = _screen(spec, messages, hints, limits, notes)
    events = messages.events
    if not events:
        return None
    key, keys = keyed
    lists = spec.pull(events) if spec.pull else _pull_by_name(spec, events)
    nested = _pull_nested(spec, events)
    numeric = _numeric(spec, {**lists, **nested}, times)
    counted = _counted(spec, {**lists, **nested}, events, limits, notes)
    values = attrgetter(spec.values) if spec.values else None
    blocks = feature_blocks(list(map(values, events)), limits, notes) if values else ()
    event_id = _event_ids(messages, hints, limits, notes)
    return EventColumns(
        spec.family, messages.record, np.zeros(len(events), np.int64), times, key, keys, numeric,
        {**counted, **notes.columns()}, blocks, event_id,
    )  # fmt: skip


def _screen(
    spec: FamilySpec, messages: JsonMessages, hints: Hints, limits: Limits, notes: Notes
) -> tuple[Ints, tuple[Codes, tuple[EventKey, ...]], list[Problem]]:
    """Event times, keys, and what cannot be used, found before any other column is made."""
    times, bad = _times(spec, messages, hints, limits)
    codes, keys, wrong = _keys(spec, messages, limits)
    bad = list({problem[0]: problem for problem in (*wrong, *bad)}.values())
    if bad:
        return times, (codes, ()), bad
    return times, canonical(codes, keys, notes), bad


def _times(spec: FamilySpec, messages: JsonMessages, hints: Hints, limits: Limits) -> tuple[Ints, list[Problem]]:
    events = messages.events
    times = np.fromiter([e.ts_ms for e in events], np.int64, len(events))
    untimed: list[Problem] = []
    strict = reader(spec.strict, spec.segment).strict
    for place in np.flatnonzero(times == _MISSING_TIME).tolist():
        times[place] = hints.time_ms(int(messages.record[place]))
        if times[place] == _MISSING_TIME:
            try:
                strict(messages.payloads[place])
            except UNDECODABLE as error:
                untimed.append((place, *explain(error)))
    return times, [*problems(times, hints.append_ms[messages.record], limits.max_future_s), *untimed]


def _keys(
    spec: FamilySpec, messages: JsonMessages, limits: Limits
) -> tuple[Codes, list[tuple[EventKey, Cuts]], list[Problem]]:
    events = messages.events
    model = list(map(attrgetter(spec.identity[0]), events))
    version = list(map(attrgetter(spec.identity[1]), events)) if len(spec.identity) > 1 else [""] * len(events)
    numbering = Numbering[tuple[str, str | None, bytes | str | None]]()
    third: Sequence[bytes | str | None] = [b""] * len(events)
    if spec.segment:
        third = list(map(bytes, map(attrgetter(spec.segment), events)))
    elif spec.model_segment:
        third = list(map(attrgetter(spec.model_segment), events))
    codes = numbering.codes(zip(model, version, third, strict=True), len(events))
    keys: list[tuple[EventKey, Cuts]] = []
    bad: list[Problem] = []
    for number, (name, of_version, segment) in enumerate(numbering):
        pairs: Mapping[str, Value] = {}
        try:
            if isinstance(segment, bytes):
                pairs = (_segments(segment) or {}) if segment else {}
            elif segment is not None:
                pairs = {"model": segment}
        except UNDECODABLE:
            bad += [
                (place, *_words(spec, messages.payloads[place])) for place in np.flatnonzero(codes == number).tolist()
            ]
        keys.append(event_key(name, of_version or "", pairs.items(), limits))
    return codes, keys, bad


def _words(spec: FamilySpec, payload: bytes) -> tuple[Reason, str]:
    try:
        reader(spec.strict, spec.segment).strict(payload)
    except UNDECODABLE as error:
        return explain(error)
    return Reason.SCHEMA_MISMATCH, f"unreadable {spec.segment} - at `$.{spec.segment}`"


def _pull_by_name(spec: FamilySpec, events: Sequence[Any]) -> dict[str, list[Any]]:
    paths = {**spec.numeric, **spec.counted}
    return {name: list(map(attrgetter(path), events)) for name, path in paths.items() if "/" not in path}


def _pull_nested(spec: FamilySpec, events: Sequence[Any]) -> dict[str, list[Any]]:
    """Fields of nested structs, ``None`` for events without one; nothing when no event has one."""
    found: dict[str, list[Any]] = {}
    paths = {name: path.split("/") for name, path in (*spec.numeric.items(), *spec.counted.items()) if "/" in path}
    for outer in {path[0] for path in paths.values()}:
        inner = list(map(attrgetter(outer), events))
        if any(value is not None for value in inner):
            for name, (parent, child) in paths.items():
                if parent == outer:
                    found[name] = [None if value is None else getattr(value, child) for value in inner]
    return found


def _numeric(spec: FamilySpec, lists: Mapping[str, list[Any]], times: Ints) -> dict[str, Floats]:
    numeric = {}
    for name in spec.numeric:
        # the struct's types let nothing but floats and None through, and numpy makes NaN of None
        values = np.array(lists[name], np.float64) if name in lists else None
        if values is not None and not np.isnan(values).all():
            numeric[name] = values
    return spec.derive(numeric, times) if spec.derive else numeric


def _counted(
    spec: FamilySpec, lists: Mapping[str, list[Any]], events: Sequence[Any], limits: Limits, notes: Notes
) -> dict[str, CountedColumn]:
    found: dict[str, CountedColumn | None] = {}
    for name in spec.counted:
        if name not in lists:
            continue
        values, other = lists[name], lists.get(spec.fallbacks.get(name, ""))
        if other is not None:
            values = [fallback if value is None else value for value, fallback in zip(values, other, strict=True)]
        numbering = Numbering[str | None]()
        codes = numbering.codes(values, len(values))
        found[name] = counters.of_texts(codes, tuple(numbering), spec.defaults.get(name), limits, notes)
    for name, path in spec.numbers.items():
        given = [(row, code) for row, codes in enumerate(map(attrgetter(path), events)) for code in codes or ()]
        flat = np.array(given, np.int64).reshape(-1, 2)
        found[name] = counters.of_numbers(flat[:, 0], flat[:, 1])
    for name, (path, names) in spec.bits.items():
        masks = np.array([mask or 0 for mask in map(attrgetter(path), events)], np.int64)
        found[name] = counters.of_bits(np.arange(len(masks)), masks, names)
    return {name: column for name, column in found.items() if column is not None}


def _event_ids(messages: JsonMessages, hints: Hints, limits: Limits, notes: Notes) -> list[str]:
    ids = [e.event_id or "" for e in messages.events]
    if not hints.empty and not all(ids):
        records = messages.record.tolist()
        ids = [known or hints.event_id(record) for known, record in zip(ids, records, strict=True)]
    width = limits.max_text_chars
    if max(map(len, ids)) > width:
        notes.add(TRUNCATED, "texts", np.flatnonzero([len(text) > width for text in ids]))
        ids = [text[:width] for text in ids]
    return ids
