"""The rows that an injection strikes, and how hard."""

from dataclasses import dataclass

import numpy as np

from loadgen.columns import Bools, Floats
from loadgen.distributions import Data
from loadgen.randomness import Draws


class EffectData(Data, frozen=True, tag_field="effect"):
    """What all effects share: a file tells them by the key ``effect``."""


@dataclass(frozen=True, slots=True)
class Struck:
    """n rows under an injection.

    ``strength`` is float64[n], 0…1: 0 where it does nothing, 1 where it does all that it can. ``since_s`` is how long
    it has been on, float64[n], seconds. What it draws is its own: the rows' other numbers stay as they were.
    """

    strength: Floats
    since_s: Floats
    draws: Draws
    name: str

    def share(self, what: str, ratio: float) -> Bools:
        """bool[n]: a random share, ``ratio`` of the rows at full strength."""
        return self.uniform(what) < ratio * self.strength

    def uniform(self, what: str) -> Floats:
        """float64[n] in 0…1, this injection's own."""
        return self.draws.uniform(f"{self.name}/{what}")

    def normal(self, what: str) -> Floats:
        """float64[n], standard normal, this injection's own."""
        return self.draws.normal(f"{self.name}/{what}")

    def factor(self, full: float) -> Floats:
        """float64[n]: 1 without strength, ``full`` at full strength, geometrically in between; ``full`` > 0."""
        return np.power(full, self.strength)

    def toward(self, full: float) -> Floats:
        """float64[n]: 1 without strength, ``full`` at full strength, straight in between."""
        return 1.0 + (full - 1.0) * self.strength
