"""Tallies: counts of categories per series, capped, the rest under ``__other__``."""

from collections.abc import Iterable, Iterator
from typing import Self

from schemas.scopes import OTHER


class Tallies:
    """Counts per (series, category).

    The first ``cap`` distinct categories of a series are kept, in the order in which they come; an open pane sees its
    events in offset order in every life, so what is over the cap is the same in every life.
    """

    __slots__ = ("_counts", "cap", "capped")

    def __init__(self, cap: int) -> None:
        self._counts: dict[int, dict[str, int]] = {}
        self.cap = cap
        self.capped = 0
        """Events counted under ``__other__`` because of the cap."""

    def add(self, series: int, value: str, count: int) -> None:
        """Count ``value`` ``count`` times more in a series."""
        counts = self._counts.get(series)
        if counts is None:
            counts = self._counts[series] = {}
        if value not in counts and len(counts) >= self.cap:
            self.capped += count
            value = OTHER
        counts[value] = counts.get(value, 0) + count

    def add_all(self, series: int, pairs: Iterable[tuple[str, int]]) -> None:
        """Count many values of one series."""
        for value, count in pairs:
            self.add(series, value, count)

    def merge(self, other: "Tallies") -> None:
        """Add another tally."""
        for series, counts in other.items():
            self.add_all(series, counts.items())

    def get(self, series: int) -> dict[str, int]:
        """The counts of one series, empty when there are none."""
        return self._counts.get(series, {})

    def items(self) -> Iterator[tuple[int, dict[str, int]]]:
        """(series, counts) in the order in which the series came."""
        yield from self._counts.items()

    def to_parts(self) -> dict[int, dict[str, int]]:
        """Plain dictionaries, for msgpack."""
        return self._counts

    @classmethod
    def from_parts(cls, parts: dict[int, dict[str, int]], cap: int) -> Self:
        """The tallies :meth:`to_parts` was taken of."""
        tallies = cls(cap)
        tallies._counts = {int(series): dict(counts) for series, counts in parts.items()}
        return tallies
