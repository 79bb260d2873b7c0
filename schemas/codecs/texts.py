"""Texts into codes, truncated the same way everywhere."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, overload

import numpy as np

from schemas.codecs.hashes import Hashes, of_texts
from schemas.columns import CodedTexts, Codes, CountedColumn, Ints

TRUNCATED: Final = "truncated"
NON_FINITE: Final = "non_finite"


T = TypeVar("T")


class Numbering(dict[T, int], Generic[T]):
    """Numbers what it is asked for, in order of first appearance. One dictionary look-up per item, all in C."""

    def __missing__(self, item: T) -> int:
        self[item] = number = len(self)
        return number

    def codes(self, items: Iterable[T], count: int) -> Codes:
        """int32[count]: the number of each item."""
        return np.fromiter(map(self.__getitem__, items), np.int32, count)


class Notes:
    """What was changed in events that were kept: pairs of (row, value) per counter, in any order."""

    def __init__(self) -> None:
        self._pairs: dict[str, dict[str, list[Ints]]] = {}

    def add(self, counter: str, value: str, rows: Ints) -> None:
        """Note ``value`` for the events ``rows``; a row noted twice for the same value counts once."""
        if len(rows):
            self._pairs.setdefault(counter, {}).setdefault(value, []).append(rows)

    def columns(self) -> dict[str, CountedColumn]:
        """One column per counter that has a pair."""
        return {counter: self._column(by_value) for counter, by_value in self._pairs.items()}

    @staticmethod
    def _column(by_value: dict[str, list[Ints]]) -> CountedColumn:
        rows = [np.unique(np.concatenate(parts)) for parts in by_value.values()]
        codes = np.repeat(np.arange(len(rows), dtype=np.int32), [len(part) for part in rows])
        flat = np.concatenate(rows)
        order = np.argsort(flat, kind="stable")
        return CountedColumn(flat[order], codes[order], tuple(by_value))


@dataclass(frozen=True, slots=True, eq=False)
class CutTexts(Sequence[str]):
    """Texts that are cut to ``max_chars`` when they are read."""

    texts: Sequence[str]
    max_chars: int

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> "CutTexts": ...
    def __getitem__(self, at: int | slice) -> "str | CutTexts":
        if isinstance(at, slice):
            return CutTexts(self.texts[at], self.max_chars)
        return self.texts[at][: self.max_chars]

    def hashes(self) -> Hashes:
        """uint64[n]: the hash of each text before it is cut."""
        return of_texts(self.texts)


def as_text(value: object) -> str:
    """A feature's or segment's value as a category: ``true``, ``false``, whole numbers without a point.

    Examples
    --------
    >>> as_text(True), as_text(3.0), as_text(0.5), as_text("DE")
    ('true', '3', '0.5', 'DE')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def code(texts: Sequence[str], max_chars: int) -> tuple[CodedTexts, Ints]:
    """Codes of ``texts``, and the places (int64, ascending) of those that had to be cut to ``max_chars``."""
    numbering = Numbering[str]()
    codes = numbering.codes(texts, len(texts))
    return cut(CodedTexts(codes, tuple(numbering)), max_chars)


def cut(coded: CodedTexts, max_chars: int) -> tuple[CodedTexts, Ints]:
    """``coded`` with no text longer than ``max_chars`` and no text twice, and the places of those that were cut."""
    values = coded.values
    long = [len(value) > max_chars for value in values]
    if not any(long):
        return coded, np.empty(0, np.int64)
    numbering = Numbering[str]()
    to = numbering.codes((value[:max_chars] for value in values), len(values))
    places = np.flatnonzero(np.array(long)[coded.codes])
    return CodedTexts(to[coded.codes], tuple(numbering)), places
