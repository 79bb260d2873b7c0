"""Counters: texts, lists of codes and bit masks into (row, value) pairs."""

from collections.abc import Mapping, Sequence

import numpy as np

from schemas.codecs.limits import Limits
from schemas.codecs.texts import TRUNCATED, Notes, Numbering, cut
from schemas.columns import CodedTexts, Codes, CountedColumn, Ints


def of_texts(
    codes: Codes, values: Sequence[str | None], default: str | None, limits: Limits, notes: Notes
) -> CountedColumn | None:
    """One pair per event whose text is not null, or per event where there is a default; ``None`` for no pair.

    Parameters
    ----------
    codes
        int32[n], places in ``values``.
    """
    numbering = Numbering[str]()
    rows = np.arange(len(codes))
    if None in values:
        if default is None:
            present = np.array([value is not None for value in values], bool)[codes]
            rows, codes = rows[present], codes[present]
        values = [default if value is None else value for value in values]
    if not len(rows):
        return None
    to = numbering.codes(("" if value is None else value for value in values), len(values))
    if len(numbering) < len(values):  # two of them have become one
        codes = to[codes]
    coded, long = cut(CodedTexts(codes, tuple(numbering)), limits.max_text_chars)
    notes.add(TRUNCATED, "texts", rows[long])
    return compact(rows, coded.codes, coded.values)


def of_numbers(rows: Ints, numbers: Ints) -> CountedColumn | None:
    """One pair per number, in the order they came."""
    if not len(rows):
        return None
    distinct, codes = np.unique(numbers, return_inverse=True)
    return CountedColumn(rows, codes.astype(np.int32), tuple(map(str, distinct.tolist())))


def of_bits(rows: Ints, masks: Ints, names: Mapping[int, str]) -> CountedColumn | None:
    """One pair per bit that is set, lowest first."""
    union = int(np.bitwise_or.reduce(masks)) if len(masks) else 0
    bits = [1 << place for place in range(63) if union >> place & 1]
    if not bits:
        return None
    at, codes = np.nonzero(masks[:, None] & np.array(bits))
    values = tuple(names.get(bit, f"bit_{bit.bit_length() - 1}") for bit in bits)
    return CountedColumn(rows[at], codes.astype(np.int32), values)


def compact(rows: Ints, codes: Codes, values: tuple[str, ...]) -> CountedColumn:
    """A column without the values that nobody has."""
    seen = np.bincount(codes, minlength=len(values)) > 0
    if seen.all():
        return CountedColumn(rows, codes, values)
    to = np.cumsum(seen) - 1
    return CountedColumn(rows, to[codes].astype(np.int32), tuple(np.array(values, object)[seen].tolist()))
