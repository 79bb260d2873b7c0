"""Effects on what a model answers: scores that collapse or lose their calibration, slow and failing requests."""

from dataclasses import replace
from typing import Final

import numpy as np

from loadgen.columns import Floats, Response
from loadgen.distributions import Positive
from loadgen.effects.struck import EffectData, Struck
from schemas.common import NonNegative, Ratio

_EDGE: Final = 1e-12


class Collapse(EffectData, frozen=True, tag="collapse"):
    """Scores move toward ``to`` until only ``spread_ratio`` of their distance is left."""

    to: float
    spread_ratio: Ratio = 0.0

    def strike_score(self, score: Floats, struck: Struck) -> Floats:
        """The scores, float64[n], as they come out."""
        return np.asarray(self.to + (score - self.to) * struck.toward(self.spread_ratio), np.float64)

    def describe(self) -> str:
        """What is done, in words."""
        return f"scores shrink to {self.spread_ratio:.0%} around {self.to:g}"

    @property
    def magnitude(self) -> float:
        """What is lost of the spread."""
        return 1.0 - self.spread_ratio


class Calibration(EffectData, frozen=True, tag="calibration"):
    """A probability's logit is multiplied by ``slope`` and moved by ``shift``; labels stay as they are."""

    slope: float = 1.0
    shift: float = 0.0

    def strike_score(self, score: Floats, struck: Struck) -> Floats:
        """The scores, float64[n] in 0…1, as they come out."""
        bounded = np.clip(score, _EDGE, 1 - _EDGE)
        logit = np.log(bounded / (1 - bounded)) * struck.toward(self.slope) + self.shift * struck.strength
        return np.asarray(np.where(struck.strength > 0, 1 / (1 + np.exp(-logit)), score), np.float64)

    def describe(self) -> str:
        """What is done, in words."""
        return f"logit of the score × {self.slope:g} {self.shift:+g}"

    @property
    def magnitude(self) -> float:
        """How far the logit moves, or the change of its slope where it does not."""
        return self.shift or self.slope - 1.0


class Slow(EffectData, frozen=True, tag="latency"):
    """Requests slower than ``over_ms`` take ``factor`` times as long, > 0, and ``add_ms`` more."""

    factor: Positive = 1.0
    over_ms: NonNegative = 0.0
    add_ms: NonNegative = 0.0

    def strike(self, response: Response, struck: Struck) -> Response:
        """The response as the caller gets it."""
        slowed = response.latency_ms * struck.factor(self.factor) + self.add_ms * struck.strength
        latency: Floats = np.where(response.latency_ms > self.over_ms, slowed, response.latency_ms)
        stretch = latency / np.maximum(response.latency_ms, _EDGE)
        gen_ai = {
            name: values * stretch if name.endswith("_ms") else values for name, values in response.gen_ai.items()
        }
        return replace(response, latency_ms=latency, gen_ai=gen_ai)

    def describe(self) -> str:
        """What is done, in words."""
        which = f"requests over {self.over_ms:g} ms" if self.over_ms else "latency"
        return f"{which} × {self.factor:g}" + (f" + {self.add_ms:g} ms" if self.add_ms else "")

    @property
    def magnitude(self) -> float:
        """The factor, or the milliseconds where it is 1."""
        return self.factor if self.factor != 1.0 else self.add_ms


class Fail(EffectData, frozen=True, tag="errors"):
    """A share of the requests fails with this status."""

    ratio: Ratio
    status: str = "upstream_timeout"

    def strike(self, response: Response, struck: Struck) -> Response:
        """The response as the caller gets it."""
        return replace(response, status=np.where(struck.share("errors", self.ratio), self.status, response.status))

    def describe(self) -> str:
        """What is done, in words."""
        return f"{self.ratio:.0%} of requests fail"

    @property
    def magnitude(self) -> float:
        """Share of the requests."""
        return self.ratio


ScoreEffect = Collapse | Calibration
AnswerEffect = Slow | Fail
