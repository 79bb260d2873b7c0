"""Arrow messages into columns: everything is done to whole columns, no Python object is made per event."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import inspect
from numpy.typing import NDArray

from schemas.codecs import arrow_columns, counters
from schemas.codecs.arrow_features import feature_blocks
from schemas.codecs.arrow_keys import keys
from schemas.codecs.arrow_read import ARROW_ERRORS, ColumnError, Frame, Message, frame, read
from schemas.codecs.arrow_views import index_array, is_null
from schemas.codecs.families import FamilySpec
from schemas.codecs.headers import Hints
from schemas.codecs.limits import Limits
from schemas.codecs.morgue import Morgue
from schemas.codecs.texts import NON_FINITE, TRUNCATED, Notes
from schemas.codecs.times import Problem, problems
from schemas.columns import CountedColumn, EventColumns, Floats, Ints, Reason


def columns(
    spec: FamilySpec, records: Sequence[int], payloads: Sequence[bytes], hints: Hints, limits: Limits, morgue: Morgue
) -> list[EventColumns]:
    """The usable events of Arrow messages, one part per schema; the others go to the morgue."""
    parts: list[EventColumns] = []
    for messages in read(records, payloads, limits, morgue):
        parts += _of_schema(spec, messages, hints, limits, morgue)
    return parts


def _of_schema(
    spec: FamilySpec, messages: Sequence[Message], hints: Hints, limits: Limits, morgue: Morgue
) -> list[EventColumns]:
    try:
        part, bad, record = _convert(spec, frame(messages), hints, limits)
    except ARROW_ERRORS as error:
        if len(messages) > 1:  # one message must not take its neighbours along
            return [part for one in messages for part in _of_schema(spec, [one], hints, limits, morgue)]
        morgue.add(messages[0].record, Reason.SCHEMA_MISMATCH, str(error), messages[0].rows)
        return []
    morgue.add_all(record, bad)
    return [] if part is None else [part]


def _convert(
    spec: FamilySpec, events: Frame, hints: Hints, limits: Limits
) -> tuple[EventColumns | None, list[Problem], Ints]:
    record = events.record
    times, bad = _screen(spec, events, hints, limits)
    if bad:
        keep = np.ones(len(events), bool)
        keep[[place for place, _, _ in bad]] = False
        places = np.flatnonzero(keep)
        if not len(places):
            return None, bad, record
        events, times = events.filtered(places), times[places]
    notes = Notes()
    numeric = _numeric(spec, events, times, notes)
    counted = _counted(spec, events, limits, notes)
    blocks = feature_blocks(events, spec.values, limits, notes) if spec.values else ()
    key, distinct = keys(events, spec, limits, notes)
    event_id = _event_ids(events, limits)
    part = EventColumns(
        spec.family, events.record, events.index, times, key, distinct, numeric, {**counted, **notes.columns()},
        blocks, event_id,
    )  # fmt: skip
    return part, bad, record


def _screen(spec: FamilySpec, events: Frame, hints: Hints, limits: Limits) -> tuple[Ints, list[Problem]]:
    """Event times, and the events that cannot be used, by the types and ranges of the public struct."""
    found: dict[int, Problem] = {}

    def refuse(wrong: NDArray[np.bool_], path: str, text: str) -> None:
        for place in np.flatnonzero(wrong).tolist():
            message = f"{text} - at `$.{path.replace('/', '.')}` of event {int(events.index[place])}"
            found.setdefault(place, (place, Reason.SCHEMA_MISMATCH, message))

    for name in spec.required:
        column = events.get(name)
        if column is None:
            raise ColumnError(f"no column `{name}`, which is required")
        if column.null_count:
            refuse(is_null(column), name, "null in a required column")
    times, _ = arrow_columns.whole(events.columns["ts_ms"], "ts_ms")
    for path, bounds in _bounds(spec.strict).items():
        column = events.get(path)
        if column is not None:
            _check(column, path, bounds, refuse)
    for place, reason, text in problems(times, hints.append_ms[events.record], limits.max_future_s):
        found.setdefault(place, (place, reason, f"{text} - event {int(events.index[place])}"))
    return times, [found[place] for place in sorted(found)]


_Refuse = Callable[[NDArray[np.bool_], str, str], None]


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What the public struct asks of a field: a number or a text, and the number's range."""

    text: bool = False
    low: float = -np.inf
    high: float = np.inf


def _check(column: pa.Array, path: str, bounds: _Bounds, refuse: _Refuse) -> None:
    if bounds.text:
        if not (arrow_columns.is_text(column.type) or pa.types.is_null(column.type)):
            raise ColumnError(f"column `{path}` is {column.type}, expected text")
        return
    values = arrow_columns.numbers(column, path)
    if bounds.low > -np.inf:
        refuse(values < bounds.low, path, f"expected a number >= {bounds.low:g}")
    if bounds.high < np.inf:
        refuse((values > bounds.high) & np.isfinite(values), path, f"expected a number <= {bounds.high:g}")


