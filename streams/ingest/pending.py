"""Rows and texts of an open pane that wait to be summed: what summing costs by the call is paid once for thousands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from schemas.columns import CodedTexts, Codes
from streams.ingest.chosen import Places, place_of
from streams.windows.samples import Hashes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Item = TypeVar("Item", bound=np.generic)

_ROW_BYTES: Final = 120
"""What a row takes beside its values: numbers, and an event id that lives until the row is summed."""
_TEXT_BYTES: Final = 12


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
    """Events with the same k quantities, as they were decoded: parts of several batches.

    Attributes
    ----------
    combination, hash, ts_ms
        Parts of int64[n], uint64[n] and int64[n].
    values
        For each part k columns float64[n].
    ids
        For each part: where its event ids are, and the events' places in there.
    """

    combination: list[Ints] = field(default_factory=list)
    hash: list[Hashes] = field(default_factory=list)
    ts_ms: list[Ints] = field(default_factory=list)
    values: list[Sequence[Floats]] = field(default_factory=list)
    ids: list[tuple[Sequence[str], Places]] = field(default_factory=list)

    def add(
        self, combination: Ints, values: Sequence[Floats], hashes: Hashes, ts_ms: Ints,
        ids: tuple[Sequence[str], Places],
    ) -> int:  # fmt: skip
        """Add a part; how many bytes it takes."""
        self.combination.append(combination)
        self.hash.append(hashes)
        self.ts_ms.append(ts_ms)
        self.values.append(values)
        self.ids.append(ids)
        return (8 * len(values) + _ROW_BYTES) * len(combination)

    def quantity(self, number: int) -> Floats:
        """The values of one quantity, float64[n] of all parts; to be read only."""
        return joined([columns[number] for columns in self.values])

    def event_ids(self, chosen: Ints) -> list[str]:
        """The ids of the events at places int64[m], ascending."""
        ends = np.cumsum([len(part) for part in self.combination])
        cuts = np.searchsorted(chosen, ends)
        found: list[str] = []
        start = low = 0
        for (texts, places), end, high in zip(self.ids, ends.tolist(), cuts.tolist(), strict=True):
            found += texts_at(texts, place_of(places, chosen[low:high] - start))
            start, low = end, high
        return found


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
        to = np.array([self.numbers.setdefault(value, len(self.numbers)) for value in values], np.int32)
        self.combination.append(combination)
        self.text.append(codes if (to == np.arange(len(to))).all() else to[codes])
        return _TEXT_BYTES * len(codes)

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
