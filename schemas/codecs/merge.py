"""Parts of a micro-batch, decoded in different ways, into one, in the order of (record, place within the record)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from schemas.codecs.blocks import merged
from schemas.codecs.hashes import Hashes, of_texts
from schemas.codecs.texts import Numbering
from schemas.columns import CountedColumn, EventColumns, EventKey, FeatureBlock, Floats, Ints
from schemas.scopes import Family


@dataclass(frozen=True, slots=True, eq=False)
class Gathered(Sequence[str]):
    """Text ``i`` is ``parts[part[i]][place[i]]``: nothing is copied until somebody reads it."""

    parts: Sequence[Sequence[str]]
    part: Ints
    place: Ints

    def __len__(self) -> int:
        return len(self.part)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> "Gathered": ...
    def __getitem__(self, at: int | slice) -> "str | Gathered":
        if isinstance(at, slice):
            return Gathered(self.parts, self.part[at], self.place[at])
        return self.parts[int(self.part[at])][int(self.place[at])]

    def hashes(self) -> Hashes:
        """uint64[n]: the hash of each text, made part by part."""
        starts = np.cumsum([0, *map(len, self.parts)])
        hashed: Hashes = np.concatenate([of_texts(part) for part in self.parts])[starts[self.part] + self.place]
        return hashed


def empty(family: Family) -> EventColumns:
    """A batch without an event."""
    none = np.empty(0, np.int64)
    return EventColumns(family, none, none, none, np.empty(0, np.int32), (), {}, {}, (), ())


def merge(family: Family, parts: Sequence[EventColumns]) -> EventColumns:
    """One batch of all events of ``parts``."""
    if not parts:
        return empty(family)
    if len(parts) == 1:
        return parts[0]
    record = np.concatenate([part.record for part in parts])
    index = np.concatenate([part.index for part in parts])
    order = np.lexsort((index, record))
    to = np.empty(len(order), np.int64)
    to[order] = np.arange(len(order))
    starts = np.cumsum([0, *(len(part) for part in parts)])
    places = [to[start : start + len(part)] for start, part in zip(starts, parts, strict=False)]
    keys = Numbering[EventKey]()
    key = np.concatenate([keys.codes(part.keys, len(part.keys))[part.key] for part in parts])
    which = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    within = np.concatenate([np.arange(len(part)) for part in parts])
    return EventColumns(
        family,
        record[order],
        index[order],
        np.concatenate([part.ts_ms for part in parts])[order],
        key[order],
        tuple(keys),
        _numeric(parts, places, len(order)),
        _counted(parts, places),
        _blocks(parts, places),
        Gathered([part.event_id for part in parts], which[order], within[order]),
    )


def _numeric(parts: Sequence[EventColumns], places: Sequence[Ints], count: int) -> dict[str, Floats]:
    numeric: dict[str, Floats] = {}
    for part, at in zip(parts, places, strict=True):
        for name, values in part.numeric.items():
            numeric.setdefault(name, np.full(count, np.nan))[at] = values
    return numeric


def _counted(parts: Sequence[EventColumns], places: Sequence[Ints]) -> dict[str, CountedColumn]:
    counted = {}
    for name in dict.fromkeys(name for part in parts for name in part.counted):
        having = [(part.counted[name], at) for part, at in zip(parts, places, strict=True) if name in part.counted]
        values = Numbering[str]()
        codes = np.concatenate([values.codes(column.values, len(column.values))[column.codes] for column, _ in having])
        rows = np.concatenate([at[column.rows] for column, at in having])
        order = np.argsort(rows, kind="stable")
        counted[name] = CountedColumn(rows[order], codes[order], tuple(values))
    return counted


def _blocks(parts: Sequence[EventColumns], places: Sequence[Ints]) -> tuple[FeatureBlock, ...]:
    moved = []
    for part, at in zip(parts, places, strict=True):
        # places keep the order within a part, so what is ascending stays so
        moved += [FeatureBlock(at[block.rows], block.names, block.values, block.texts) for block in part.blocks]
    return merged(moved)
