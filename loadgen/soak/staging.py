"""What a soak test plays: a scenario's models at a constant rate, its faults over and over, and bursts of traffic."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import yaml

from loadgen.effects import Traffic as TrafficEffect
from loadgen.expected import InjectionKind
from loadgen.injections import Injection
from loadgen.models.spec import Model
from loadgen.scenarios import Scenario
from loadgen.scenarios.scenario import ScenarioFile
from loadgen.truth import Expectation

BURST_S: Final = 60
BURST_EVERY_S: Final = 900


def at_rate(scenario: Scenario, rate_per_s: float) -> ScenarioFile:
    """The scenario with all its models together at ``rate_per_s`` predictions a second, whatever hour it is.

    Raises
    ------
    ValueError
        If no model of it has a rate of its own.
    """
    rates = [model.traffic.rate_per_s for model in scenario.spec.models if model.traffic.trace is None]
    if not sum(rates):
        raise ValueError(f"scenario {scenario.name} has no model with a rate of its own: take another")
    factor = rate_per_s / sum(rates)

    def scaled(model: Model) -> Model:
        rate = model.traffic.rate_per_s * factor
        steady = msgspec.structs.replace(
            model.traffic, rate_per_s=rate, daily_ratio=0.0, weekend_ratio=1.0, shapes=(), trace=None
        )
        return msgspec.structs.replace(model, traffic=steady)

    return msgspec.structs.replace(scenario.spec, seed=scenario.seed, models=tuple(map(scaled, scenario.spec.models)))


def quiet(spec: ScenarioFile, duration_s: int) -> ScenarioFile:
    """The models alone, for so long."""
    return msgspec.structs.replace(spec, duration_s=duration_s, timeline=())


def endless(spec: ScenarioFile, duration_s: int, burst_ratio: float) -> ScenarioFile:
    """The scenario's faults again and again until ``duration_s``, and every 15 minutes a minute of more traffic.

    A burst strikes the model with the most traffic, by as much as makes the whole ``burst_ratio`` times what it is.
    """
    timeline = (*_again(spec, duration_s), *_bursts(spec, duration_s, burst_ratio))
    return msgspec.structs.replace(spec, duration_s=duration_s, timeline=tuple(sorted(timeline, key=_onset)))


def write(spec: ScenarioFile, path: Path) -> Path:
    """A scenario file that :func:`loadgen.scenarios.load` reads."""
    path.write_text(yaml.safe_dump(msgspec.to_builtins(spec), sort_keys=False), encoding="utf-8")
    return path


def _again(spec: ScenarioFile, duration_s: int) -> Iterator[Injection]:
    for number, shift_s in enumerate(range(0, duration_s, spec.duration_s), 1):
        for injection in spec.timeline:
            onset_s, end_s = injection.onset_s + shift_s, injection.end_s + shift_s
            if end_s <= duration_s:
                name = injection.name if number == 1 else f"{injection.name}, time {number}"
                yield msgspec.structs.replace(injection, name=name, onset_s=onset_s, end_s=end_s)


def _bursts(spec: ScenarioFile, duration_s: int, burst_ratio: float) -> Iterator[Injection]:
    busiest = max(spec.models, key=lambda model: model.traffic.rate_per_s)
    whole = sum(model.traffic.rate_per_s for model in spec.models)
    factor = 1 + (burst_ratio - 1) * whole / busiest.traffic.rate_per_s
    for number, onset_s in enumerate(range(BURST_EVERY_S, duration_s - 3 * BURST_S, BURST_EVERY_S), 1):
        yield Injection(
            name=f"burst {number}",
            kind=InjectionKind.VOLUME_SPIKE,
            entity=busiest.name,
            onset_s=onset_s,
            end_s=onset_s + BURST_S,
            effects=(TrafficEffect(factor=factor),),
            # A minute of a third more is for the pipeline to bear, and for nobody to be told of.
            expect=Expectation.MAY,
        )


def _onset(injection: Injection) -> int:
    return injection.onset_s
