"""Effects on what turns out to be true, and when it becomes known. Inputs and scores stay as they are."""

import numpy as np

from loadgen.columns import Bools, Floats
from loadgen.effects.struck import EffectData, Struck
from schemas.common import NonNegative, Ratio


class Concept(EffectData, frozen=True, tag="concept"):
    """What the features mean changes: the logit of the truth is multiplied by ``slope`` and moved by ``shift``."""

    slope: float = 1.0
    shift: float = 0.0

    def strike_logit(self, logit: Floats, struck: Struck) -> Floats:
        """The logits, float64[n], of labels to be true."""
        return np.asarray(logit * struck.toward(self.slope) + self.shift * struck.strength, np.float64)

    def describe(self) -> str:
        """What is done, in words."""
        return f"logit of the truth × {self.slope:g} {self.shift:+g}"

    @property
    def magnitude(self) -> float:
        """How far the logit moves, or the change of its slope where it does not."""
        return self.shift or self.slope - 1.0


class FlipLabels(EffectData, frozen=True, tag="flip_labels"):
    """A share of the labels says the opposite."""

    ratio: Ratio

    def strike_label(self, label: Bools, struck: Struck) -> Bools:
        """bool[n]: the labels as they are reported."""
        return label ^ struck.share("flip", self.ratio)

    def describe(self) -> str:
        """What is done, in words."""
        return f"{self.ratio:.0%} of labels flipped"

    @property
    def magnitude(self) -> float:
        """Share of the labels."""
        return self.ratio


class LabelDelay(EffectData, frozen=True, tag="label_delay"):
    """Labels come ``added_s`` later than they would; what waits at the injection's end has come by then."""

    added_s: NonNegative

    def describe(self) -> str:
        """What is done, in words."""
        return f"labels {self.added_s:g} s later"

    @property
    def magnitude(self) -> float:
        """Seconds."""
        return self.added_s
