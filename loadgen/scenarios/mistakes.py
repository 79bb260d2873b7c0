"""What is wrong in a file of typed data: the place, and the valid key or name that was probably meant."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec import inspect


def explained(raw: object, kind: type[msgspec.Struct]) -> str:
    """Why ``raw`` is no ``kind``: the innermost place where something is wrong, what, and what was meant.

    Examples
    --------
    >>> class Shop(msgspec.Struct, forbid_unknown_fields=True):
    ...     opens_h: int
    >>> explained({"open_h": 9}, Shop)
    "unknown key 'open_h', did you mean 'opens_h'?"
    """
    return next(_mistakes(raw, inspect.type_info(kind), ""), "it holds something that cannot be there")


def _mistakes(raw: Any, kind: inspect.Type, path: str) -> Iterator[str]:  # noqa: ANN401 - what YAML makes of a file
    match kind:
        case inspect.UnionType():
            yield from _of_union(raw, kind, path)
        case inspect.StructType():
            yield from _of_struct(raw, kind, path)
        case inspect.DictType() if isinstance(raw, dict):
            for name, value in raw.items():
                yield from _mistakes(value, kind.value_type, _below(path, str(name)))
        case inspect.VarTupleType() | inspect.ListType() if isinstance(raw, list):
            for place, value in enumerate(raw):
                yield from _mistakes(value, kind.item_type, f"{path}[{place}]")
        case inspect.EnumType() if isinstance(raw, str):
            names = [member.value for member in kind.cls]
            if raw not in names:
                yield f"{path}: {_meant(raw, names)}"
        case inspect.LiteralType() if isinstance(raw, str) and raw not in kind.values:
            yield f"{path}: {_meant(raw, [str(value) for value in kind.values])}"
        case _:
            return


def _of_union(raw: Any, kind: inspect.UnionType, path: str) -> Iterator[str]:  # noqa: ANN401 - likewise
    structs = [one for one in kind.types if isinstance(one, inspect.StructType)]
    if raw is None or not structs:
        for one in kind.types:
            if raw is not None and not isinstance(one, inspect.NoneType):
                yield from _mistakes(raw, one, path)
        return
    if len(structs) == 1:
        yield from _of_struct(raw, structs[0], path)
        return
    field, tags = structs[0].tag_field or "type", {str(one.tag): one for one in structs}
    if not isinstance(raw, dict):
        yield f"{path}: it must be a mapping with the key {field!r}, one of {', '.join(tags)}"
    elif field not in raw:
        yield f"{path}: the key {field!r} is missing, one of {', '.join(tags)}"
    elif str(raw[field]) not in tags:
        yield f"{_below(path, field)}: {_meant(str(raw[field]), list(tags))}"
    else:
        yield from _of_struct(raw, tags[str(raw[field])], path)


def _of_struct(raw: Any, kind: inspect.StructType, path: str) -> Iterator[str]:  # noqa: ANN401 - likewise
    before = f"{path}: " if path else ""
    if not isinstance(raw, dict):
        yield f"{before}it must be a mapping of keys and values, not {raw!r}"
        return
    fields = {field.encode_name: field for field in kind.fields}
    known = [*fields, *([kind.tag_field] if kind.tag_field else [])]
    for key in raw:
        if key not in known:
            yield f"{before}unknown key {str(key)!r}, {_suggestion(str(key), known)}"
    for name, field in fields.items():
        if field.required and name not in raw:
            yield f"{before}the key {name!r} is missing"
        elif name in raw:
            yield from _mistakes(raw[name], field.type, _below(path, name))
    try:
        msgspec.convert(raw, kind.cls)
    except msgspec.ValidationError as error:
        words, _, at = str(error).partition(" - at `$")
        yield f"{path}{at.rstrip('`')}: {words[:1].lower()}{words[1:]}".removeprefix(".")


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _meant(given: str, known: Sequence[str]) -> str:
    return f"{given!r} is not known, {_suggestion(given, known)}"


def _suggestion(given: str, known: Sequence[str]) -> str:
    # Mostly it is the unit that was left out.
    near = [name for name in known if name.startswith(f"{given}_")] or get_close_matches(given, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
