"""Faults as data: what is broken, how, how badly, and from when to when; and what they do to columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np

from loadgen.columns import Column, Floats, Response
from loadgen.truth import Truth
from schemas.findings import Kind, Severity


class Effect(StrEnum):
    """How a fault changes what a model sees or answers. What its magnitude means stands beside each."""

    SCALE = "scale"
    """A numeric feature is multiplied by the magnitude, > 0."""
    NULLS = "nulls"
    """A feature is null for a share of the requests equal to the magnitude, 0…1."""
    SLOW_TAIL = "slow_tail"
    """The slower part of the requests (over ``tail_over_ms``) takes magnitude times as long, > 1."""
    VOLUME = "volume"
    """Requests come at magnitude times the usual rate, >= 0."""
    ERRORS = "errors"
    """A share of the requests equal to the magnitude, 0…1, fails."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One injected fault, and with it the ground truth of one.

    Attributes
    ----------
    name
        Unique in a scenario.
    model
        The serving model it strikes: the entity that alerts about it name.
    effect, magnitude
        See :class:`Effect`.
    onset_s, end_s
        From when to when, in seconds of event time since the scenario's start; the end is exclusive.
    target
        The feature that is struck, where the effect needs one.
    tail_over_ms
        For ``SLOW_TAIL``: requests faster than this are left alone.
    kinds
        An alert of one of these kinds about the model counts as its detection.
    collateral
        Kinds that the fault explains but that do not count as its detection.
    severity
        What an on-call engineer should get for it: a page or a ticket.
    """

    name: str
    model: str
    effect: Effect
    magnitude: float
    onset_s: int
    end_s: int
    kinds: tuple[Kind, ...]
    target: str = ""
    tail_over_ms: float = 0.0
    collateral: tuple[Kind, ...] = ()
    severity: Severity = Severity.PAGE

    def __post_init__(self) -> None:
        if not 0 <= self.onset_s < self.end_s:
            raise ValueError(f"fault {self.name!r} must end after its onset: {self.onset_s} s to {self.end_s} s")
        if self.effect in {Effect.SCALE, Effect.NULLS} and not self.target:
            raise ValueError(f"fault {self.name!r} of effect {self.effect} needs the feature it strikes as its target")
        if self.effect in {Effect.NULLS, Effect.ERRORS} and not 0 <= self.magnitude <= 1:
            raise ValueError(f"fault {self.name!r} strikes a share of requests, 0…1, not {self.magnitude}")
        if self.magnitude < 0 or (self.effect is Effect.SCALE and self.magnitude == 0):
            raise ValueError(f"fault {self.name!r} has the magnitude {self.magnitude}, which nothing real has")

    def active(self, second: int) -> bool:
        """Whether the fault is on in this second of the scenario."""
        return self.onset_s <= second < self.end_s

    def describe(self) -> str:
        """What was done, in words: ``features.amount × 2``."""
        where = f"features.{self.target}" if self.target else "requests"
        return {
            Effect.SCALE: f"{where} × {self.magnitude:g}",
            Effect.NULLS: f"{where} null in {self.magnitude:.0%}",
            Effect.SLOW_TAIL: f"slow requests × {self.magnitude:g}",
            Effect.VOLUME: f"traffic × {self.magnitude:g}",
            Effect.ERRORS: f"{self.magnitude:.0%} of requests fail",
        }[self.effect]

    def truth(self, start_ms: int) -> Truth:
        """The fault in a scenario that starts at ``start_ms``, ms since the epoch."""
        return Truth(
            name=self.name,
            entity=self.model,
            onset_ms=start_ms + self.onset_s * 1000,
            end_ms=start_ms + self.end_s * 1000,
            kinds=self.kinds,
            collateral=self.collateral,
            severity=self.severity,
            magnitude=self.magnitude,
            target=self.target,
            injection=self.effect.value,
            injected=self.describe(),
        )


ERROR_STATUS: Final = "upstream_timeout"


def rate_factor(faults: Sequence[Fault]) -> float:
    """By what the usual rate is multiplied while these faults are on."""
    factors = [fault.magnitude for fault in faults if fault.effect is Effect.VOLUME]
    return float(np.prod(factors)) if factors else 1.0


def strike_features(
    features: dict[str, Column], faults: Sequence[Fault], rng: np.random.Generator
) -> dict[str, Column]:
    """The features as the model sees them while these faults are on; the given ones stay as they are.

    Raises
    ------
    ValueError
        If a fault names a feature that the model does not have, or scales one that is not a number.
    """
    struck = dict(features)
    for fault in faults:
        if fault.effect not in {Effect.SCALE, Effect.NULLS}:
            continue
        column = struck.get(fault.target)
        if column is None or not np.issubdtype(column.dtype, np.floating):
            raise ValueError(
                f"fault {fault.name!r} strikes {fault.target!r}, which is no numeric feature of {fault.model}: "
                f"it has {', '.join(struck)}"
            )
        numbers = column.astype(np.float64)
        if fault.effect is Effect.SCALE:
            struck[fault.target] = numbers * fault.magnitude
        else:
            struck[fault.target] = np.where(rng.random(len(numbers)) < fault.magnitude, np.nan, numbers)
    return struck


def strike_response(response: Response, faults: Sequence[Fault], rng: np.random.Generator) -> Response:
    """The response as the caller gets it while these faults are on."""
    for fault in faults:
        if fault.effect is Effect.SLOW_TAIL:
            response = _slowed(response, fault)
        elif fault.effect is Effect.ERRORS:
            failed = rng.random(len(response.latency_ms)) < fault.magnitude
            status = np.where(failed, ERROR_STATUS, response.status)
            response = replace(response, status=status)
    return response


def _slowed(response: Response, fault: Fault) -> Response:
    factor: Floats = np.where(response.latency_ms > fault.tail_over_ms, fault.magnitude, 1.0)
    gen_ai = {name: values * factor if name.endswith("_ms") else values for name, values in response.gen_ai.items()}
    return replace(response, latency_ms=response.latency_ms * factor, gen_ai=gen_ai)


def truths(faults: Sequence[Fault], start_ms: int) -> tuple[Truth, ...]:
    """The faults of a scenario that starts at ``start_ms``, by onset."""
    placed = [fault.truth(start_ms) for fault in faults]
    return tuple(sorted(placed, key=lambda truth: truth.onset_ms))


def active_at(faults: Sequence[Fault], second: int) -> list[Fault]:
    """The faults that are on in this second of the scenario."""
    return [fault for fault in faults if fault.active(second)]
