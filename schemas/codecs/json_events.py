"""JSON messages into columns: structs first, because that is the fastest parser there is, then one pass per field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, overload

import msgspec
import numpy as np

from schemas.codecs import counters
from schemas.codecs.blocks import feature_blocks, uniform_block
from schemas.codecs.families import FamilySpec, Identity
from schemas.codecs.hashes import Hashes, of_texts
from schemas.codecs.headers import Hints
from schemas.codecs.keys import Cuts, canonical, event_key
from schemas.codecs.limits import Limits
from schemas.codecs.morgue import Morgue
from schemas.codecs.readers import MISSING_TIME, UNDECODABLE, reader
from schemas.codecs.texts import TRUNCATED, CutTexts, Notes, Numbering
from schemas.codecs.times import Problem, problems
from schemas.columns import Codes, CountedColumn, EventColumns, EventKey, FeatureBlock, Floats, Ints, Reason
from schemas.common import Value

_segments: Final = msgspec.json.Decoder(dict[str, Value] | None).decode


@dataclass(frozen=True, slots=True)
class JsonMessages:
    """JSON bodies of one micro-batch: ``record`` int64[n] their places in it, ``events`` what they held.

    With ``names`` the features are a struct of so many fields, the same for all events; else they are dictionaries.
    """

    record: Ints
    payloads: Sequence[bytes]
    events: list[Any]
    names: tuple[str, ...] = ()

    def without(self, bad: Sequence[int]) -> "JsonMessages":
        """The same less the events at places ``bad``."""
        keep = np.ones(len(self.events), bool)
        keep[list(bad)] = False
        places = np.flatnonzero(keep).tolist()
        payloads, events = [self.payloads[place] for place in places], [self.events[place] for place in places]
        return JsonMessages(self.record[keep], payloads, events, self.names)


def joined(one: JsonMessages, other: JsonMessages) -> JsonMessages:
    """The messages of both, in the order of their records; features of both as dictionaries."""
    record = np.concatenate([one.record, other.record])
    order = np.argsort(record)
    payloads, events = [*one.payloads, *other.payloads], [*one.events, *other.events]
    places = order.tolist()
    return JsonMessages(record[order], [payloads[place] for place in places], [events[place] for place in places])


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
    fields = spec.pull(events)
    fields |= _pull_nested(spec, fields)
    numeric = _numeric(spec, fields, times)
    counted = _counted(spec, fields, limits, notes)
    blocks = _blocks(fields[spec.values], messages.names, limits, notes) if spec.values else ()
    event_id = _event_ids(messages, hints, limits)
    return EventColumns(
        spec.family, messages.record, np.zeros(len(events), np.int64), times, key, keys, numeric,
        {**counted, **notes.columns()}, blocks, event_id,
    )  # fmt: skip


def _blocks(features: list[Any], names: tuple[str, ...], limits: Limits, notes: Notes) -> tuple[FeatureBlock, ...]:
    if not names:
        return feature_blocks(features, limits, notes)
    flat = list(chain.from_iterable(map(msgspec.structs.astuple, features)))
    return (uniform_block(np.arange(len(features)), names, flat, limits, notes),)


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
    times = np.array([e.ts_ms for e in events], np.int64)
    untimed: list[Problem] = []
    strict = reader(spec.strict, spec.segment).strict
    for place in np.flatnonzero(times == MISSING_TIME).tolist():
        times[place] = hints.time_ms(int(messages.record[place]))
        if times[place] == MISSING_TIME:
            try:
                strict(messages.payloads[place])
            except UNDECODABLE as error:
                untimed.append((place, *explain(error)))
    return times, [*problems(times, hints.append_ms[messages.record], limits.max_future_s), *untimed]


def _keys(
    spec: FamilySpec, messages: JsonMessages, limits: Limits
) -> tuple[Codes, list[tuple[EventKey, Cuts]], list[Problem]]:
    events = messages.events
    numbering = Numbering[Identity]()
    codes = numbering.codes(spec.identify(events), len(events))
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


def _pull_nested(spec: FamilySpec, fields: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Fields of nested structs by path, ``None`` for events without one; nothing when no event has one."""
    found: dict[str, list[Any]] = {}
    paths = [path for path in (*spec.numeric.values(), *spec.counted.values()) if "/" in path]
    for outer in {path.split("/")[0] for path in paths}:
        inner = fields[outer]
        if inner.count(None) < len(inner):
            for path in paths:
                parent, child = path.split("/")
                if parent == outer:
                    found[path] = [None if value is None else getattr(value, child) for value in inner]
    return found


