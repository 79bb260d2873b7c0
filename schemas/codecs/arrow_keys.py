"""Event keys of Arrow messages: one code per event and column, combined, and looked up once per combination."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from schemas.codecs.arrow_columns import coded, is_plain, is_text
from schemas.codecs.arrow_read import ColumnError, Frame, children
from schemas.codecs.families import FamilySpec
from schemas.codecs.keys import canonical, event_key
from schemas.codecs.limits import Limits
from schemas.codecs.texts import Notes, Numbering
from schemas.columns import Codes, EventKey, Ints

_Pairs = tuple[tuple[str, object], ...]


def keys(frame: Frame, spec: FamilySpec, limits: Limits, notes: Notes) -> tuple[Codes, tuple[EventKey, ...]]:
    """int32[n] places in the distinct keys, and these."""
    identity = [_identity(frame, name) for name in spec.identity]
    segments = _segments(frame, spec)
    first, codes = _combined([codes for codes, _ in (*identity, *segments)], len(frame))
    found = []
    for row in first.tolist():
        names = [values[column[row]] or "" for column, values in identity]
        pairs: dict[str, object] = {}
        for column, choices in segments:
            pairs.update(choices[column[row]])
        found.append(event_key(names[0], names[1] if len(names) > 1 else "", pairs.items(), limits))
    return canonical(codes, found, notes)


def _identity(frame: Frame, name: str) -> tuple[Codes, list[str | None]]:
    column = frame.get(name)
    if column is None:
        return np.zeros(len(frame), np.int32), [""]
    if pa.types.is_boolean(column.type) or pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        raise ColumnError(f"column `{name}` is {column.type}, expected text")
    return coded(column, name)


def _segments(frame: Frame, spec: FamilySpec) -> list[tuple[Codes, list[_Pairs]]]:
    if spec.model_segment:
        column = frame.get(spec.model_segment)
        return [] if column is None else [_pairs("model", *_identity(frame, spec.model_segment))]
    if not spec.segment:
        return []
    field = spec.segment
    named = {name[len(field) + 1 :]: c for name, c in frame.columns.items() if name.startswith(f"{field}.")}
    column = frame.columns.get(field)
    if column is None or pa.types.is_null(column.type):
        return [_pairs(name, *coded(child, f"{field}.{name}")) for name, child in named.items()]
    if pa.types.is_map(column.type):
        return [_mapped(column)]
    if not pa.types.is_struct(column.type):
        raise ColumnError(f"column `{field}` is {column.type}, expected a struct or a map")
    named = {**children(column), **named}
    return [_pairs(name, *coded(child, f"{field}.{name}")) for name, child in named.items()]


def _pairs(name: str, codes: Codes, values: Sequence[str | None]) -> tuple[Codes, list[_Pairs]]:
    return codes, [() if value is None else ((name, value),) for value in values]


def _mapped(column: pa.Array) -> tuple[Codes, list[_Pairs]]:
    """Segments as a map: read event by event, since each may name others. Send a struct where speed matters."""
    numbering = Numbering[_Pairs]()
    codes = numbering.codes((tuple(dict(pairs).items()) if pairs else () for pairs in column.to_pylist()), len(column))
    kind = column.type
    if not (is_text(kind.key_type) and (is_text(kind.item_type) or is_plain(kind.item_type))):
        raise ColumnError(f"the segments are {kind}, expected a map from text to text, number or boolean")
    return codes, list(numbering)


def _combined(columns: Sequence[Codes], count: int) -> tuple[Ints, Codes]:
    """The first row of each distinct combination of codes, and int32[count] which combination each row has."""
    combined, size = np.zeros(count, np.int64), 1
    for codes in columns:
        width = int(codes.max(initial=0)) + 1
        if width == 1:
            continue
        if size * width > 2**31:
            distinct, combined = np.unique(combined, return_inverse=True)
            size = len(distinct)
        combined = combined * width + codes
        size *= width
    if size > 4 * count + 1024:
        _, first, which = np.unique(combined, return_index=True, return_inverse=True)
        return first, which.astype(np.int32)
    # few combinations: two scatters instead of a sort; the last write wins, so backwards it is the first row's
    seen = np.full(size, -1, np.int64)
    seen[combined[::-1]] = np.arange(count - 1, -1, -1)
    used = np.flatnonzero(seen >= 0)
    number = np.empty(size, np.int32)
    number[used] = np.arange(len(used))
    return seen[used], number[combined]
