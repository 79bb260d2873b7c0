"""Which scopes an event counts in, under caps: its whole, each of its watched segments, the reads of who asked."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.columns import EventKey
from schemas.scopes import INVALID, OTHER, Family, Scope
from streams.ingest.chosen import Places

Ints = NDArray[np.int64]

_MAX_REMEMBERED: Final = 16_384


@dataclass(frozen=True, slots=True)
class PaneLimits:
    """The caps of one pane. What is over a cap is counted under ``__other__``.

    ``segment_fields`` are the keys of ``segment`` that make scopes; empty for all. ``sample_bytes`` bounds the row
    samples of all scopes of a pane together; ``sample_ids`` are the event ids that tell of repeats, 0 for none.
    """

    scopes: int = 1000
    features: int = 256
    categories: int = 100
    segments: int = 64
    segment_fields: tuple[str, ...] = ()
    sample_rows: int = 256
    sample_bytes: int = 16 << 20
    sample_ids: int = 24


class Scoping:
    """The scopes of one open pane, numbered in the order in which its events bring them.

    That order is the order of offsets, the same in every life of the partition: so the caps cut the same scopes off.

    Events that count in the same scopes are one *combination*, numbered too: what they bring is summed once and then
    counted in each scope.
    """

    def __init__(self, family: Family, limits: PaneLimits) -> None:
        self.scopes: list[Scope] = []
        self.capped_scopes = 0
        self.capped_segments = 0
        self._family = family
        self._limits = limits
        self._id: dict[Scope, int] = {}
        self._of_key: dict[EventKey, int] = {}
        self._combinations: dict[tuple[int, ...], int] = {}
        self._table = np.full((1, 16), -1, np.int64)
        self._wholes = 0
        self._segments: dict[Scope, int] = {}

    def __len__(self) -> int:
        return len(self.scopes)

    def invalid(self, topic: str) -> int:
        """The scope that counts what could not be decoded."""
        return self._number(Scope(self._family, INVALID, "", f"topic={topic}"))

    @property
    def levels(self) -> Ints:
        """int64[l, c], the scopes of each combination: row 0 the whole, rows 1… the segments, -1 where it has fewer."""
        return self._table[:, : len(self._combinations)]

    @property
    def crowded(self) -> bool:
        """Whether there are so many combinations that it is time to :meth:`forget` them."""
        return len(self._combinations) > _MAX_REMEMBERED

    def forget(self) -> None:
        """Number combinations anew; nobody may hold a number any longer. Scopes keep theirs."""
        self._of_key, self._combinations = {}, {}
        self._table = np.full((1, 16), -1, np.int64)

    def combinations(self, keys: tuple[EventKey, ...], codes: NDArray[np.int32], places: Places) -> Ints:
        """The combinations of a batch's events; only those at ``places`` make new ones.

        Parameters
        ----------
        keys, codes
            The batch's keys, and int32[n] places in them, in offset order.
        places
            The events that count.

        Returns
        -------
        int64[n]; for events not at ``places`` -1, or what is known of their key.
        """
        chosen = codes[places]
        of_key = np.array([self._of_key.get(key, -1) for key in keys], np.int64)
        unknown = np.flatnonzero((of_key < 0) & (np.bincount(chosen, minlength=len(keys)) > 0)).tolist()
        if unknown:
            first = np.zeros(len(keys), np.int64)
            first[chosen[::-1]] = np.arange(len(chosen) - 1, -1, -1)  # of equal places the last assignment stays
            for place in sorted(unknown, key=first.__getitem__):
                of_key[place] = self._combination(keys[place])
        return of_key[codes]

    def _combination(self, key: EventKey) -> int:
        ids = self._resolve(key)
        number = self._combinations.get(ids)
        if number is None:
            number = self._combinations[ids] = len(self._combinations)
            self._reserve(len(ids), number + 1)
            self._table[: len(ids), number] = ids
        if len(self._of_key) >= _MAX_REMEMBERED:
            self._of_key.clear()
        self._of_key[key] = number
        return number

    def _reserve(self, width: int, count: int) -> None:
        rows, columns = self._table.shape
        if width > rows or count > columns:
            grown = np.full((max(width, rows), max(count, columns if count <= columns else 2 * columns)), -1, np.int64)
            grown[:rows, :columns] = self._table
            self._table = grown

    def _resolve(self, key: EventKey) -> tuple[int, ...]:
        whole = Scope(self._family, key.model, key.model_version)
        if whole not in self._id:
            if self._wholes >= self._limits.scopes:
                self.capped_scopes += 1
                return (self._number(Scope(self._family, OTHER)),)
            self._wholes += 1
        ids = [self._number(whole)]
        if self._family is Family.FEATURE:
            return (*ids, *self._reads(whole, key))
        wanted = self._limits.segment_fields
        for name, value in key.segments:
            if (not wanted or name in wanted) and self._limits.segments:
                ids.append(self._segment(whole, f"{name}={value}"))
        return tuple(dict.fromkeys(ids))  # an event counts once in a scope, also in __other__

    def _segment(self, whole: Scope, segment: str) -> int:
        scope = Scope(whole.family, whole.model, whole.model_version, segment)
        if not self._fits(whole, scope):
            return self._number(Scope(whole.family, whole.model, whole.model_version, OTHER))
        return self._number(scope)

    def _reads(self, whole: Scope, key: EventKey) -> list[int]:
        """The reads of a feature set by the model that asked. Over the caps they count in the feature set alone."""
        asked = [value for name, value in key.segments if name == "model" and value and self._limits.segments]
        reads = [Scope(Family.READ, model, "", f"feature_set={whole.model}") for model in asked]
        return [self._number(scope) for scope in reads if self._fits(whole, scope)]

    def _fits(self, whole: Scope, part: Scope) -> bool:
        """Whether a part of a whole is known, or has room."""
        if part not in self._id:
            # All scopes share the cap of the scopes too: a segment is one.
            if self._segments.get(whole, 0) >= self._limits.segments or len(self._id) >= 2 * self._limits.scopes:
                self.capped_segments += 1
                return False
            self._segments[whole] = self._segments.get(whole, 0) + 1
        return True

    def _number(self, scope: Scope) -> int:
        number = self._id.get(scope)
        if number is None:
            number = self._id[scope] = len(self.scopes)
            self.scopes.append(scope)
        return number


class ScopeCounts:
    """Events per scope, int64 and growing with the scopes."""

    def __init__(self) -> None:
        self.of = np.zeros(16, np.int64)

    def add(self, scoping: Scoping, combination: Ints) -> None:
        """Count events int64[n] by the scopes of their combinations."""
        self.reserve(len(scoping))
        counts = np.bincount(combination)
        present = np.flatnonzero(counts)
        for scopes in scoping.levels[:, present]:
            inside = scopes >= 0
            np.add.at(self.of, scopes[inside], counts[present[inside]])

    def reserve(self, scopes: int) -> None:
        """Make room for so many scopes."""
        if scopes > len(self.of):
            self.of = np.concatenate((self.of, np.zeros(max(scopes, 2 * len(self.of)) - len(self.of), np.int64)))
