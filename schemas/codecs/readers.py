"""msgspec decoders of a family, made from its public struct."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

import msgspec

from schemas.common import INT64_MIN, Value

UNDECODABLE: Final = (msgspec.DecodeError, ValueError, TypeError, RecursionError, OverflowError)
"""All that msgspec and ``len`` raise for bytes or null; ``DecodeError`` includes validation."""

MISSING_TIME: Final = INT64_MIN
"""What stands for a ``ts_ms`` that the body does not have."""

Decode = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class Reader:
    """The decoders of one family: ``fast`` fills a private struct, ``strict`` the public one, for its words."""

    fast: Decode
    strict: Decode


@cache
def reader(strict: type[msgspec.Struct], segment: str) -> Reader:
    """The decoders of a public struct.

    The private struct differs in two fields: a missing ``ts_ms`` is no error yet, because a header may have it, and
    the segments stay bytes, because the same bytes come again and again and need to be read once.
    """
    wire = msgspec.defstruct(f"{strict.__name__}Wire", _fields(strict, segment), kw_only=True, gc=False)
    return Reader(msgspec.json.Decoder(wire).decode, msgspec.json.Decoder(strict).decode)


@lru_cache(maxsize=64)
def uniform_reader(strict: type[msgspec.Struct], segment: str, values: str, names: tuple[str, ...]) -> Decode | None:
    """A decoder for messages whose field ``values`` has exactly these names, in any order; ``None`` if there is none.

    A struct takes a third less time than a dictionary, and its names need not be compared afterwards. All other
    messages are errors to it.
    """
    numbered = [f"f{number}" for number in range(len(names))]
    try:
        inner = msgspec.defstruct(
            f"{strict.__name__}Values", [(field, Value) for field in numbered],
            rename=dict(zip(numbered, names, strict=True)), forbid_unknown_fields=True, gc=False,
        )  # fmt: skip
    except ValueError:  # a name with quotes or control characters
        return None
    fields = [(values, inner) if field[0] == values else field for field in _fields(strict, segment)]
    wire = msgspec.defstruct(f"{strict.__name__}UniformWire", fields, kw_only=True, gc=False)
    return msgspec.json.Decoder(wire).decode


def _fields(strict: type[msgspec.Struct], segment: str) -> list[Any]:
    fields: list[Any] = []
    for known in msgspec.structs.fields(strict):
        if known.name == "ts_ms":
            fields.append((known.name, known.type, MISSING_TIME))
        elif known.name == segment:
            fields.append((known.name, msgspec.Raw, msgspec.Raw(b"")))
        elif known.required:
            fields.append((known.name, known.type))
        else:
            fields.append((known.name, known.type, known.default))
    return fields
