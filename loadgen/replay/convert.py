"""A column's values as a message's values. Works on whole batches; a row is looked for only once one is known bad."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loadgen.columns import Ints
from loadgen.replay.errors import ReplayError
from loadgen.replay.families import Shape
from loadgen.replay.mapping import AS_TEXT, TIME_UNITS, Rule

_MS_PER: Final = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
# An epoch time in these units between 1990 and 2100 lies between these bounds: the ranges do not touch.
_EPOCH_FROM: Final = (("s", 6e8), ("ms", 6e11), ("us", 6e14), ("ns", 6e17))


def times_ms(rule: Rule, column: pa.Array, first_row: int) -> Ints:
    """Event times, int64[n] ms since the epoch, from timestamps, ISO texts or numbers since 1970.

    Raises
    ------
    ReplayError
        If a time is missing or cannot be read; names the row, counted from 1, and the column.
    """
    if column.null_count:
        place = int(pc.index(pc.is_null(column), value=True).as_py())
        raise ReplayError(_bad(rule, first_row + place, "there is no time"))
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return _from_timestamps(column)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return _from_numbers(rule, column, first_row)
    if rule.unit in TIME_UNITS or (rule.unit != "iso" and _is_number(column[0].as_py() if len(column) else "")):
        return _from_numbers(rule, _numbers(rule, column, first_row), first_row)
    return _from_timestamps(_parsed(rule, column, first_row))


def values(rule: Rule, column: pa.Array, first_row: int, *, numeric: bool) -> list[Any]:
    """The column's n values as JSON can hold them; None for null.

    ``numeric`` says that a text column of features holds numbers (see :func:`holds_numbers`).

    Raises
    ------
    ReplayError
        If a value is no number where one is needed; names the row, counted from 1, and the column.
    """
    shape = rule.target.shape
    if shape is Shape.TIME:
        return list(times_ms(rule, column, first_row).tolist())
    if shape is Shape.TEXT or rule.unit == AS_TEXT:
        return list(column.cast(pa.string()).to_pylist())
    if shape is Shape.VALUE and not numeric:
        plain = pa.types.is_boolean(column.type) or _is_numeric(column.type)
        return list((column if plain else column.cast(pa.string())).to_pylist())
    numbers = _numbers(rule, column, first_row).to_numpy(zero_copy_only=False).astype(np.float64) * rule.factor
    if shape is Shape.INTEGER:
        return [None if value != value else int(value) for value in numbers.tolist()]  # noqa: PLR0124 - NaN
    finite = np.isfinite(numbers)
    out = numbers.tolist()
    for place in np.flatnonzero(~finite):
        out[place] = None
    return list(out)


def holds_numbers(column: pa.Array) -> bool:
    """Whether all values of a text column are numbers, and there are any."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return False
    if column.null_count == len(column):
        return False
    try:
        column.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _numbers(rule: Rule, column: pa.Array, first_row: int) -> pa.Array:
    try:
        return column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        listed = column.to_pylist()
        for place, value in enumerate(listed):
            if value is not None and not _is_number(value):
                hint = (
                    "" if rule.target.shape is not Shape.VALUE else f"; --map {rule.target}={rule.column}:text keeps it"
                )
                raise ReplayError(_bad(rule, first_row + place, f"{value!r} is no number{hint}")) from error
        raise ReplayError(_bad(rule, first_row, f"the column's type {column.type} is no number")) from error


def _from_timestamps(column: pa.Array) -> Ints:
    whole = column.cast(pa.timestamp("ns", tz=getattr(column.type, "tz", None)), safe=False)
    nanoseconds: Ints = np.asarray(whole.cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)
    return nanoseconds // 1_000_000


def _from_numbers(rule: Rule, column: pa.Array, first_row: int) -> Ints:
    numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    if not np.isfinite(numbers).all():
        place = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise ReplayError(_bad(rule, first_row + place, f"{numbers[place]} is no time"))
    unit = rule.unit or _epoch_unit(rule, float(numbers[0]), first_row)
    whole: Ints = np.floor(numbers * _MS_PER[unit]).astype(np.int64)
    return whole


def _epoch_unit(rule: Rule, value: float, row: int) -> str:
    for unit, lowest in reversed(_EPOCH_FROM):
        if value >= lowest:
            return unit
    raise ReplayError(
        _bad(
            rule,
            row,
            f"{value:g} is no time since 1970 in any usual unit; say which: {rule.column}:s or {rule.column}:ms",
        )
    )


def _parsed(rule: Rule, column: pa.Array, first_row: int) -> pa.Array:
    """ISO 8601 texts as timestamps; without a zone they are UTC."""
    for kind in (pa.timestamp("ns"), pa.timestamp("ns", tz="UTC")):
        try:
            return column.cast(kind)
        except pa.ArrowInvalid:
            continue
    for place, value in enumerate(column):
        if not _parses(value):
            raise ReplayError(_bad(rule, first_row + place, f"{value.as_py()!r} is no ISO 8601 time"))
    raise ReplayError(_bad(rule, first_row, "some times have a zone and some have none"))


def _parses(value: pa.Scalar) -> bool:
    for kind in (pa.timestamp("ns"), pa.timestamp("ns", tz="UTC")):
        try:
            value.cast(kind)
        except pa.ArrowInvalid:
            continue
        return True
    return False


def _bad(rule: Rule, row: int, what: str) -> str:
    return f"row {row}, column '{rule.column}' ({rule.target}): {what}"
