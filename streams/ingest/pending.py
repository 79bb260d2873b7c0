"""Rows and texts of an open pane that wait to be summed: what summing costs by the call is paid once for thousands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.columns import CodedTexts, Codes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Item = TypeVar("Item", bound=np.generic)

_PAIR_BYTES: Final = 12
_ENTRY_BYTES: Final = 160
"""A text in a table beside its characters: the object, its number, its place."""


@dataclass(slots=True)
class Rows:
    """Events with the same k quantities, as they were decoded: parts of several batches.

    Attributes
    ----------
    combination
        Parts of int64[n].
    values
        For each part k columns float64[n].
    """

    combination: list[Ints] = field(default_factory=list)
    values: list[Sequence[Floats]] = field(default_factory=list)

    def add(self, combination: Ints, values: Sequence[Floats]) -> int:
        """Add a part; how many bytes it takes."""
        self.combination.append(combination)
        self.values.append(values)
        return 8 * (len(values) + 1) * len(combination)

    def quantity(self, number: int) -> Floats:
        """The values of one quantity, float64[n] of all parts; to be read only."""
        return joined([columns[number] for columns in self.values])


def joined(parts: Sequence[NDArray[Item]]) -> NDArray[Item]:
    """All parts in a row; to be read only, for one part is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass(slots=True)
class Texts:
    """Categories of one counter or quantity: (combination, text) pairs, the texts over one table."""

    combination: list[Ints] = field(default_factory=list)
    text: list[Codes] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def add(self, combination: Ints, codes: Codes, values: Sequence[str]) -> int:
        """Add a part; how many bytes it takes."""
        known = len(self.numbers)
        to = np.array([self.numbers.setdefault(value, len(self.numbers)) for value in values], np.int32)
        self.combination.append(combination)
        self.text.append(codes if (to == np.arange(len(to))).all() else to[codes])
        fresh = [value for value, number in zip(values, to.tolist(), strict=True) if number >= known]
        return _PAIR_BYTES * len(codes) + _ENTRY_BYTES * len(fresh) + sum(map(len, fresh))

    def counts(self) -> Iterator[tuple[int, str, int]]:
        """(combination, text, count) as they first appeared: a cap keeps what came first."""
        texts = list(self.numbers)
        width = len(texts)
        keys = joined(self.combination) * width + joined(self.text)
        for key, count in zip(*in_order(keys), strict=True):
            combination, number = divmod(key, width)
            yield combination, texts[number], count


def in_order(keys: Ints) -> tuple[list[int], list[int]]:
    """The distinct keys int64[n] ≥ 0 as they first appeared, and their counts."""
    bound = int(keys.max(initial=-1)) + 1
    if bound > 4 * len(keys) + 1024:
        unique, first, counts = np.unique(keys, return_index=True, return_counts=True)
        order = np.argsort(first)
        return unique[order].tolist(), counts[order].tolist()
    counts = np.bincount(keys, minlength=bound)
    first = np.zeros(bound, np.int64)
    first[keys[::-1]] = np.arange(len(keys) - 1, -1, -1)  # of equal places the last assignment stays
    present = np.flatnonzero(counts)
    order = present[np.argsort(first[present])]
    return order.tolist(), counts[order].tolist()


def coded(texts: Sequence[str]) -> CodedTexts:
    """Texts over a table of the distinct ones."""
    if isinstance(texts, CodedTexts):
        return texts
    table = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    return CodedTexts(np.array([table[text] for text in texts], np.int32), tuple(table))
