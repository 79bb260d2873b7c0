"""Reading the settings: defaults, then a file, then the environment, then what the caller insists on.

Later layers win knob by knob. A mistake in any of them is reported with the layer it stands in, all mistakes at once.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from streams.config.mistakes import Layer, describe
from streams.config.parameters import check_parameters
from streams.config.tree import ENV_DELIMITER, ENV_PREFIX, Settings
from streams.errors import ConfigError

DEFAULT_FILE = Path("halcyon.yaml")
FILE_VARIABLE = f"{ENV_PREFIX}CONFIG"


def load_settings(
    path: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the settings once, at the start of a command or a test.

    Parameters
    ----------
    path
        The file; by default what ``HALCYON_CONFIG`` names, else ``halcyon.yaml`` in the working folder if there is one.
        A file that was asked for must exist.
    env
        The environment; by default this process's. Tests give a mapping, ``{}`` for none.
    overrides
        The last word, nested as in the file: ``{"web": {"port": 0}}``.

    Raises
    ------
    ConfigError
        When a file cannot be read, a knob is unknown, or a value does not fit. Names every such knob and its source.
    """
    environment = os.environ if env is None else env
    layers = [
        *_file_layer(path, environment),
        _environment_layer(environment),
        Layer("command line", dict(overrides or {})),
    ]
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merge(merged, layer.values)
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        raise ConfigError(
            describe(error, layers), todo="'halcyon config reference' lists every knob, its unit and its bounds."
        ) from error
    check_parameters(settings.detect)
    return settings


def _file_layer(path: str | Path | None, environment: Mapping[str, str]) -> list[Layer]:
    asked_for = path or environment.get(FILE_VARIABLE)
    file = Path(asked_for) if asked_for else DEFAULT_FILE
    if not asked_for and not file.is_file():
        return []
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(
            f"The configuration cannot be read: {reason}.", str(file), f"Correct --config or {FILE_VARIABLE}."
        ) from error
    except yaml.YAMLError as error:
        raise _yaml_error(file, error) from None  # the parser quotes the line, which may hold a password
    if values is None:
        values = {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(
            "The configuration must be sections with knobs, such as 'kafka:' with 'bootstrap_servers: …' below it.",
            str(file),
            "Write it as a YAML mapping.",
        )
    return [Layer(str(file), values)]


def _yaml_error(file: Path, error: yaml.YAMLError) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else str(file)
    problem = getattr(error, "problem", None) or "it cannot be parsed"
    return ConfigError(f"The configuration is not valid YAML: {problem}.", where, "Correct the file at this place.")


@dataclass
class _NoSection:
    """A variable that belongs to no section; kept so that it is reported as unknown instead of being ignored."""

    value: str


class _MappingSource(EnvSettingsSource):
    """pydantic-settings' environment source, reading a given mapping in place of the process's own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._environment.items()}


def _environment_layer(environment: Mapping[str, str]) -> Layer:
    ours = {
        name: value
        for name, value in environment.items()
        if name.upper().startswith(ENV_PREFIX) and name.upper() != FILE_VARIABLE
    }
    try:
        values = dict(_MappingSource(ours)())
    except SettingsError as error:
        raise ConfigError(
            "A variable that holds a whole section must be valid JSON.",
            _first_refused(ours),
            f"Correct it, or set single knobs, such as {ENV_PREFIX}KAFKA__CLIENT_ID=halcyon.",
        ) from error
    for name, value in ours.items():
        first, *rest = name[len(ENV_PREFIX) :].lower().split(ENV_DELIMITER)
        if first not in Settings.model_fields:
            _merge_in(values, [first, *rest], _NoSection(value))
    return Layer("environment", values, tuple(ours))


def _first_refused(variables: Mapping[str, str]) -> str:
    """Find the variable to blame: pydantic-settings names the section only."""
    for name, value in variables.items():
        try:
            _MappingSource({name: value})()
        except SettingsError:
            return name
    return "environment"


def _merge_in(values: dict[str, Any], path: list[str], value: object) -> None:
    *sections, knob = path
    for section in sections:
        below = values.get(section)
        inner = below if isinstance(below, dict) else {}
        values[section] = inner
        values = inner
    values[knob] = value


def _merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``upper`` over ``lower``, mapping by mapping. Neither is changed."""
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged
