"""A mix of entities: every second of every one can be made alone, and is always the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.columns import Columns, rows
from loadgen.models.entity import Entity
from schemas.topics import TopicName

_STRETCH_S: Final = 30
"""Seconds that are made together when they are asked for one by one: numpy is slow on few rows."""


@dataclass(frozen=True, slots=True)
class Mix:
    """What all entities of a scenario write.

    Attributes
    ----------
    entities
        In the order in which their blocks come.
    start_ms
        Event time of second 0, ms since the epoch.
    """

    entities: Sequence[Entity]
    start_ms: int

    @property
    def topics(self) -> tuple[TopicName, ...]:
        """The topics it writes to, each once."""
        return tuple(dict.fromkeys(entity.topic for entity in self.entities))

    def spans(self, first: int, last: int, step_s: int = 60) -> Iterator[list[Columns]]:
        """The events of seconds ``first <= second < last``, ``step_s`` seconds at a time.

        Yields
        ------
        list
            The blocks of every entity that has something to say, each by event time.

        Raises
        ------
        ValueError
            If an injection strikes what its entity does not have.
        """
        for begin in range(first, last, step_s):
            seconds = np.arange(begin, min(begin + step_s, last), dtype=np.int64)
            yield [block for entity in self.entities for block in entity.blocks(seconds)]

    def seconds(self, first: int, last: int) -> Iterator[list[Columns]]:
        """As :meth:`spans`, one second at a time; blocks are those of the span cut into seconds."""
        for begin in range(first, last, _STRETCH_S):
            end = min(begin + _STRETCH_S, last)
            (blocks,) = self.spans(begin, end, _STRETCH_S)
            bounds = np.arange(begin, end + 1, dtype=np.int64) * 1000 + self.start_ms
            cuts = [(block, np.searchsorted(block.ts_ms, bounds).tolist()) for block in blocks]
            for place in range(end - begin):
                pieces = [(block, slice(at[place], at[place + 1])) for block, at in cuts if at[place] < at[place + 1]]
                yield [rows(block, wanted) for block, wanted in pieces]
