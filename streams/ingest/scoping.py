"""Which scopes an event counts in: its model version's whole and each of its watched segments, under caps."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.columns import EventKey
from schemas.scopes import INVALID, OTHER, Family, Scope

Ints = NDArray[np.int64]

_MAX_REMEMBERED: Final = 16_384


@dataclass(frozen=True, slots=True)
class PaneLimits:
    """The caps of one pane. What is over a cap is counted under ``__other__``.

    ``segment_fields`` are the keys of ``segment`` that make scopes; empty for all. ``sample_bytes`` bounds the row
    samples of all scopes of a pane together.
    """

    scopes: int = 1000
    features: int = 256
    categories: int = 100
    segments: int = 64
    segment_fields: tuple[str, ...] = ()
    sample_rows: int = 256
    sample_bytes: int = 16 << 20


class Scoping:
    """The scopes of one open pane, numbered in the order in which its events bring them.

    That order is the order of offsets, the same in every life of the partition: so the caps cut the same scopes off.
    """

    def __init__(self, family: Family, limits: PaneLimits) -> None:
        self.scopes: list[Scope] = []
        self.capped_scopes = 0
        self.capped_segments = 0
        self._family = family
        self._limits = limits
        self._id: dict[Scope, int] = {}
        self._of_key: dict[EventKey, tuple[int, ...]] = {}
        self._wholes = 0
        self._segments: dict[Scope, int] = {}

    def __len__(self) -> int:
        return len(self.scopes)

    def invalid(self, topic: str) -> int:
        """The scope that counts what could not be decoded."""
        return self._number(Scope(self._family, INVALID, "", f"topic={topic}"))

    def levels(self, keys: tuple[EventKey, ...], codes: NDArray[np.int32]) -> Ints:
        """The scopes of each event.

        Parameters
        ----------
        keys, codes
            The batch's keys, and int32[n] places in them, in offset order.

        Returns
        -------
        int64[l, n]: row 0 the whole, rows 1… the segments, -1 where an event has fewer.
        """
        present, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        ids: list[tuple[int, ...]] = [()] * len(present)
        for place in np.argsort(first).tolist():
            ids[place] = self._scopes_of(keys[present[place]])
        width = max(map(len, ids), default=1)
        table = np.full((width, len(present)), -1, np.int64)
        for place, scopes in enumerate(ids):
            table[: len(scopes), place] = scopes
        return table[:, inverse]

    def _scopes_of(self, key: EventKey) -> tuple[int, ...]:
        ids = self._of_key.get(key)
        if ids is None:
            if len(self._of_key) >= _MAX_REMEMBERED:
                self._of_key.clear()
            ids = self._of_key[key] = self._resolve(key)
        return ids

    def _resolve(self, key: EventKey) -> tuple[int, ...]:
        whole = Scope(self._family, key.model, key.model_version)
        if whole not in self._id:
            if self._wholes >= self._limits.scopes:
                self.capped_scopes += 1
                return (self._number(Scope(self._family, OTHER)),)
            self._wholes += 1
        ids = [self._number(whole)]
        wanted = self._limits.segment_fields
        for name, value in key.segments:
            if (not wanted or name in wanted) and self._limits.segments:
                ids.append(self._segment(whole, f"{name}={value}"))
        return tuple(dict.fromkeys(ids))  # an event counts once in a scope, also in __other__

    def _segment(self, whole: Scope, segment: str) -> int:
        scope = Scope(whole.family, whole.model, whole.model_version, segment)
        if scope not in self._id:
            # All scopes share the cap of the scopes too: a segment is one.
            if self._segments.get(whole, 0) >= self._limits.segments or len(self._id) >= 2 * self._limits.scopes:
                self.capped_segments += 1
                return self._number(Scope(whole.family, whole.model, whole.model_version, OTHER))
            self._segments[whole] = self._segments.get(whole, 0) + 1
        return self._number(scope)

    def _number(self, scope: Scope) -> int:
        number = self._id.get(scope)
        if number is None:
            number = self._id[scope] = len(self.scopes)
            self.scopes.append(scope)
        return number
