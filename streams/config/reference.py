"""The settings as text: what is in force, as YAML; what there is, as the page ``docs/configuration.md``."""

import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from streams.config.mistakes import is_secret, item_of, knobs
from streams.config.tree import ENV_DELIMITER, ENV_PREFIX, Settings

_HEAD = """\
# Configuration

<!-- Written by `make docs` from the settings tree. Change descriptions there. -->

Everything has a default: with nothing but a bootstrap address a worker starts. A knob is set, later ones winning,

1. in a YAML file: `--config FILE`, else the one that `HALCYON_CONFIG` names, else `halcyon.yaml` in the working folder;
2. by an environment variable `HALCYON_SECTION__KNOB`, such as `HALCYON_KAFKA__BOOTSTRAP_SERVERS=broker:9092`; lists are
   written `a,b`;
3. by the options of a command.

`halcyon config check` names every knob that cannot be used, where it was set and what was probably meant.
`halcyon config show` prints what is in force, without secrets. Units are in the names: `_s` is seconds, `_ratio` a
number between 0 and 1.
"""


def as_yaml(settings: Settings) -> str:
    """Settings in force as YAML that could be used as a file; secrets that are set become ``**********``."""
    text: str = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return text


def as_markdown() -> str:
    """Render the reference page: one table per section."""
    return _HEAD + "".join(_sections())


def _sections() -> Iterator[str]:
    alone: list[tuple[str, FieldInfo]] = []
    items: list[tuple[str, type[BaseModel]]] = []
    for name, field in Settings.model_fields.items():
        item = item_of(field)
        if item is not None:
            items.append((name, item))
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield _table(name, (section.__doc__ or "").strip(), list(knobs(section, f"{name}.")))
        else:
            alone.append((name, field))
    yield _table("", "Knobs that stand at the top of the file, in no section.", alone)
    for name, item in items:
        yield _item_table(name, item)


def _item_table(name: str, item: type[BaseModel]) -> str:
    lines = [f"\n## Each of `{name}`\n", "| key | default | allowed | meaning |", "|---|---|---|---|"]
    for key, field in item.model_fields.items():
        default = "required" if field.is_required() else "none" if field.default is None else _default(field)
        lines.append(f"| `{key}` | {default} | {_allowed(field)} | {_cell(field.description or '')} |")
    return "\n".join(lines) + "\n"


def _table(section: str, text: str, rows: list[tuple[str, FieldInfo]]) -> str:
    title = f"`{section}`" if section else "No section"
    lines = [f"\n## {title}\n", f"{text}\n", "| knob | default | allowed | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{path}`<br>`{variable(path)}` | {_default(field)} | {_allowed(field)} | {_cell(field.description or '')} |"
        for path, field in rows
    ]
    return "\n".join(lines) + "\n"


def variable(path: str) -> str:
    """Name the environment variable of the knob at a dotted path."""
    return ENV_PREFIX + path.replace(".", ENV_DELIMITER).upper()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if is_secret(field) and isinstance(value, SecretStr):
        return "none" if not value.get_secret_value() else "set"
    if value in ("", (), {}):
        return "none"
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


# The attribute in which a constraint keeps its bound, and how the bound is written.
_BOUNDS = {
    "ge": "≥ {}",
    "gt": "> {}",
    "le": "≤ {}",
    "lt": "< {}",
    "min_length": "{} or more characters",
    "max_length": "up to {} characters",
}


def _allowed(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    parts = [text for constraint in field.metadata for text in _bounds(constraint)]
    return ", ".join(parts) or _kind(field.annotation)


def _bounds(constraint: object) -> Iterator[str]:
    for attribute, template in _BOUNDS.items():
        bound = getattr(constraint, attribute, None)
        if bound is not None:
            yield template.format(bound)
    pattern = getattr(constraint, "pattern", None)
    if pattern:
        yield f"matches `{_cell(pattern)}`"


def _kind(annotation: Any) -> str:  # noqa: ANN401 - annotations are of any type
    kinds = {str: "text", SecretStr: "secret text", tuple: "list", dict: "mapping", bool: "true or false"}
    return kinds.get(get_origin(annotation) or annotation, "")
