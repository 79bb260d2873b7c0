"""State of banks that look at few of many series: columns that grow with those alone, not with the highest id."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from detectors import state
from detectors.protocol import Ints
from detectors.state import Columns


class SparseColumns:
    """One column per field, one row per series that was ever asked for.

    Parameters
    ----------
    blank
        As :class:`~detectors.state.Columns` takes it.

    Notes
    -----
    Memory is proportional to the series in use; their ids may be anything. A dictionary look-up per series and step.
    """

    def __init__(self, blank: Mapping[str, NDArray[Any]]) -> None:
        self._columns = Columns(blank)
        self._place: dict[int, int] = {}
        self._free: list[int] = []

    def __getitem__(self, field: str) -> NDArray[Any]:
        """The column of ``field``, writable, by the places that :meth:`places` gives."""
        return self._columns[field]

    def places(self, series: Ints) -> Ints:
        """Where the rows of distinct ``series`` int64[k] are; what is new is blank."""
        for number in series.tolist():
            if number not in self._place:
                self._place[number] = self._free.pop() if self._free else len(self._place)
        self._columns.reserve(np.array([len(self._place) + len(self._free) - 1], np.int64))
        return np.fromiter(map(self._place.__getitem__, series.tolist()), np.int64, len(series))

    def blank(self, places: Ints) -> None:
        """Start the rows at ``places`` over."""
        self._columns.forget(places)

    def forget(self, series: Ints) -> None:
        """Drop the rows of ``series``."""
        places = [self._place.pop(number) for number in series.tolist() if number in self._place]
        self._columns.forget(np.array(places, np.int64))
        self._free += places

    def to_bytes(self, kind: str, version: int) -> bytes:
        """All rows by ascending series, so that the same state is the same bytes."""
        series = np.array(sorted(self._place), np.int64)
        places = np.array([self._place[number] for number in series.tolist()], np.int64)
        arrays = {name: column[places] for name, column in self._columns.items()}
        return state.pack(kind, version, {**arrays, state.SERIES: series})

    @classmethod
    def from_bytes(cls, raw: bytes, kind: str, version: int, blank: Mapping[str, NDArray[Any]]) -> Self:
        """What :meth:`to_bytes` saved; raises StateError if it is of another kind, version or shape."""
        series, arrays = state.unpack_rows(raw, kind, version, blank)
        result = cls(blank)
        places = result.places(series)
        for name, array in arrays.items():
            result[name][places] = array
        return result
