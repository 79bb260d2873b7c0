"""An entity: whatever writes events. What it writes in a second is a function of that second alone."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from loadgen.columns import Columns, Ints
from loadgen.traffic import Clock
from schemas.topics import TopicName


@dataclass(frozen=True, slots=True)
class World:
    """What all entities of a scenario share.

    Attributes
    ----------
    start_ms
        Event time of second 0, ms since the epoch.
    duration_s
        How long it lasts.
    seed
        Any integer >= 0.
    clock
        What hour it is at second 0.
    folder
        Where the files lie that the scenario names.
    """

    start_ms: int
    duration_s: int
    seed: int = 0
    clock: Clock = field(default_factory=Clock)
    folder: Path = Path()


class Entity(Protocol):
    """Something that writes events of one topic."""

    @property
    def name(self) -> str:
        """Who it is; entities may share a name when they write to different topics or as different versions."""
        ...

    @property
    def topic(self) -> TopicName:
        """The topic it writes to."""
        ...

    def blocks(self, seconds: Ints) -> list[Columns]:
        """What it writes in these seconds of the scenario, int64[n], ascending: blocks by event time, none empty."""
        ...
