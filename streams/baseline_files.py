"""Baselines from tables: training data in a Parquet or CSV file, or a span of what ClickHouse has stored."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from detectors import baseline as building
from detectors.baseline import COUNTERS
from schemas.baselines import Baseline, decode, encode
from schemas.scopes import Scope
from streams.binnings import FEATURE_PREFIX
from streams.errors import ConfigError

FIELDS: Final = frozenset({"score", "latency_ms", "cost_usd", *COUNTERS})
"""Columns that are fields of the event; every other column is a feature."""


def read_table(path: Path, columns: Sequence[str] = ()) -> dict[str, Any]:
    """The columns of a Parquet or CSV file, by the quantities they stand for.

    Parameters
    ----------
    path
        ``.parquet``, ``.csv`` or ``.csv.gz``.
    columns
        The columns that are wanted; all when empty.

    Raises
    ------
    ConfigError
        If the file cannot be read, or a column is not in it.
    """
    try:
        read = pyarrow.parquet.read_table if path.suffix == ".parquet" else pyarrow.csv.read_csv
        table = read(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"The table cannot be read: {error}", str(path), "Give a Parquet or CSV file.") from error
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise ConfigError(
            f"It has no column {', '.join(missing)}.", str(path), f"Its columns are {', '.join(table.column_names)}."
        )
    chosen = list(columns) or table.column_names
    return {quantity_of(name): _plain(table.column(name)) for name in chosen}


def quantity_of(column: str) -> str:
    """What a column stands for: a field of the event under its own name, else a feature."""
    return column if column in FIELDS or column.startswith(FEATURE_PREFIX) else FEATURE_PREFIX + column


def _plain(column: pa.ChunkedArray) -> Any:  # noqa: ANN401 - an array of numbers, or a list of anything else
    if pa.types.is_boolean(column.type) or not (
        pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)
    ):
        if pa.types.is_temporal(column.type):
            return column.cast(pa.timestamp("ms")).cast(pa.int64()).to_numpy().astype(np.float64)
        return column.to_pylist()
    return column.cast(pa.float64()).to_numpy()


def from_file(path: Path, scope: Scope, effective_from_ms: int, columns: Sequence[str] = ()) -> Baseline:
    """The baseline of a table, one row per event.

    Raises
    ------
    ConfigError
        If the file cannot be read, or there is nothing in it to compare with.
    """
    table = read_table(path, columns)
    try:
        return building.from_table(scope, table, built_from=path.name, effective_from_ms=effective_from_ms)
    except ValueError as error:
        raise ConfigError(f"No baseline can be made of it: {error}.", str(path), "Give a table with rows.") from error


def save(baseline: Baseline, path: Path) -> None:
    """Write a baseline to a file, as the topic holds it."""
    path.write_bytes(encode(baseline))


def load(path: Path) -> Baseline:
    """Read a baseline that :func:`save` wrote.

    Raises
    ------
    ConfigError
        If the file is not a baseline.
    """
    try:
        return decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"It is not a baseline: {error}", str(path), "Make one with 'halcyon baseline build --out FILE'."
        ) from error
