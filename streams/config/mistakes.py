"""Turning what pydantic found into lines that say which knob, from where, what is wrong, and what was meant."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import takewhile
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from streams.config.tree import ENV_DELIMITER, ENV_PREFIX, Settings


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of settings: its name for the reader, its values nested as in the file, its variables if any."""

    name: str
    values: Mapping[str, Any]
    variables: tuple[str, ...] = ()

    def holds(self, path: Sequence[object]) -> bool:
        """Whether this layer sets the knob at ``path``."""
        at: object = self.values
        for key in path:
            if isinstance(at, Sequence) and not isinstance(at, str):
                return True  # a list is set as a whole
            if not isinstance(at, Mapping) or key not in at:
                return False
            at = at[key]
        return True

    def origin(self, path: Sequence[object]) -> str:
        """Name the source of the knob at ``path``: the file, or the very variable."""
        names = list(takewhile(lambda part: isinstance(part, str), path))
        wanted = ENV_PREFIX + ENV_DELIMITER.join(str(part) for part in names).upper()
        setting = [
            name for name in self.variables if f"{name.upper()}{ENV_DELIMITER}".startswith(wanted + ENV_DELIMITER)
        ]
        return ", ".join(setting) or self.name


def knobs(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every knob of the tree as (dotted path, field), in order, without the sections themselves."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from knobs(field.annotation, f"{path}.")
        else:
            yield path, field


def item_of(field: FieldInfo) -> type[BaseModel] | None:
    """What a knob is a list of, where that has keys of its own."""
    kinds = [kind for kind in get_args(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return kinds[0] if kinds else None


def is_secret(field: FieldInfo) -> bool:
    """Whether the values of ``field`` must never be shown."""
    return field.annotation is SecretStr


def nearest(path: str, known: Sequence[str]) -> str | None:
    """Find the known dotted path that was probably meant: the same knob elsewhere, or the closest spelling."""
    knob = path.rpartition(".")[2]
    elsewhere = [candidate for candidate in known if candidate.rpartition(".")[2] == knob]
    if len(elsewhere) == 1:
        return elsewhere[0]
    close = get_close_matches(path, known, n=1, cutoff=0.6)
    if close:
        return close[0]
    by_knob = {candidate.rpartition(".")[2]: candidate for candidate in known}
    close = get_close_matches(knob, by_knob, n=1, cutoff=0.75)
    return by_knob[close[0]] if close else None


def describe(error: ValidationError, layers: Sequence[Layer]) -> str:
    """One line per mistake, in the tree's order."""
    secrets = {path for path, field in knobs() if is_secret(field)}
    lines = [_line(mistake, layers, secrets) for mistake in error.errors(include_url=False)]
    head = "A knob cannot be used:" if len(lines) == 1 else f"{len(lines)} knobs cannot be used:"
    return "\n".join([head, *(f"  {line}" for line in lines)])


def _line(mistake: Mapping[str, Any], layers: Sequence[Layer], secrets: set[str]) -> str:
    location = mistake["loc"]
    path = ".".join(str(part) for part in location)
    origin = next((layer.origin(location) for layer in reversed(layers) if layer.holds(location)), "defaults")
    if mistake["type"] == "extra_forbidden":
        return f"{path} ({origin}): unknown{_key_suggestion(location) or _suggestion(path)}"
    message = str(mistake["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    given = mistake["input"]
    shown = "" if path in secrets or isinstance(given, BaseModel | Mapping) else f"; it is {_without_user(given)!r}"
    return f"{path} ({origin}): {message}{shown}"


def _without_user(given: object) -> object:
    """An address without the user and the password that somebody has put into it."""
    return re.sub(r"[^/,\s]*@", "***@", given) if isinstance(given, str) else given


def _key_suggestion(location: Sequence[object]) -> str:
    """The key of a list's item that was probably meant."""
    item = item_of(Settings.model_fields[str(location[0])]) if len(location) > 2 else None
    close = get_close_matches(str(location[-1]), list(item.model_fields), n=1) if item else []
    return f"; did you mean {close[0]}?" if close else ""


def _suggestion(path: str) -> str:
    known = [name for name, _ in knobs()]
    sections = list(Settings.model_fields)
    head, _, knob = path.partition(".")
    if not knob and (close := get_close_matches(head, sections, n=1)):
        return f"; did you mean {close[0]}?"
    meant = nearest(path, known)
    return f"; did you mean {meant}?" if meant else ""
