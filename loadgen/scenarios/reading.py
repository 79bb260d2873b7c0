"""Reading scenario files: YAML, every key known, mistakes told with the file, the place, and what was meant."""

from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import yaml

from loadgen.scenarios.mistakes import explained
from loadgen.scenarios.scenario import Scenario, ScenarioFile, mistakes

_FOLDER: Final = Path(str(files("loadgen.scenarios")))


class ScenarioError(ValueError):
    """A scenario cannot be played; the message says which file, where in it, and what to do."""


def names() -> list[str]:
    """The scenarios that ship, by name."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load(scenario: str | Path, seed: int | None = None) -> Scenario:
    """Read a scenario.

    Parameters
    ----------
    scenario
        One of :func:`names`, or the path of a YAML file.
    seed
        In place of the file's own, >= 0.

    Raises
    ------
    ScenarioError
        If there is no such scenario, or it cannot be played.
    """
    path = _path(str(scenario))
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (OSError, yaml.YAMLError) as error:
        raise ScenarioError(f"{path} cannot be read: {error}") from error
    return parse(raw, path, seed)


def parse(raw: object, path: Path, seed: int | None = None) -> Scenario:
    """The scenario in what YAML makes of a file; ``path`` names it and is where its other files lie.

    Raises
    ------
    ScenarioError
        If it cannot be played.
    """
    try:
        spec = msgspec.convert(raw, ScenarioFile)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{path}: {explained(raw, ScenarioFile)}") from error
    if seed is not None and seed < 0:
        raise ScenarioError(f"a seed is a whole number from 0 on, not {seed}")
    wrong = list(mistakes(spec))
    if wrong:
        raise ScenarioError("\n".join(f"{path}: {line}" for line in wrong))
    scenario = Scenario(path.stem, spec, spec.seed if seed is None else seed, path.parent)
    try:
        _try(scenario)
    except ValueError as error:
        raise ScenarioError(f"{path}: {error}") from error
    return scenario


def _path(scenario: str) -> Path:
    own = _FOLDER / f"{scenario}.yaml"
    if scenario in names():
        return own
    path = Path(scenario)
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        return path
    near = get_close_matches(scenario, names(), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names())}"
    raise ScenarioError(f"there is no scenario {scenario!r}, neither here nor as a .yaml file: {hint}")


def _try(scenario: Scenario) -> None:
    """Make a few seconds under each injection: only then is seen whether its entity has what it strikes.

    Raises
    ------
    ValueError
        If it does not.
    """
    mix = scenario.mix(0)
    for injection in scenario.injections:
        second = injection.onset_s
        # GPUs are sampled every so often: the next whole minute is among these.
        seconds = np.unique([second, second - second % -60])
        for entity in mix.entities:
            if entity.name == injection.entity:
                try:
                    entity.blocks(seconds[seconds < injection.end_s])
                except ValueError as error:
                    raise ValueError(f"timeline {injection.name!r}: {error}") from error