@cache
def _bounds(strict: type[msgspec.Struct]) -> dict[str, _Bounds]:
    """The fields of a struct, those of nested structs as ``a/b``; dictionaries and lists are looked at elsewhere."""
    info = inspect.type_info(strict)
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"{strict.__name__} is not a struct")
    return dict(_fields(info, ""))


def _fields(info: inspect.StructType, prefix: str) -> list[tuple[str, _Bounds]]:
    found: list[tuple[str, _Bounds]] = []
    for field in info.fields:
        for kind in getattr(field.type, "types", (field.type,)):
            inner = getattr(kind, "type", kind)  # below a description
            if isinstance(inner, inspect.StructType):
                found += _fields(inner, f"{prefix}{field.encode_name}/")
            elif isinstance(inner, inspect.StrType):
                found.append((prefix + field.encode_name, _Bounds(text=True)))
            elif isinstance(inner, inspect.FloatType | inspect.IntType) and field.name != "ts_ms":
                low = -np.inf if inner.ge is None else float(inner.ge)
                high = np.inf if inner.le is None else float(inner.le)
                found.append((prefix + field.encode_name, _Bounds(low=low, high=high)))
    return found


def _numeric(spec: FamilySpec, events: Frame, times: Ints, notes: Notes) -> dict[str, Floats]:
    numeric: dict[str, Floats] = {}
    for name, path in (*spec.numeric.items(), *spec.either.items()):
        column = events.get(path)
        if column is None or column.null_count == len(column) or _is_either_text(spec, name, column):
            continue
        if pa.types.is_boolean(column.type) and name in spec.either:
            column = pc.cast(column, pa.uint8())
        values = arrow_columns.numbers(column, path)
        infinite = np.isinf(values)
        if infinite.any():
            values = np.where(infinite, np.nan, values)
            notes.add(NON_FINITE, name, np.flatnonzero(infinite))
        if not np.isnan(values).all():
            numeric[name] = values
    return spec.derive(numeric, times) if spec.derive else numeric


def _counted(spec: FamilySpec, events: Frame, limits: Limits, notes: Notes) -> dict[str, CountedColumn]:
    found: dict[str, CountedColumn | None] = {}
    for name, path in spec.counted.items():
        column = events.get(path)
        other = events.get(spec.counted.get(spec.fallbacks.get(name, ""), ""))
        if column is None and other is None:
            column = None if name not in spec.defaults else pa.nulls(len(events))
        elif other is not None:
            texts = [pc.cast(each, pa.string()) for each in (column, other) if each is not None]
            column = pc.coalesce(*texts)
        if column is not None:
            codes, values = arrow_columns.coded(column, path)
            found[name] = counters.of_texts(codes, values, spec.defaults.get(name), limits, notes)
    for name, path in spec.numbers.items():
        column = events.get(path)
        if column is not None and not pa.types.is_null(column.type):
            found[name] = counters.of_numbers(*_entries(column, path, limits, notes))
    found |= _either_texts(spec, events, limits, notes)
    for name, (path, names) in spec.bits.items():
        column = events.get(path)
        if column is not None:
            masks, _ = arrow_columns.whole(column, path)
            found[name] = counters.of_bits(np.arange(len(masks)), masks, names)
    return {name: column for name, column in found.items() if column is not None}


def _either_texts(spec: FamilySpec, events: Frame, limits: Limits, notes: Notes) -> dict[str, CountedColumn | None]:
    """The fields that may be numbers or texts, where they are texts."""
    found: dict[str, CountedColumn | None] = {}
    for name, path in spec.either.items():
        column = events.get(path)
        if column is not None and _is_either_text(spec, name, column):
            found[name] = counters.of_texts(*arrow_columns.coded(column, path), None, limits, notes)
    return found


def _is_either_text(spec: FamilySpec, name: str, column: pa.Array) -> bool:
    return name in spec.either and arrow_columns.is_text(column.type)


def _entries(column: pa.Array, path: str, limits: Limits, notes: Notes) -> tuple[Ints, Ints]:
    """Row and value of every entry of a list column of whole numbers, up to so many of a row."""
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise ColumnError(f"column `{path}` is {kind}, expected a list of whole numbers")
    entries = arrow_columns.lists(column)
    length = np.minimum(entries.length, limits.max_codes)
    notes.add(TRUNCATED, "codes", np.flatnonzero(length < entries.length))
    rows = np.repeat(np.arange(len(column)), length)
    before = np.repeat(np.cumsum(length) - length, length)
    at = np.repeat(entries.start, length) + np.arange(len(rows)) - before
    numbers, null = arrow_columns.whole(column.values.take(index_array(at)), path)
    kept = ~null & (numbers >= 0)
    return rows[kept], numbers[kept]


def _event_ids(events: Frame, limits: Limits) -> Sequence[str]:
    column = events.get("event_id")
    if column is None or pa.types.is_null(column.type):
        return arrow_columns.NoTexts(len(events))
    return arrow_columns.ArrowTexts(column, limits.max_text_chars)
