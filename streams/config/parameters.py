"""Detector parameters given in ``detect:``, checked against the classes the detectors declare.

The detectors' registry names, for each kind, the class of its parameters: a frozen dataclass, a msgspec struct or a
pydantic model. This module never lists detectors itself, so that a new one is configurable the moment it is registered.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import msgspec
import msgspec.structs
from pydantic import BaseModel, TypeAdapter, ValidationError

from streams.errors import ConfigError

REGISTRY_MODULE = "detectors.registry"

ParameterClasses = Mapping[str, type]


def parameter_classes() -> ParameterClasses:
    """Parameter class by detector kind: ``PARAMS`` of the detectors' registry; empty before there is one."""
    if find_spec(REGISTRY_MODULE) is None:
        return {}
    classes: ParameterClasses = import_module(REGISTRY_MODULE).PARAMS
    return classes


def check_parameters(
    detect: Mapping[str, Mapping[str, Any]], classes: ParameterClasses | None = None
) -> dict[str, object]:
    """Build the parameters of every detector kind that ``detect`` names.

    Parameters
    ----------
    detect
        Parameters by kind, as they stand in the settings.
    classes
        Parameter class by kind; the registry's by default, which is imported only when ``detect`` names something.

    Returns
    -------
    dict
        One instance of its parameter class for each kind named.

    Raises
    ------
    ConfigError
        For an unknown kind, an unknown parameter, or a value its class refuses.
    """
    if not detect:
        return {}
    known = parameter_classes() if classes is None else classes
    return {kind: _build(kind, values, known) for kind, values in detect.items()}


def _build(kind: str, values: Mapping[str, Any], known: ParameterClasses) -> object:
    if kind not in known:
        raise ConfigError(f"There is no detector '{kind}'{_hint(kind, known)}", f"detect.{kind}", _listing(known))
    names = _parameter_names(known[kind])
    for name in values:
        if name not in names:
            raise ConfigError(
                f"Detector '{kind}' has no parameter '{name}'{_hint(name, names)}",
                f"detect.{kind}.{name}",
                _listing(names),
            )
    try:
        return _convert(known[kind], dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(["detect", kind, *(str(part) for part in first["loc"])])
        raise _refused(kind, where, str(first["msg"])) from error
    except msgspec.ValidationError as error:
        raise _refused(kind, f"detect.{kind}", str(error)) from error


def _convert(cls: type, values: dict[str, Any]) -> object:
    # Lax on purpose: what comes from the environment is text.
    if issubclass(cls, msgspec.Struct):
        return msgspec.convert(values, cls, strict=False)
    built: object = TypeAdapter(cls).validate_python(values)
    return built


def _refused(kind: str, where: str, message: str) -> ConfigError:
    reason = message.removeprefix("Value error, ")
    return ConfigError(f"Detector '{kind}' refuses its parameters: {reason}.", where, "Correct the value.")


def _parameter_names(cls: type) -> list[str]:
    if issubclass(cls, BaseModel):
        return list(cls.model_fields)
    if issubclass(cls, msgspec.Struct):
        return [field.name for field in msgspec.structs.fields(cls)]
    return [field.name for field in fields(cls) if field.init] if is_dataclass(cls) else []


def _hint(name: str, known: Mapping[str, type] | list[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else "."


def _listing(known: Mapping[str, type] | list[str]) -> str:
    return f"Known: {', '.join(sorted(known))}." if known else "No detector takes parameters yet."
