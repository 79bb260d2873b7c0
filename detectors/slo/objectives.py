"""What is promised: an objective, whom it is about, and when its budget burns too fast."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal

import msgspec
import numpy as np

from detectors.histograms import log
from detectors.parameters import ParameterError, check_bounds
from detectors.protocol import LATENCIES
from schemas.scopes import Family, Scope

NAME: Final = r"^[a-z0-9][a-z0-9_.-]{0,62}$"
"""What an objective may be called."""
MAX_SLOS: Final = 100
_SUBJECT: Final = re.compile(r"^(?P<name>[^\[]+)\[(?P<quantity>[^>\]]+)(?:>(?P<threshold>[^\]]+))?\]$")


def span(seconds: float) -> str:
    """A duration for people.

    Examples
    --------
    >>> span(300), span(3_600), span(259_200), span(16_000)
    ('5 min', '1 h', '3 d', '4.44 h')
    """
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


@dataclass(frozen=True, slots=True)
class Tier:
    """Burning ``burn`` times as fast as allowed over ``long_s`` and still over ``short_s`` is a page, or a ticket."""

    burn: float
    long_s: int
    short_s: int
    page: bool

    @property
    def label(self) -> str:
        """``"14.4x over 1 h"``."""
        return f"{self.burn:g}x over {span(self.long_s)}"


TIERS: Final = (Tier(14.4, 3_600, 300, True), Tier(6.0, 21_600, 1_800, True), Tier(1.0, 259_200, 21_600, False))
"""Of a budget of 30 days they tell that 2 %, 5 % or 10 % of it is gone."""
PAGES: Final = frozenset(tier.label for tier in TIERS if tier.page)


class Slo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``objective_ratio`` of the events of the models that match ``model`` (``"fraud-*"``) are good.

    Good is an event whose status is ok (``kind`` availability), or one whose ``quantity`` takes no longer than
    ``threshold_ms`` (latency). The rest of ``window_days`` is the error budget. ``segments`` watches each segment
    beside the whole.
    """

    name: str
    kind: Literal["availability", "latency"] = "availability"
    model: str = "*"
    objective_ratio: float = 0.99
    threshold_ms: float = 0.0
    quantity: str = "latency_ms"
    window_days: int = 30
    segments: bool = False

    def __post_init__(self) -> None:
        """Check the bounds."""
        if not re.match(NAME, self.name):
            raise ParameterError(f"Slo.name = {self.name!r}: give lower-case letters, digits, '.', '_' and '-'")
        check_bounds(self, objective_ratio=(0.5, 0.99999), window_days=(3, 90), threshold_ms=(0, 1e12))
        if self.quantity not in LATENCIES:
            raise ParameterError(f"Slo.quantity = {self.quantity!r}: give one of {', '.join(LATENCIES)}")
        if (self.kind == "latency") != (self.threshold_ms > 0):
            raise ParameterError(f"Slo {self.name}: a latency objective has a threshold_ms over 0, no other has one")

    @property
    def allowed_ratio(self) -> float:
        """The share of events that may be bad."""
        return 1 - self.objective_ratio

    @property
    def subject(self) -> str:
        """What findings call the quantity: ``"checkout[latency_ms>250]"``, ``"up[errors]"``."""
        return f"{self.name}[{self.quantity}>{self.threshold_ms:.12g}]" if self.threshold_ms else f"{self.name}[errors]"

    @property
    def series(self) -> str:
        """The scope-level quantity under which its series are numbered."""
        return f"slo.{self.name}"

    def concerns(self, scope: Scope) -> bool:
        """Whether it is about a scope."""
        if scope.family is not Family.PREDICTION or (scope.segment and not self.segments):
            return False
        return fnmatchcase(scope.model, self.model)


def edge_of(threshold_ms: float) -> int:
    """The LogHistogram bin after which a value counts as over the threshold: that whose upper bound is nearest.

    Examples
    --------
    >>> edge_of(250.0), round(edge_ms(250.0), 2)
    (1312, 249.04)
    """
    return round(float(np.log(threshold_ms / log.SMALLEST) / np.log(log.GAMMA)))


def edge_ms(threshold_ms: float) -> float:
    """The threshold as it is counted: the edge between two bins that is nearest, off by 1 % at most."""
    return float(log.bounds_of(np.array([edge_of(threshold_ms)]))[1][0])


def parse_subject(subject: str) -> tuple[str, float | None]:
    """The quantity and the threshold behind a :attr:`Slo.subject`; no threshold for errors.

    Examples
    --------
    >>> parse_subject("checkout[latency_ms>250]"), parse_subject("up[errors]")
    (('latency_ms', 250.0), ('errors', None))
    """
    found = _SUBJECT.match(subject)
    if found is None:
        return subject, None
    threshold = found["threshold"]
    return found["quantity"], float(threshold) if threshold else None
