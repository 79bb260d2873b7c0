"""A CSV or Parquet file as batches of the columns that are asked for, in bounded memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from loadgen.replay.convert import times_ms
from loadgen.replay.errors import ReplayError
from loadgen.replay.mapping import Rule

BATCH_ROWS: Final = 8192
_BLOCK_BYTES: Final = 1 << 20
_NULLS: Final = ["", "null", "NULL", "None", "nan", "NaN", "NA", "N/A"]
_CSV: Final = (".csv", ".csv.gz", ".csv.bz2", ".csv.zst")
_PARQUET: Final = (".parquet", ".pq")


@dataclass(frozen=True, slots=True)
class Source:
    """A file and its columns. CSV columns are read as text: what they mean is the mapping's to say."""

    path: Path
    columns: tuple[str, ...]
    parquet: bool

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The named columns, at most ``BATCH_ROWS`` rows at a time.

        Raises
        ------
        ReplayError
            If a row has another number of fields than the header, or the file is damaged.
        """
        wanted = list(dict.fromkeys(names))
        try:
            for batch in self._parquet(wanted) if self.parquet else self._csv(wanted):
                for offset in range(0, batch.num_rows, BATCH_ROWS):
                    yield batch.slice(offset, BATCH_ROWS)
        except (pa.ArrowInvalid, OSError) as error:
            raise ReplayError(f"{self.path}: {error}") from error

    def _parquet(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=names):
                columns = [_plain(column) for column in batch.columns]
                yield pa.record_batch(columns, names=batch.schema.names)

    def _csv(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        convert = pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=names,
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=_NULLS,
        )
        read = pacsv.ReadOptions(block_size=_BLOCK_BYTES)
        with pacsv.open_csv(self.path, read_options=read, convert_options=convert) as reader:
            yield from reader


@dataclass(frozen=True, slots=True)
class Scan:
    """What a first pass over the times of a file tells.

    ``disorder_ms`` is how far, at worst, an event lies before one of an earlier row, and ``disorder_row`` which event.
    """

    rows: int
    first_ms: int
    last_ms: int
    disorder_ms: int
    disorder_row: int


def open_source(path: Path) -> Source:
    """Look at a file's kind and columns.

    Raises
    ------
    ReplayError
        If it is missing, is neither CSV nor Parquet, or has no header.
    """
    if not path.is_file():
        raise ReplayError(f"{path}: there is no such file")
    name = path.name.lower()
    if name.endswith(_PARQUET):
        try:
            return Source(path, tuple(pq.read_schema(path).names), parquet=True)
        except (pa.ArrowInvalid, OSError) as error:
            raise ReplayError(f"{path}: this is no Parquet file: {error}") from error
    if name.endswith(_CSV):
        try:
            with pacsv.open_csv(path, read_options=pacsv.ReadOptions(block_size=_BLOCK_BYTES)) as reader:
                return Source(path, tuple(reader.schema.names), parquet=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise ReplayError(f"{path}: this cannot be read as CSV with a header: {error}") from error
    raise ReplayError(f"{path}: name it {', '.join(_CSV + _PARQUET)}, by what it is")


def scan(source: Source, rule: Rule, limit: int | None = None) -> Scan:
    """Read the event times alone.

    Raises
    ------
    ReplayError
        If a time cannot be read, or there is no row.
    """
    rows, newest, oldest = 0, None, None
    disorder_ms, disorder_row = 0, 0
    for batch in source.batches([rule.column]):
        kept = batch if limit is None else batch.slice(0, limit - rows)
        if not kept.num_rows:
            break
        ts_ms = times_ms(rule, kept.column(0), rows + 1)
        reached = np.maximum.accumulate(ts_ms if newest is None else np.maximum(ts_ms, newest))
        behind = reached - ts_ms
        if (worst := int(behind.max())) > disorder_ms:
            disorder_ms, disorder_row = worst, rows + int(behind.argmax()) + 1
        newest = int(reached[-1])
        lowest = int(ts_ms.min())
        oldest = lowest if oldest is None else min(oldest, lowest)
        rows += kept.num_rows
    if newest is None or oldest is None:
        raise ReplayError(f"{source.path}: there is no row in it")
    return Scan(rows, oldest, newest, disorder_ms, disorder_row)


def sorted_batches(source: Source, names: Sequence[str], rule: Rule, limit: int | None) -> Iterator[pa.RecordBatch]:
    """The file's batches by event time. Holds the named columns of the whole file in memory."""
    table = pa.Table.from_batches(list(source.batches(names)))
    table = table if limit is None else table.slice(0, limit)
    column = table.column(rule.column).combine_chunks()
    order = np.argsort(times_ms(rule, column, 1), kind="stable")
    for offset in range(0, len(order), BATCH_ROWS):
        yield table.take(pa.array(order[offset : offset + BATCH_ROWS])).combine_chunks().to_batches()[0]


def _plain(column: pa.Array) -> pa.Array:
    """A dictionary's values in place of its codes; decimals as floats."""
    if pa.types.is_dictionary(column.type):
        return pc.cast(column, column.type.value_type)
    return column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column
