"""Injections as data: what is done to whom, from when to when, how it grows, and what should be said about it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec
import numpy as np

from loadgen.columns import Bools, Floats, Ints, Texts
from loadgen.distributions import Data, Positive
from loadgen.effects import Effect, Traffic
from loadgen.effects.struck import Struck
from loadgen.expected import EXPECTED, InjectionKind
from loadgen.models.placing import gpu_uuid
from loadgen.randomness import Draws
from loadgen.truth import Expectation, Truth
from schemas.common import NonNegative
from schemas.findings import Kind, Severity

_LOUDNESS: Final = {"page": Severity.PAGE, "ticket": Severity.TICKET, "info": Severity.INFO}


class Ramp(Data, frozen=True, tag_field="kind", tag="ramp"):
    """Grows in a straight line from the onset over ``up_s``, and falls over the last ``down_s`` before the end."""

    up_s: NonNegative = 0.0
    down_s: NonNegative = 0.0

    def strength(self, since_s: Floats, left_s: Floats) -> Floats:
        """float64[n], 0…1, ``since_s`` after the onset and ``left_s`` before the end."""
        up = since_s / self.up_s if self.up_s else np.ones(len(since_s))
        down = left_s / self.down_s if self.down_s else np.ones(len(left_s))
        return np.clip(np.minimum(up, down), 0.0, 1.0)


class Recurring(Data, frozen=True, tag_field="kind", tag="recurring"):
    """On for ``on_s`` at the beginning of every ``every_s``, off in between."""

    every_s: Positive
    on_s: Positive

    def strength(self, since_s: Floats, left_s: Floats) -> Floats:
        """float64[n], 0…1, ``since_s`` after the onset."""
        del left_s
        return np.where(since_s % self.every_s < self.on_s, 1.0, 0.0)


class Where(Data, frozen=True):
    """The part of an entity that is struck: all that is said must hold. A GPU is told by its index in its host."""

    version: str = ""
    segment: dict[str, str] = msgspec.field(default_factory=dict)
    host: str = ""
    gpu_index: int | None = None

    def __str__(self) -> str:
        parts = [f"{name}={text}" for name, text in self.segment.items()]
        parts += [f"version={self.version}"] * bool(self.version) + [f"host={self.host}"] * bool(self.host)
        parts += [] if self.gpu_index is None else [f"gpu {self.gpu_index}"]
        return ", ".join(parts)


class Injection(Data, frozen=True):
    """One entry of a timeline, and with it the ground truth of one.

    Attributes
    ----------
    name
        Unique in a scenario.
    kind
        What it is scored as; it also says what is expected, unless the entry does.
    entity
        The model, the feature set or the host that is struck, and that alerts about it name.
    onset_s, end_s
        From when to when, in seconds of event time since the scenario's start; the end is exclusive.
    effects
        What is done; nothing for a near miss that is in the traffic anyway.
    where, profile
        To which part of the entity, and how it grows; without a profile it is there at once.
    expect, severity, alerts, collateral
        Whether an alert must, may or must_not follow, how loud, of which kinds; and kinds that it explains but that do
        not count as its detection.
    why
        What an on-call engineer would say about it.
    """

    name: str
    kind: InjectionKind
    entity: str
    onset_s: int
    end_s: int
    effects: tuple[Effect, ...] = ()
    where: Where = Where()
    profile: Ramp | Recurring | None = None
    expect: Expectation | None = None
    severity: Literal["page", "ticket", "info"] | None = None
    alerts: tuple[Kind, ...] | None = None
    collateral: tuple[Kind, ...] | None = None
    why: str = ""

    def active(self, second: int) -> bool:
        """Whether it is on in this second of the scenario."""
        return self.onset_s <= second < self.end_s

    def strength(self, seconds: Ints) -> Floats:
        """How strong it is, 0…1, float64[n], in seconds of the scenario, int64[n]."""
        since_s = (seconds - self.onset_s).astype(np.float64)
        left_s = (self.end_s - seconds).astype(np.float64)
        strength = np.ones(len(seconds)) if self.profile is None else self.profile.strength(since_s, left_s)
        return np.where((since_s >= 0) & (left_s > 0), strength, 0.0)

    def struck(self, seconds: Ints, draws: Draws, chosen: Bools | None = None) -> Struck:
        """The rows it strikes: those of ``chosen`` (all without it), in these seconds."""
        strength = self.strength(seconds)
        return Struck(
            strength=strength if chosen is None else np.where(chosen, strength, 0.0),
            since_s=(seconds - self.onset_s).astype(np.float64),
            draws=draws,
            name=self.name,
        )

    def chosen(self, segment: Mapping[str, Texts], host: Texts | None) -> Bools | None:
        """bool[n]: the rows in the segment and on the host that it strikes; None for all."""
        masks = [segment[name] == text for name, text in self.where.segment.items()]
        if self.where.host and host is not None:
            masks.append(host == self.where.host)
        return np.logical_and.reduce(masks) if masks else None

    def describe(self) -> str:
        """What was done, in words: ``features.amount × 2``."""
        words = ", ".join(effect.describe() for effect in self.effects) or self.why or "nothing"
        place = f" in {self.where}" if str(self.where) else ""
        return words + place + self._growth()

    def truth(self, start_ms: int, scenario: str = "", seed: int = 0) -> Truth:
        """The injection in a scenario that starts at ``start_ms``, ms since the epoch."""
        expected = EXPECTED[self.kind]
        targets = [getattr(effect, "feature", "") for effect in self.effects]
        if self.where.gpu_index is not None:
            # By the id that alerts carry.
            targets = [gpu_uuid(self.entity, self.where.gpu_index)]
        return Truth(
            name=self.name,
            entity=self.entity,
            onset_ms=start_ms + self.onset_s * 1000,
            end_ms=start_ms + self.end_s * 1000,
            kinds=expected.kinds if self.alerts is None else self.alerts,
            collateral=expected.collateral if self.collateral is None else self.collateral,
            severity=_LOUDNESS[self.severity or expected.severity],
            expectation=self.expect or expected.expectation,
            magnitude=self.effects[0].magnitude if self.effects else 0.0,
            target=next((target for target in targets if target), str(self.where)),
            injection=self.kind.value,
            injected=self.describe(),
            scenario=scenario,
            seed=seed,
        )

    def _growth(self) -> str:
        match self.profile:
            case Ramp():
                return f", over {self.profile.up_s / 60:g} min" if self.profile.up_s else ""
            case Recurring():
                return f", {self.profile.on_s / 60:g} of every {self.profile.every_s / 60:g} min"
            case None:
                return ""


def truths(injections: Iterable[Injection], start_ms: int, scenario: str = "", seed: int = 0) -> tuple[Truth, ...]:
    """The truths of a scenario that starts at ``start_ms``, by onset."""
    placed = [injection.truth(start_ms, scenario, seed) for injection in injections]
    return tuple(sorted(placed, key=lambda truth: truth.onset_ms))


def rate_factor(active: Iterable[Injection], seconds: Ints) -> Floats:
    """By what the usual rate is multiplied in these seconds, float64[n]."""
    factor = np.ones(len(seconds))
    for injection in active:
        strength = injection.strength(seconds)
        for effect in injection.effects:
            if isinstance(effect, Traffic):
                factor = factor * (1.0 + (effect.factor - 1.0) * strength)
    return factor


def periods(injections: Sequence[Injection], seconds: Ints) -> Iterator[tuple[Ints, list[Injection]]]:
    """Cut seconds, ascending, where an injection begins or ends: each piece with what is on in all of it."""
    bounds = sorted({second for injection in injections for second in (injection.onset_s, injection.end_s)})
    for piece in np.split(seconds, np.searchsorted(seconds, bounds)):
        if len(piece):
            yield piece, [injection for injection in injections if injection.active(int(piece[0]))]
