"""Single Arrow columns into numpy: numbers, texts, lists. Nothing here loops over events."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.codecs import hashes
from schemas.codecs.arrow_read import ColumnError
from schemas.codecs.arrow_views import index_array, is_null, view
from schemas.codecs.hashes import Hashes
from schemas.codecs.texts import as_text
from schemas.columns import Codes, Floats, Ints

_is = pa.types


def is_number(kind: pa.DataType) -> bool:
    """Whether values of the type can be read as floats."""
    return bool(_is.is_integer(kind) or _is.is_floating(kind) or _is.is_decimal(kind))


def is_plain(kind: pa.DataType) -> bool:
    """Whether values of the type are numbers, booleans or nothing at all."""
    return bool(is_number(kind) or _is.is_boolean(kind) or _is.is_null(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether values of the type are texts."""
    if _is.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(_is.is_string(kind) or _is.is_large_string(kind) or _is.is_string_view(kind))


def numbers(column: pa.Array, name: str) -> Floats:
    """float64[n], NaN for null; read-only where nothing had to be converted. Infinities are still in it."""
    kind = column.type
    if _is.is_null(kind):
        return np.full(len(column), np.nan)
    if _is.is_timestamp(kind) and name.endswith("ts_ms"):
        column = column.cast(pa.timestamp("ms", kind.tz), safe=False).cast(pa.int64())
    elif not is_number(kind):
        raise ColumnError(f"column `{name}` is {kind}, expected a number")
    if column.type != pa.float64():
        column = pc.cast(column, pa.float64(), safe=False)
    values: Floats = view(column.fill_null(np.nan) if column.null_count else column)
    return values


def whole(column: pa.Array, name: str) -> tuple[Ints, NDArray[np.bool_]]:
    """int64[n], 0 where null, and where it is null. Unsigned numbers above 2^63 come out negative."""
    kind = column.type
    if _is.is_timestamp(kind):
        column = column.cast(pa.timestamp("ms", kind.tz), safe=False)
    elif not (_is.is_integer(kind) or _is.is_null(kind)):
        raise ColumnError(f"column `{name}` is {kind}, expected whole numbers")
    values = pc.cast(column, pa.int64(), safe=False)
    if values.null_count:
        values = values.fill_null(0)
    return view(values), is_null(column)


def coded(column: pa.Array, name: str) -> tuple[Codes, list[str | None]]:
    """int32[n] places in a list of texts, ``None`` among them where events have null; the list may hold unused ones."""
    kind = column.type
    if _is.is_null(kind):
        return np.zeros(len(column), np.int32), [None]
    if _is.is_boolean(kind):
        column = column.cast(pa.string())
    elif is_number(kind):
        codes, distinct = _encoded(column)
        return codes, [None if value is None else as_text(float(value)) for value in distinct]
    elif not is_text(kind):
        raise ColumnError(f"column `{name}` is {kind}, expected text")
    return _encoded(column)


def _encoded(column: pa.Array) -> tuple[Codes, list[Any]]:
    if _is.is_string_view(column.type):
        column = column.cast(pa.string())
    encoded = column if _is.is_dictionary(column.type) else column.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    indices = encoded.indices
    if not indices.null_count:
        return view(indices).astype(np.int32, copy=False), values
    codes = view(indices.cast(pa.int64()).fill_null(len(values)))
    return codes.astype(np.int32), [*values, None]


@dataclass(frozen=True, slots=True)
class Lists:
    """A list or map column: entries ``start[i]`` to ``start[i] + length[i]`` of its children belong to event i."""

    start: Ints
    length: Ints


def lists(column: pa.Array) -> Lists:
    """Where each event's entries are; null is empty."""
    offsets = view(column.offsets).astype(np.int64, copy=False)
    length = np.diff(offsets)
    if column.null_count:
        length = np.where(is_null(column), 0, length)
    return Lists(offsets[:-1], length)


@dataclass(frozen=True, slots=True, eq=False)
class ArrowTexts(Sequence[str]):
    """An Arrow column of texts, ``""`` for null, cut to ``max_chars``; a Python object only for whoever looks."""

    column: pa.Array
    max_chars: int

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> "ArrowTexts": ...
    def __getitem__(self, at: int | slice) -> "str | ArrowTexts":
        if isinstance(at, slice):
            return ArrowTexts(self.column[at], self.max_chars)
        return (self.column[int(at)].as_py() or "")[: self.max_chars]

    def hashes(self) -> Hashes:
        """uint64[n]: the hash of each text, from Arrow's own bytes."""
        column = self.column
        if isinstance(column, pa.ChunkedArray):  # the work of a piece is paid by the call
            column = column.combine_chunks()
        pieces = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        return np.concatenate([_hashes(piece) for piece in pieces if len(piece)] or [np.empty(0, np.uint64)])

    def take(self, places: Ints) -> list[str]:
        """The texts at int64[n] places, at a tenth of the cost of reading them one by one."""
        column = self.column.take(index_array(places))
        texts: list[str] = (column.fill_null("") if column.null_count else column).to_pylist()
        long = max(map(len, texts), default=0) > self.max_chars
        return [text[: self.max_chars] for text in texts] if long else texts


def _hashes(column: pa.Array) -> Hashes:
    if _is.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is.is_string_view(column.type):
        column = column.cast(pa.string())
    _, ends, data = column.buffers()
    wide = np.int64 if _is.is_large_string(column.type) else np.int32
    offsets = np.frombuffer(ends, wide)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    texts = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    found = hashes.of_bytes(texts, offsets[:-1], offsets[1:])
    return np.where(is_null(column), np.uint64(hashes.NONE), found) if column.null_count else found


class NoTexts(Sequence[str]):
    """``count`` empty texts."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def hashes(self) -> Hashes:
        """uint64[n]: that of no text."""
        return np.full(self._count, hashes.NONE, np.uint64)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> "NoTexts": ...
    def __getitem__(self, at: int | slice) -> "str | NoTexts":
        places = range(self._count)[at]
        return NoTexts(len(places)) if isinstance(places, range) else ""
