"""JSON Schema and Avro of the public messages, generated from their structs.

``python -m schemas.generate`` rewrites ``schemas/json`` and ``schemas/avro``; a test says when that is due.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import inspect

from schemas.alerts import Alert
from schemas.control import Control
from schemas.features import FeatureRead
from schemas.gpu import GpuSample
from schemas.labels import Label
from schemas.predictions import Prediction

PUBLIC: Final[Mapping[str, type[msgspec.Struct]]] = {
    "predictions": Prediction,
    "features": FeatureRead,
    "gpu-telemetry": GpuSample,
    "labels": Label,
    "control": Control,
    "alerts": Alert,
}
"""Topic → the struct of its messages."""

Avro = str | list[Any] | dict[str, Any]
NAMESPACE: Final = "halcyon"
_SCALARS: Final[Mapping[type[Any], str]] = {
    inspect.NoneType: "null",
    inspect.BoolType: "boolean",
    inspect.IntType: "long",
    inspect.FloatType: "double",
    inspect.StrType: "string",
}


def json_schema(topic: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of a topic's messages."""
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": topic}
    return title | msgspec.json.schema(PUBLIC[topic])


def avro_schema(topic: str) -> dict[str, Any]:
    """Avro schema of a topic's messages: a record whose optional fields are unions with null."""
    record = _avro(inspect.type_info(PUBLIC[topic]), set())
    if not isinstance(record, dict):
        raise TypeError(f"the messages of {topic} are no struct")
    return record


def _avro(kind: inspect.Type, named: set[str]) -> Avro:
    if isinstance(kind, inspect.Metadata):
        return _avro(kind.type, named)
    if type(kind) in _SCALARS:
        return _SCALARS[type(kind)]
    if isinstance(kind, inspect.UnionType):
        # null first: a default belongs to the first type of a union
        return sorted(
            (_avro(each, named) for each in kind.types if not _is_unset(each)), key=lambda each: each != "null"
        )
    if isinstance(kind, inspect.EnumType | inspect.StructType):
        return _named(kind, named)
    if isinstance(kind, inspect.DictType):
        return {"type": "map", "values": _avro(kind.value_type, named)}
    if isinstance(kind, inspect.ListType | inspect.VarTupleType):
        return {"type": "array", "items": _avro(kind.item_type, named)}
    raise TypeError(f"{kind} has no Avro type yet: add it to schemas/generate.py")


def _named(kind: inspect.EnumType | inspect.StructType, named: set[str]) -> Avro:
    """A record or an enum: defined where it comes first, named from then on."""
    name = kind.cls.__name__
    if name in named:
        return f"{NAMESPACE}.{name}"
    named.add(name)
    if isinstance(kind, inspect.EnumType):
        symbols = [each.value for each in kind.cls]
        return {"type": "enum", "name": name, "namespace": NAMESPACE, "symbols": symbols}
    doc = (kind.cls.__doc__ or "").split("\n\n")[0].strip()
    fields = [_field(field, named) for field in kind.fields]
    return {"type": "record", "name": name, "namespace": NAMESPACE, "doc": doc, "fields": fields}


def _field(field: inspect.Field, named: set[str]) -> dict[str, Any]:
    avro = _avro(field.type, named)
    entry: dict[str, Any] = {"name": field.encode_name, "type": avro}
    if field.required:
        return entry
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    if default not in (None, msgspec.UNSET, msgspec.NODEFAULT):
        return entry | {"default": msgspec.to_builtins(default)}
    types = avro if isinstance(avro, list) else [avro]
    return {"name": field.encode_name, "type": ["null", *(each for each in types if each != "null")], "default": None}


def _is_unset(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.CustomType) and kind.cls is msgspec.UnsetType


def outputs() -> dict[str, str]:
    """Path below ``schemas`` → what should stand there."""
    files: dict[str, str] = {}
    for topic in PUBLIC:
        files[f"json/{topic}.schema.json"] = json.dumps(json_schema(topic), indent=2, ensure_ascii=False) + "\n"
        files[f"avro/{topic}.avsc"] = json.dumps(avro_schema(topic), indent=2, ensure_ascii=False) + "\n"
    return files


def main() -> None:
    """Write what is out of date and name it."""
    root = Path(__file__).parent
    for name, text in outputs().items():
        path = root / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote schemas/{name}\n")


if __name__ == "__main__":
    main()
