"""A run: its scorecard, and who was watched for how long."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from loadgen.score.episodes import Episode
from loadgen.score.scorecard import Scorecard, score
from loadgen.truth import Truth
from schemas.alerts import Alert

DAY_MS: Final = 86_400_000


class Watched(msgspec.Struct, frozen=True):
    """Which entities were watched, struck or not, from when to when (event time, ms since the epoch).

    Raises
    ------
    ValueError
        If the end is not after the start.
    """

    entities: tuple[str, ...]
    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if self.end_ms <= self.start_ms:
            raise ValueError(f"what is watched must end after its start: {self.start_ms} ms to {self.end_ms} ms")

    @property
    def days(self) -> float:
        """Model-days: entities times days."""
        return len(self.entities) * (self.end_ms - self.start_ms) / DAY_MS


class Run(msgspec.Struct, frozen=True):
    """One scenario played once."""

    scenario: str
    seed: int
    watched: Watched
    card: Scorecard


def judge(
    truths: Sequence[Truth], alerts: Iterable[Alert], grace_ms: int, watched: Watched, scenario: str = "", seed: int = 0
) -> Run:
    """Judge what was said in one run.

    Alerts about entities that nobody said were watched are judged all the same, and those entities counted as watched.
    """
    card = score(truths, alerts, grace_ms)
    surprising = {judged.episode.entity for judged in card.alerts} - set(watched.entities)
    entities = (*watched.entities, *sorted(surprising))
    return Run(scenario, seed, msgspec.structs.replace(watched, entities=entities), card)


def seen(truths: Sequence[Truth], episodes: Sequence[Episode], grace_ms: int) -> Watched:
    """Who was watched for how long, as far as truths and alerts alone can tell: quiet entities are not among them.

    Raises
    ------
    ValueError
        If there is neither a truth nor an alert.
    """
    spans = [(truth.entity, truth.onset_ms, truth.end_ms + grace_ms) for truth in truths]
    spans += [(e.entity, e.first.since_ms, e.end_ms or e.sightings[-1].at_ms) for e in episodes]
    if not spans:
        raise ValueError("nothing was injected and nothing was said")
    entities = tuple(sorted({entity for entity, _, _ in spans}))
    return Watched(entities, min(start for _, start, _ in spans), max(end for _, _, end in spans))
