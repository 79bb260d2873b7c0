"""What each topic's messages can hold, read off their structs, so that a mapping is checked before a row is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Final

import msgspec

from loadgen.replay.errors import ReplayError
from schemas.features import FeatureRead
from schemas.gpu import GpuSample
from schemas.labels import Label
from schemas.predictions import Prediction


class Shape(StrEnum):
    """What a field holds."""

    NUMBER = "number"
    INTEGER = "integer"
    TEXT = "text"
    TIME = "time"
    VALUE = "number, text or bool"
    """A feature or a segment: as the file has it."""
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a column goes: ``("features", "amount")``; ``unit`` is what the field's name ends in."""

    path: tuple[str, ...]
    shape: Shape

    @property
    def unit(self) -> str:
        """``ms``, ``s``, ``ratio``, ``bytes``, ``hz`` or ``""``."""
        ending = self.path[-1].rpartition("_")[2]
        return ending if ending in {"ms", "s", "ratio", "bytes", "hz"} else ""

    def __str__(self) -> str:
        return ".".join(self.path)


FAMILIES: Final[Mapping[str, type[msgspec.Struct]]] = {
    "predictions": Prediction,
    "features": FeatureRead,
    "gpu-telemetry": GpuSample,
    "labels": Label,
}
"""Topic → the struct of its messages."""

KEYS: Final = {"predictions": "event_id", "features": "event_id", "gpu-telemetry": "gpu_uuid", "labels": "event_id"}
"""Topic → the field that keys its messages."""


def required(family: str) -> tuple[str, ...]:
    """The fields without which a message of the family is invalid."""
    fields = msgspec.structs.fields(FAMILIES[family])
    return tuple(field.name for field in fields if field.required)


def target_of(family: str, name: str) -> Target:
    """Where ``name`` (``latency_ms``, ``features.amount``) goes in a message of the family.

    Raises
    ------
    ReplayError
        If messages of this family have no such field; names the nearest that they have.
    """
    head, _, rest = name.partition(".")
    info = msgspec.inspect.type_info(FAMILIES[family])
    known = {field.name: _bare(field.type) for field in info.fields}  # type: ignore[attr-defined]
    if head not in known:
        raise ReplayError(_unknown(family, name, list(known)))
    kind = known[head]
    if isinstance(kind, msgspec.inspect.DictType):
        if not rest:
            raise ReplayError(f"'{head}' holds named values: map '{head}.NAME=COLUMN'")
        return Target((head, rest), Shape.VALUE)
    if isinstance(kind, msgspec.inspect.StructType):
        inner = {field.name: _bare(field.type) for field in kind.fields}
        if rest not in inner:
            raise ReplayError(_unknown(family, name, [f"{head}.{field}" for field in inner]))
        return Target((head, rest), _shape(rest, inner[rest]))
    if rest:
        raise ReplayError(f"'{head}' of {family} holds one value: map '{head}=COLUMN'")
    return Target((head,), _shape(head, kind))


def _bare(kind: Any) -> Any:  # noqa: ANN401 - msgspec.inspect's types have no useful common one
    """The type without ``None`` and metadata; a union of several is a dict value's."""
    while isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    if isinstance(kind, msgspec.inspect.UnionType):
        inner = [_bare(t) for t in kind.types if not isinstance(t, msgspec.inspect.NoneType)]
        return inner[0] if len(inner) == 1 else kind
    return kind


def _shape(name: str, kind: object) -> Shape:
    if name.endswith("ts_ms"):
        return Shape.TIME
    shapes = {
        msgspec.inspect.IntType: Shape.INTEGER,
        msgspec.inspect.FloatType: Shape.NUMBER,
        msgspec.inspect.StrType: Shape.TEXT,
        msgspec.inspect.ListType: Shape.LIST,
    }
    return shapes.get(type(kind), Shape.VALUE)  # type: ignore[call-overload,no-any-return]


def _unknown(family: str, name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(known)}"
    return f"a message of {family} has no field '{name}': {hint}"
