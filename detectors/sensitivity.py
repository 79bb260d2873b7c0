"""Sensitivity: one knob for how much it takes before something is said about a scope."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

import numpy as np

from detectors.protocol import Floats, Scores
from detectors.registry import REGISTRY
from schemas.findings import Kind
from schemas.scopes import Scope


class Sensitivity(StrEnum):
    """How much it takes."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Factors:
    """What the knob does: factors of the floor, of the noise bound, and of the false discoveries allowed."""

    floor: float = 1.0
    noise: float = 1.0
    false_discoveries: float = 1.0


FACTORS: Final = {
    Sensitivity.LOW: Factors(floor=2.0, noise=1.25, false_discoveries=0.1),
    Sensitivity.NORMAL: Factors(),
    Sensitivity.HIGH: Factors(floor=0.6, noise=0.85, false_discoveries=5.0),
}
"""A noise bound is 3.7 standard deviations: 4.6 of them when low, 3.2 when high."""
STATISTICAL: Final = frozenset(
    {
        Kind.DRIFT,
        Kind.SCORE_DRIFT,
        Kind.CATEGORY_DRIFT,
        Kind.CHANGE,
        Kind.NULLS,
        Kind.VOLUME,
        Kind.ERRORS,
        Kind.LATENCY,
        Kind.SLOW_HOST,
        Kind.OUTLIERS,
        Kind.GPU_SLOW,
        Kind.CONCEPT_DRIFT,
        Kind.LABEL_DELAY,
        Kind.SCHEMA,
        Kind.DUPLICATES,
        Kind.SKEW,
    }
)
"""What the knob acts on. The others have limits that somebody has set, or that a machine has: those stay."""


@dataclass(frozen=True, slots=True)
class Sensitivities:
    """The sensitivity of each scope: patterns of models, or of ``model/segment``, with ``*``; else ``usual``.

    A pattern without a slash holds for a model and all its segments. Where both lists match, ``high`` wins.

    Examples
    --------
    >>> from schemas.scopes import Family
    >>> chosen = Sensitivities(high=("fraud-*",), low=("*/country=*",))
    >>> chosen.of(Scope(Family.PREDICTION, "fraud-cards")).value
    'high'
    >>> chosen.of(Scope(Family.PREDICTION, "ranker", "2", "country=fr")).value
    'low'
    """

    usual: Sensitivity = Sensitivity.NORMAL
    low: tuple[str, ...] = ()
    high: tuple[str, ...] = ()

    def of(self, scope: Scope) -> Sensitivity:
        """The sensitivity of one scope."""
        for level, patterns in ((Sensitivity.HIGH, self.high), (Sensitivity.LOW, self.low)):
            if any(_matches(scope, pattern) for pattern in patterns):
                return level
        return self.usual


def adjusted(scores: Scores, level: Floats | None) -> Scores:
    """Scores whose floor, noise and p-values are moved by the sensitivity of their scopes, for the decision.

    Parameters
    ----------
    level
        float64[S, 3]: what :func:`factors` gave for the window's scopes.

    Notes
    -----
    A ``threshold`` that is the larger of floor and noise moves with them; one in a unit of its own stays as it is.
    """
    if level is None or REGISTRY[scores.detector].finding not in STATISTICAL:
        return scores
    floor_by, noise_by, discoveries_by = level[scores.scope].T
    floor, noise = scores.floor * floor_by, scores.noise * noise_by
    threshold = scores.threshold
    if threshold is not None:
        own = threshold == np.maximum(scores.floor, scores.noise)
        threshold = np.where(own, np.maximum(floor, noise), threshold)
    return replace(scores, floor=floor, noise=noise, p_value=scores.p_value / discoveries_by, threshold=threshold)


def factors(scopes: Sequence[Scope], chosen: Sensitivities) -> Floats | None:
    """The factors of each scope float64[S, 3]; None where all are as usual."""
    levels = [FACTORS[chosen.of(scope)] for scope in scopes]
    if all(level == Factors() for level in levels):
        return None
    return np.array([(level.floor, level.noise, level.false_discoveries) for level in levels], np.float64)


def _matches(scope: Scope, pattern: str) -> bool:
    return fnmatchcase(f"{scope.model}/{scope.segment}" if "/" in pattern else scope.model, pattern)
