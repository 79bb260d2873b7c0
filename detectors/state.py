"""State of banks: columns indexed by series id, that grow with the ids and travel as plain bytes."""

from collections.abc import ItemsView, Mapping, Sequence
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
SERIES = "#series"
"""The field of saved rows that says whose they are."""


class StateError(ValueError):
    """Saved state that this version cannot continue from."""


class _Saved(msgspec.Struct, frozen=True, array_like=True):
    kind: str
    version: int
    arrays: dict[str, tuple[str, tuple[int, ...], bytes]]


def pack(kind: str, version: int, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Named arrays of numbers as msgpack, with whose they are and in which version."""
    packed = {
        name: (array.dtype.newbyteorder("<").str, array.shape, np.ascontiguousarray(array).tobytes())
        for name, array in arrays.items()
    }
    return msgspec.msgpack.encode(_Saved(kind, version, packed))


def unpack(raw: bytes, kind: str, version: int) -> dict[str, NDArray[Any]]:
    """The arrays of :func:`pack`, writable.

    Raises
    ------
    StateError
        If the bytes are not state of ``kind`` in ``version``: start without it, the detector warms up again.
    """
    try:
        saved = msgspec.msgpack.decode(raw, type=_Saved)
        if (saved.kind, saved.version) != (kind, version):
            raise StateError(f"state of {saved.kind} v{saved.version}, this is {kind} v{version}: start without it")
        return {
            name: np.frombuffer(data, _number(dtype)).reshape(shape).copy()
            for name, (dtype, shape, data) in saved.arrays.items()
        }
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        if isinstance(error, StateError):
            raise
        raise StateError(f"state of {kind} cannot be read ({error}): start without it") from error


def join(kind: str, version: int, parts: Sequence[bytes]) -> bytes:
    """Several states as one, for detectors that keep more than one thing."""
    return pack(kind, version, {str(i): np.frombuffer(part, np.uint8) for i, part in enumerate(parts)})


def split(raw: bytes, kind: str, version: int, count: int) -> list[bytes]:
    """The states of :func:`join`, in their order; raises StateError unless they are ``count``."""
    parts = unpack(raw, kind, version)
    if len(parts) != count:
        raise StateError(f"state of {kind} in {len(parts)} parts instead of {count}: start without it")
    return [array.tobytes() for array in parts.values()]


def unpack_rows(
    raw: bytes, kind: str, version: int, blank: Mapping[str, NDArray[Any]]
) -> tuple[Ints, dict[str, NDArray[Any]]]:
    """The rows of :func:`pack` that lie under :data:`SERIES`, and whose they are.

    Raises
    ------
    StateError
        If they are of another kind, version or shape.
    """
    arrays = unpack(raw, kind, version)
    series = arrays.pop(SERIES, None)
    shapes = {name: (array.dtype, array.shape[1:]) for name, array in arrays.items()}
    if series is None or shapes != {name: (row.dtype, row.shape) for name, row in blank.items()}:
        raise StateError(f"state of {kind} with other columns or widths: start without it")
    return series, arrays


def _number(text: str) -> np.dtype[Any]:
    dtype = np.dtype(text)
    if dtype.kind not in "biuf":
        raise TypeError(f"arrays of {text} are no state")
    return dtype


class Columns:
    """One column per field, one row per series id.

    Parameters
    ----------
    blank
        Field → the row of a series that was never seen: a 0-d array for a number, 1-d for a few of them.

    Notes
    -----
    Memory is proportional to the highest id ever reserved: ids are small and reused.
    """

    def __init__(self, blank: Mapping[str, NDArray[Any]]) -> None:
        self._blank = dict(blank)
        self._columns = {name: np.empty((0, *row.shape), row.dtype) for name, row in blank.items()}
        self._size = 0

    def __getitem__(self, field: str) -> NDArray[Any]:
        """The column of ``field``, writable; rows may be beyond the ids in use."""
        return self._columns[field]

    def items(self) -> ItemsView[str, NDArray[Any]]:
        """Fields and their columns."""
        return self._columns.items()

    def reserve(self, series: Ints) -> None:
        """Make room for ``series``; what is new is blank."""
        size = int(series.max()) + 1 if len(series) else 0
        if size <= self._size:
            return
        size = max(size, self._size * 3 // 2)
        for name, column in self._columns.items():
            grown = np.empty((size, *column.shape[1:]), column.dtype)
            grown[: self._size], grown[self._size :] = column, self._blank[name]
            self._columns[name] = grown
        self._size = size

    def forget(self, series: Ints) -> None:
        """Blank the rows of ``series``."""
        known = series[series < self._size]
        for name, column in self._columns.items():
            column[known] = self._blank[name]

    def to_bytes(self, kind: str, version: int) -> bytes:
        """The rows that are not blank, and whose they are: most series of a quiet day cost nothing."""
        used = np.zeros(self._size, np.bool_)
        for name, column in self._columns.items():
            blank = self._blank[name]
            differs = column != blank
            if column.dtype.kind == "f":
                differs &= ~(np.isnan(column) & np.isnan(blank))
            used |= differs.reshape(self._size, differs[:1].size).any(axis=1)
        series = np.flatnonzero(used)
        return pack(kind, version, {SERIES: series, **{name: c[series] for name, c in self._columns.items()}})

    @classmethod
    def from_bytes(cls, raw: bytes, kind: str, version: int, blank: Mapping[str, NDArray[Any]]) -> Self:
        """The columns saved by :meth:`to_bytes`.

        Raises
        ------
        StateError
            If they are of another kind, version or shape.
        """
        series, arrays = unpack_rows(raw, kind, version, blank)
        state = cls(blank)
        state.reserve(series)
        for name, array in arrays.items():
            state[name][series] = array
        return state
