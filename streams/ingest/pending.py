"""Rows and texts of an open pane that wait to be summed: what summing costs by the call is paid once for thousands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from schemas.columns import CodedTexts, Codes
from streams.windows.samples import Hashes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ROW_BYTES: Final = 120
"""What a row takes beside its values: numbers, and an event id that lives until the row is summed."""
_TEXT_BYTES: Final = 8


@runtime_checkable
class Taking(Protocol):
    """Texts that can be read in bulk."""

    def take(self, places: Ints) -> list[str]:
        """The texts at int64[n] places."""
        ...


def texts_at(texts: Sequence[str], places: Ints) -> list[str]:
    """The texts at int64[n] places."""
    return texts.take(places) if isinstance(texts, Taking) else [texts[place] for place in places.tolist()]


@dataclass(slots=True)
class Rows:
    """Events with the same quantities.

    Attributes
    ----------
    combination, hash, ts_ms
        Parts of int64[n], uint64[n] and int64[n].
    values
        Parts of float64[k, n].
    ids
        For each part: where its event ids are, and int64[n] places in there.
    """

    combination: list[Ints] = field(default_factory=list)
    hash: list[Hashes] = field(default_factory=list)
    ts_ms: list[Ints] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)
    ids: list[tuple[Sequence[str], Ints]] = field(default_factory=list)

    def add(
        self, combination: Ints, values: Floats, hashes: Hashes, ts_ms: Ints, ids: tuple[Sequence[str], Ints]
    ) -> int:
        """Add a part; how many bytes it takes."""
        self.combination.append(combination)
        self.hash.append(hashes)
        self.ts_ms.append(ts_ms)
        self.values.append(values)
        self.ids.append(ids)
        return int(values.nbytes) + _ROW_BYTES * len(combination)

    def event_ids(self, chosen: Ints) -> list[str]:
        """The ids of the events at places int64[m], ascending."""
        ends = np.cumsum([len(part) for part in self.combination])
        cuts = np.searchsorted(chosen, ends)
        found: list[str] = []
        start = low = 0
        for (texts, places), end, high in zip(self.ids, ends.tolist(), cuts.tolist(), strict=True):
            found += texts_at(texts, places[chosen[low:high] - start])
            start, low = end, high
        return found


@dataclass(slots=True)
class Texts:
    """Categories of one counter or quantity: (combination, text) pairs."""

    keys: list[Ints] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def add(self, combination: Ints, codes: Codes, values: Sequence[str]) -> int:
        """Add a part; how many bytes it takes."""
        to = np.array([self.numbers.setdefault(value, len(self.numbers)) for value in values], np.int64)
        self.keys.append((combination << 32) | to[codes])
        return _TEXT_BYTES * len(codes)

    def counts(self) -> Iterator[tuple[int, str, int]]:
        """(combination, text, count) as they first appeared: a cap keeps what came first."""
        texts = list(self.numbers)
        for key, count in zip(*in_order(np.concatenate(self.keys), len(texts)), strict=True):
            combination, number = divmod(key, 1 << 32)
            yield combination, texts[number], count


def in_order(keys: Ints, width: int) -> tuple[list[int], list[int]]:
    """The distinct keys (combination << 32) + text, of ``width`` texts, as they first appeared; and their counts."""
    dense = (keys >> 32) * width + (keys & 0xFFFFFFFF)
    bound = int(dense.max(initial=-1)) + 1
    if bound > 4 * len(keys) + 1024:
        unique, first, counts = np.unique(keys, return_index=True, return_counts=True)
        order = np.argsort(first)
        return unique[order].tolist(), counts[order].tolist()
    counts = np.bincount(dense, minlength=bound)
    first = np.zeros(bound, np.int64)
    first[dense[::-1]] = np.arange(len(dense))[::-1]  # of equal places the last assignment stays
    present = np.flatnonzero(counts)
    order = present[np.argsort(first[present])]
    return keys[first[order]].tolist(), counts[order].tolist()


def coded(texts: Sequence[str]) -> CodedTexts:
    """Texts over a table of the distinct ones."""
    if isinstance(texts, CodedTexts):
        return texts
    table = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    return CodedTexts(np.array([table[text] for text in texts], np.int32), tuple(table))
