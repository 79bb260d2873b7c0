"""Feature columns of Arrow messages into blocks: a struct, a map, or flat columns ``features.<name>``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.codecs.arrow_columns import coded, is_number, is_text, lists, numbers
from schemas.codecs.arrow_read import ColumnError, Frame, children
from schemas.codecs.arrow_views import index_array, is_null
from schemas.codecs.blocks import kept_places, merged
from schemas.codecs.limits import Limits
from schemas.codecs.texts import NON_FINITE, TRUNCATED, Notes, Numbering, cut
from schemas.columns import CodedTexts, Codes, FeatureBlock, Floats, Ints


def feature_blocks(frame: Frame, field: str, limits: Limits, notes: Notes) -> tuple[FeatureBlock, ...]:
    """The blocks of all events of ``frame``."""
    column = frame.columns.get(field)
    flat = {name[len(field) + 1 :]: c for name, c in frame.columns.items() if name.startswith(f"{field}.")}
    if column is not None and pa.types.is_null(column.type):
        column = None
    if column is not None and flat:
        raise ColumnError(f"features come both as column `{field}` and as columns `{field}.*`: send one of them")
    if flat:
        return _blocks_of_columns(flat, np.arange(len(frame)), _Kept(field, limits, notes))
    if column is None:
        return ()
    if pa.types.is_map(column.type):
        return _blocks_of_map(column, _Kept(field, limits, notes))
    if not pa.types.is_struct(column.type):
        raise ColumnError(f"column `{field}` is {column.type}, expected a struct or a map")
    rows = np.arange(len(frame))
    if column.null_count:
        rows = np.flatnonzero(~is_null(column))
        column = column.take(index_array(rows))
    return _blocks_of_columns(children(column), rows, _Kept(field, limits, notes)) if len(rows) else ()


@dataclass(frozen=True, slots=True)
class _Kept:
    """Where a feature comes from, what may be kept of it, and where to note what was not."""

    field: str
    limits: Limits
    notes: Notes

    def fill(self, name: str, rows: Ints, values: Floats, out: Floats) -> None:
        """Values of one feature into ``out``; an infinity becomes null and is noted."""
        out[:] = values
        infinite = np.isinf(out)
        if infinite.any():
            out[infinite] = np.nan
            self.notes.add(NON_FINITE, f"{self.field}.{name}", rows[infinite])

    def texts(self, rows: Ints, codes: Codes, values: Sequence[str | None]) -> tuple[Ints, CodedTexts] | None:
        """Places and texts of those that are not null, less the values that nobody has."""
        seen = np.bincount(codes, minlength=len(values)) > 0
        present = np.array([value is not None for value in values], bool)
        numbering = Numbering[str]()
        to = np.full(len(values), -1, np.int32)
        used = np.flatnonzero(seen & present)
        to[used] = numbering.codes((values[place] or "" for place in used.tolist()), len(used))
        at = np.flatnonzero(present[codes])
        if not len(at):
            return None
        short, long = cut(CodedTexts(to[codes[at]], tuple(numbering)), self.limits.max_text_chars)
        self.notes.add(TRUNCATED, "texts", rows[at[long]])
        return at, short


def _blocks_of_columns(columns: dict[str, Any], rows: Ints, kept: _Kept) -> tuple[FeatureBlock, ...]:
    given = tuple(columns)
    if not given:
        return ()
    places = kept_places(given, kept.limits)
    if len(places) < len(given):
        kept.notes.add(TRUNCATED, "features", rows)
    names = tuple(given[place] for place in places)
    values = np.empty((len(names), len(rows)))
    texts: dict[int, tuple[Ints, Sequence[str]]] = {}
    for to, name in enumerate(names):
        column = columns[name]
        label = f"{kept.field}.{name}"
        if is_number(column.type) or pa.types.is_null(column.type):
            kept.fill(name, rows, numbers(column, label), values[to])
            continue
        values[to] = np.nan
        found = kept.texts(rows, *_texts(column, label))
        if found is not None:
            texts[to] = found
    return (FeatureBlock(rows, names, values, texts),)


def _texts(column: pa.Array, label: str) -> tuple[Codes, list[str | None]]:
    if not (is_text(column.type) or pa.types.is_boolean(column.type)):
        raise ColumnError(f"column `{label}` is {column.type}, expected numbers, texts or booleans")
    return coded(column, label)


def _blocks_of_map(column: pa.Array, kept: _Kept) -> tuple[FeatureBlock, ...]:
    key_codes, keys = coded(column.keys, kept.field)
    read = _reader(column.items, kept)
    entries = lists(column)
    blocks = []
    for width in np.unique(entries.length[entries.length > 0]).tolist():
        rows = np.flatnonzero(entries.length == width)
        start = entries.start[rows]
        pattern = key_codes[start[:, None] + np.arange(width)]
        if (pattern == pattern[0]).all():
            blocks.append(_block_of_entries(rows, start, [keys[code] for code in pattern[0]], read, kept))
            continue
        distinct, which = np.unique(pattern, axis=0, return_inverse=True)
        for number, codes in enumerate(distinct):
            same = np.flatnonzero(which.reshape(-1) == number)
            blocks.append(_block_of_entries(rows[same], start[same], [keys[code] for code in codes], read, kept))
    return merged(blocks)


_Read = Callable[[str, Ints, Ints, Floats], tuple[Ints, CodedTexts] | None]


def _reader(items: pa.Array, kept: _Kept) -> _Read:
    """A function that reads entries of one feature: numbers into its last argument, or texts as its result."""
    if is_number(items.type) or pa.types.is_null(items.type):
        flat = numbers(items, kept.field)

        def read_numbers(name: str, rows: Ints, at: Ints, out: Floats) -> None:
            kept.fill(name, rows, flat[at], out)

        return read_numbers
    codes, values = _texts(items, kept.field)

    def read_texts(_: str, rows: Ints, at: Ints, out: Floats) -> tuple[Ints, CodedTexts] | None:
        out[:] = np.nan
        return kept.texts(rows, codes[at], values)

    return read_texts


def _block_of_entries(rows: Ints, start: Ints, given: list[str | None], read: _Read, kept: _Kept) -> FeatureBlock:
    # as in JSON: of a name that comes twice the last value counts, at the first's place
    last = {name or "": place for place, name in enumerate(given)}
    names = tuple(last)
    places = kept_places(names, kept.limits)
    if len(places) < len(names):
        kept.notes.add(TRUNCATED, "features", rows)
    values = np.empty((len(places), len(rows)))
    texts: dict[int, tuple[Ints, Sequence[str]]] = {}
    for to, place in enumerate(places):
        found = read(names[place], rows, start + last[names[place]], values[to])
        if found is not None:
            texts[to] = found
    return FeatureBlock(rows, tuple(names[place] for place in places), values, texts)
