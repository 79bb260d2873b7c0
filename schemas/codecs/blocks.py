"""Feature dictionaries into blocks of columns. What a value is, is decided value by value, never by its batch."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np

from schemas.codecs.limits import Limits
from schemas.codecs.texts import TRUNCATED, Notes, Numbering, as_text, code
from schemas.columns import CodedTexts, Codes, FeatureBlock, Floats, Ints

_pack: Final = msgspec.msgpack.Encoder().encode
_FLOAT_TAG: Final = 0xCB
_PACKED_FLOAT: Final = np.dtype([("tag", "u1"), ("value", ">f8")])


def feature_blocks(features: Sequence[dict[str, Any] | None], limits: Limits, notes: Notes) -> tuple[FeatureBlock, ...]:
    """One block per distinct set of names; events without features are in none."""
    rows = np.arange(len(features))
    present: Sequence[dict[str, Any]]
    if all(features):
        present = features  # type: ignore[assignment]  # no None among them
    else:
        places = [place for place, values in enumerate(features) if values]
        rows, present = rows[places], [values for values in features if values]
    if not present:
        return ()
    names = tuple(present[0])
    # One schema is the rule: then the names repeat. A dictionary has no name twice, so equal lists mean equal rows.
    if list(chain.from_iterable(present)) == list(names) * len(present):
        return (_block(rows, names, present, limits, notes),)
    numbering = Numbering[tuple[str, ...]]()
    codes = numbering.codes(map(tuple, present), len(present))
    found = []
    for number, distinct in enumerate(numbering):
        at = np.flatnonzero(codes == number)
        found.append(_block(rows[at], distinct, [present[place] for place in at.tolist()], limits, notes))
    return merged(found)


def _block(
    rows: Ints, names: tuple[str, ...], events: Sequence[dict[str, Any]], limits: Limits, notes: Notes
) -> FeatureBlock:
    return uniform_block(rows, names, list(chain.from_iterable(map(dict.values, events))), limits, notes)


def uniform_block(rows: Ints, names: tuple[str, ...], flat: list[Any], limits: Limits, notes: Notes) -> FeatureBlock:
    """The block of events with the same names; ``flat`` holds all values, event by event."""
    width = len(names)
    kept = kept_places(names, limits)
    if len(kept) < width:
        notes.add(TRUNCATED, "features", rows)
    values = np.empty((len(kept), len(rows)))
    texts: dict[int, tuple[Ints, Sequence[str]]] = {}
    for to, place in enumerate(kept):
        column = flat[place::width]
        if not _floats(column, values[to]):
            found = _mixed(column, values[to])
            if found is not None:
                at, strings = found
                coded, long = code(strings, limits.max_text_chars)
                notes.add(TRUNCATED, "texts", rows[at[long]])
                texts[to] = (at, coded)
    return FeatureBlock(rows, tuple(names[place] for place in kept), values, texts)


def kept_places(names: Sequence[str], limits: Limits) -> Sequence[int]:
    """Places of the features within the limits (the first so many whose name is not too long), by ascending name."""
    places: Sequence[int] = range(len(names))
    if len(names) > limits.max_features or max(map(len, names), default=0) > limits.max_text_chars:
        places = [place for place in places if len(names[place]) <= limits.max_text_chars][: limits.max_features]
    return sorted(places, key=names.__getitem__)


def _floats(column: list[Any], out: Floats) -> bool:
    """Whether ``column`` holds floats alone, which are then in ``out``.

    Packing as msgpack makes nine bytes of every float and tags it, so one comparison of the tags tells what asking
    each object for its type would, and the numbers are converted on the way: a fifth of the time.
    """
    packed = _pack(column)
    head = len(packed) - len(column) * _PACKED_FLOAT.itemsize
    if head != (1 if len(column) < 16 else 3 if len(column) < 65_536 else 5):
        return False
    cells = np.frombuffer(packed, _PACKED_FLOAT, offset=head)
    if (cells["tag"] != _FLOAT_TAG).any():
        return False
    out[:] = cells["value"]
    return True


def _mixed(column: list[Any], out: Floats) -> tuple[Ints, list[str]] | None:
    """Numbers into ``out``, NaN elsewhere; the places and texts of the others that are not null."""
    if set(map(type, column)) == {str}:
        out[:] = np.nan
        return np.arange(len(column)), column
    out[:] = [value if value.__class__ is float else np.nan for value in column]
    at = [place for place, value in enumerate(column) if value.__class__ is str or value.__class__ is bool]
    if not at:
        return None
    return np.array(at, np.int64), [as_text(column[place]) for place in at]


def merged(blocks: Sequence[FeatureBlock]) -> tuple[FeatureBlock, ...]:
    """``blocks`` with those of equal names made one, their rows ascending."""
    by_names: dict[tuple[str, ...], list[FeatureBlock]] = {}
    for block in blocks:
        by_names.setdefault(block.names, []).append(block)
    return tuple(same[0] if len(same) == 1 else _joined(same) for same in by_names.values())


def _joined(blocks: list[FeatureBlock]) -> FeatureBlock:
    rows = np.concatenate([block.rows for block in blocks])
    order = np.argsort(rows, kind="stable")
    to = np.empty(len(order), np.int64)
    to[order] = np.arange(len(order))
    starts = np.cumsum([0, *(len(block.rows) for block in blocks)])
    texts: dict[int, tuple[Ints, Sequence[str]]] = {}
    for feature in sorted({feature for block in blocks for feature in block.texts}):
        parts = [
            (start, *block.texts[feature])
            for start, block in zip(starts, blocks, strict=False)
            if feature in block.texts
        ]
        at = to[np.concatenate([start + places for start, places, _ in parts])]
        coded = joined_texts([strings for _, _, strings in parts])
        by_place = np.argsort(at)
        texts[feature] = (at[by_place], CodedTexts(coded.codes[by_place], coded.values))
    values = np.ascontiguousarray(np.hstack([block.values for block in blocks])[:, order])
    return FeatureBlock(rows[order], blocks[0].names, values, texts)


def joined_texts(parts: Sequence[Sequence[str]]) -> CodedTexts:
    """The texts of all parts, one after the other, over one table of distinct texts."""
    numbering = Numbering[str]()
    codes: list[Codes] = []
    for part in parts:
        if isinstance(part, CodedTexts):
            codes.append(numbering.codes(part.values, len(part.values))[part.codes])
        else:
            codes.append(numbering.codes(part, len(part)))
    return CodedTexts(np.concatenate(codes), tuple(numbering))
