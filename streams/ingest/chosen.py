"""Some events of a batch: as a slice where they follow one another, so that taking their columns copies nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Places = slice | Ints
"""Ascending places in a batch."""
Item = TypeVar("Item", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The events of a batch for which a mask holds.

    Attributes
    ----------
    mask
        bool[n].
    rows
        Where it holds.
    count
        How often.
    """

    mask: Bools
    rows: Places
    count: int

    @classmethod
    def of(cls, mask: Bools) -> "Chosen":
        """The events for which ``mask`` bool[n] holds."""
        count = int(np.count_nonzero(mask))
        first = int(mask.argmax()) if count else 0
        run = slice(first, first + count)
        return cls(mask, run if mask[run].all() else np.flatnonzero(mask), count)

    def among(self, rows: Ints) -> tuple[Places, Places]:
        """Which of ``rows`` int64[m], ascending places in the batch, are chosen: as places in ``rows``, and as such."""
        if len(rows) == len(self.mask):  # all there are: the commonest case by far
            return self.rows, self.rows
        if isinstance(self.rows, slice):
            low, high = np.searchsorted(rows, (self.rows.start, self.rows.stop)).tolist()
            return slice(low, high), rows[low:high]
        inside = np.flatnonzero(self.mask[rows])
        return inside, rows[inside]


def kept(column: NDArray[Item], places: Places) -> NDArray[Item]:
    """The values at some places, to be held for a while.

    A view keeps the whole column in memory: it is taken only where that is at most twice of what is wanted.
    """
    part = column[places]
    return part if 2 * len(part) >= len(column) else part.copy()


def place_of(places: Places, at: Ints) -> Ints:
    """Where the events number ``at`` int64[m] of ``places`` stand in the batch."""
    return at + places.start if isinstance(places, slice) else places[at]


@runtime_checkable
class Taking(Protocol):
    """Texts that can be read in bulk."""

    def take(self, places: Ints) -> list[str]:
        """The texts at int64[n] places."""
        ...


def texts_at(texts: Sequence[str], places: Ints) -> list[str]:
    """The texts at int64[n] places."""
    return texts.take(places) if isinstance(texts, Taking) else [texts[place] for place in places.tolist()]
