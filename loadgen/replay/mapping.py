"""Which column goes where: ``TARGET=COLUMN``, ``TARGET=COLUMN:UNIT`` or ``TARGET=const:VALUE``."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from loadgen.replay.errors import ReplayError
from loadgen.replay.families import Shape, Target, required, target_of

CONST: Final = "const:"

FACTORS: Final[dict[tuple[str, str], float]] = {
    ("s", "ms"): 1e3,
    ("ms", "ms"): 1.0,
    ("us", "ms"): 1e-3,
    ("ns", "ms"): 1e-6,
    ("percent", "ratio"): 1e-2,
    ("ratio", "ratio"): 1.0,
    ("kib", "bytes"): 2.0**10,
    ("mib", "bytes"): 2.0**20,
    ("gib", "bytes"): 2.0**30,
    ("mhz", "hz"): 1e6,
}
"""(unit of the column, unit of the target) → by what to multiply."""

TIME_UNITS: Final = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
"""Unit of a column of numbers that are times since 1970 → by what to multiply for ms."""

AS_TEXT: Final = "text"
"""For features: the column's numbers are names (an identifier, a code)."""
_ISO: Final = "iso"


@dataclass(frozen=True, slots=True)
class Rule:
    """One mapping. Either ``column`` or ``constant`` is set; ``unit`` is ``""`` where none was given."""

    target: Target
    column: str = ""
    unit: str = ""
    constant: str | float | None = None

    @property
    def factor(self) -> float:
        """By what the column's numbers are multiplied."""
        return FACTORS.get((self.unit, self.target.unit), 1.0)


def parse_rules(family: str, texts: Sequence[str], columns: Sequence[str]) -> list[Rule]:
    """Read the mappings of a replay, checked against the family's fields and the file's columns.

    Raises
    ------
    ReplayError
        If one cannot be understood, names what does not exist, is given twice, or a required field has none.
    """
    rules = [_parse(family, text, columns) for text in texts]
    seen: set[str] = set()
    for rule in rules:
        if str(rule.target) in seen:
            raise ReplayError(f"'{rule.target}' is mapped twice: leave one out")
        seen.add(str(rule.target))
    missing = [name for name in required(family) if name not in seen]
    if missing:
        example = "TIMESTAMP_COLUMN" if missing[0].endswith("ts_ms") else f"const:{missing[0].upper()}"
        raise ReplayError(
            f"messages of {family} need {' and '.join(missing)}: add --map {missing[0]}={example}. "
            f"The file has the columns {', '.join(columns)}"
        )
    return rules


def _parse(family: str, text: str, columns: Sequence[str]) -> Rule:
    name, equals, source = (part.strip() for part in text.partition("="))
    if not (name and equals and source):
        raise ReplayError(f"--map {text}: write TARGET=COLUMN, TARGET=COLUMN:UNIT or TARGET=const:VALUE")
    target = target_of(family, name)
    if target.shape is Shape.LIST:
        raise ReplayError(f"--map {text}: '{name}' holds a list, which a column cannot give")
    if source.startswith(CONST):
        return Rule(target, constant=_constant(target, source.removeprefix(CONST)))
    if source in columns:
        return Rule(target, column=source)
    column, colon, unit = source.rpartition(":")
    if colon and column in columns:
        _check_unit(text, target, unit)
        return Rule(target, column=column, unit=unit)
    near = get_close_matches(column or source, columns, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(columns)}"
    raise ReplayError(f"--map {text}: the file has no column '{source}': {hint}")


def _constant(target: Target, value: str) -> str | float:
    if target.shape is Shape.TEXT:
        return value
    if target.shape is Shape.TIME:
        raise ReplayError(f"'{target}' cannot be constant: events need times of their own")
    try:
        return float(value)
    except ValueError as error:
        if target.shape is Shape.VALUE:
            return value
        raise ReplayError(f"'{target}' is a number, not {value!r}") from error


def _check_unit(text: str, target: Target, unit: str) -> None:
    if target.shape is Shape.TIME:
        fitting = [*TIME_UNITS, _ISO]
    elif target.shape is Shape.VALUE:
        fitting = [AS_TEXT]
    else:
        fitting = [source for source, wanted in FACTORS if wanted == target.unit]
    if unit not in fitting:
        offer = f"it takes {', '.join(fitting)}" if fitting else "it has no unit"
        raise ReplayError(f"--map {text}: '{unit}' is no unit for '{target}': {offer}")
