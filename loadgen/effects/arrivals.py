"""Effects on when events come, how often, and how old what they say is."""

from typing import Annotated

import numpy as np
from msgspec import Meta

from loadgen.columns import Ints
from loadgen.effects.struck import EffectData, Struck
from schemas.common import NonNegative, Ratio


class Traffic(EffectData, frozen=True, tag="traffic"):
    """Requests come at ``factor`` times the usual rate, >= 0."""

    factor: NonNegative

    def describe(self) -> str:
        """What is done, in words."""
        return f"traffic × {self.factor:g}"

    @property
    def magnitude(self) -> float:
        """The factor."""
        return self.factor


class Duplicates(EffectData, frozen=True, tag="duplicates"):
    """A share of the events is sent again, ``copies`` times, with the same event id and event time."""

    ratio: Ratio
    copies: Annotated[int, Meta(ge=1)] = 1

    def places(self, struck: Struck) -> Ints:
        """int64[m]: the places of n rows, those that are sent again repeated."""
        counts = 1 + self.copies * struck.share("duplicates", self.ratio)
        return np.repeat(np.arange(len(counts), dtype=np.int64), counts)

    def describe(self) -> str:
        """What is done, in words."""
        return f"{self.ratio:.0%} of events {1 + self.copies} times"

    @property
    def magnitude(self) -> float:
        """Extra events per event."""
        return self.ratio * self.copies


class Stale(EffectData, frozen=True, tag="stale"):
    """The values of a feature set are no longer computed: what is read gets older and older."""

    def source_ts_ms(self, ts_ms: Ints, source_ts_ms: Ints, struck: Struck) -> Ints:
        """int64[n]: when the values that are read were computed, ms."""
        halted = ts_ms - (struck.since_s * 1000).astype(np.int64)
        return np.where(struck.strength > 0, np.minimum(source_ts_ms, halted), source_ts_ms)

    def describe(self) -> str:
        """What is done, in words."""
        return "values are no longer computed"

    @property
    def magnitude(self) -> float:
        """It has none."""
        return 1.0