def _numeric(spec: FamilySpec, fields: Mapping[str, list[Any]], times: Ints) -> dict[str, Floats]:
    numeric = {}
    for name, path in spec.numeric.items():
        given = fields.get(path)
        if given is not None and (given[0] is not None or given.count(None) < len(given)):
            # the struct's types let nothing but numbers and None through, and numpy makes NaN of None
            numeric[name] = np.array(given, np.float64)
    for name, path in spec.either.items():
        values = [None if isinstance(value, str) else value for value in fields[path]]
        if values.count(None) < len(values):
            numeric[name] = np.array(values, np.float64)
    return spec.derive(numeric, times) if spec.derive else numeric


def _counted(
    spec: FamilySpec, fields: Mapping[str, list[Any]], limits: Limits, notes: Notes
) -> dict[str, CountedColumn]:
    found: dict[str, CountedColumn | None] = {}
    for name, path in spec.counted.items():
        values, other = fields.get(path), fields.get(spec.counted.get(spec.fallbacks.get(name, ""), ""))
        if values is None:
            continue
        if other is not None:
            values = [fallback if value is None else value for value, fallback in zip(values, other, strict=True)]
        numbering = Numbering[str | None]()
        codes = numbering.codes(values, len(values))
        found[name] = counters.of_texts(codes, tuple(numbering), spec.defaults.get(name), limits, notes)
    for name, path in spec.either.items():
        texts = Numbering[str | None]()
        codes = texts.codes((v if isinstance(v, str) else None for v in fields[path]), len(fields[path]))
        found[name] = counters.of_texts(codes, tuple(texts), None, limits, notes)
    for name, path in spec.numbers.items():
        lists: list[list[int]] = [codes or [] for codes in fields[path]]
        long = [row for row, codes in enumerate(lists) if len(codes) > limits.max_codes]
        notes.add(TRUNCATED, "codes", np.array(long, np.int64))
        given = [(row, code) for row, codes in enumerate(lists) for code in codes[: limits.max_codes]]
        flat = np.array(given, np.int64).reshape(-1, 2)
        found[name] = counters.of_numbers(flat[:, 0], flat[:, 1])
    for name, (path, names) in spec.bits.items():
        masks = np.array([mask or 0 for mask in fields[path]], np.int64)
        found[name] = counters.of_bits(np.arange(len(masks)), masks, names)
    return {name: column for name, column in found.items() if column is not None}


def _event_ids(messages: JsonMessages, hints: Hints, limits: Limits) -> Sequence[str]:
    if hints.empty:
        return EventIds(messages.events, limits.max_text_chars)
    pairs = zip(messages.events, messages.record.tolist(), strict=True)
    return CutTexts([e.event_id or hints.event_id(record) for e, record in pairs], limits.max_text_chars)


@dataclass(frozen=True, slots=True, eq=False)
class EventIds(Sequence[str]):
    """The ids of ``events``, ``""`` for none, cut to ``max_chars``: looked up only for those who ask."""

    events: Sequence[Any]
    max_chars: int

    def __len__(self) -> int:
        return len(self.events)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> "EventIds": ...
    def __getitem__(self, at: int | slice) -> "str | EventIds":
        if isinstance(at, slice):
            return EventIds(self.events[at], self.max_chars)
        return (self.events[at].event_id or "")[: self.max_chars]

    def hashes(self) -> Hashes:
        """uint64[n]: the hash of each id."""
        return of_texts([event.event_id or "" for event in self.events])
