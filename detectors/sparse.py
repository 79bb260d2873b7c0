"""State of banks that look at few of many series: columns that grow with those alone, not with the highest id."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from detectors import state
from detectors.protocol import Bools, Ints
from detectors.state import Columns


class SparseColumns:
    """One column per field, one row per series that was ever asked for.

    Parameters
    ----------
    blank
        As :class:`~detectors.state.Columns` takes it.
    derived
        More columns, of what follows from the others: they are not saved.

    Notes
    -----
    Memory is proportional to the series in use, 16 bytes each beside their rows; their ids may be anything. A search
    among them per series and step.
    """

    def __init__(
        self, blank: Mapping[str, NDArray[Any]], derived: Mapping[str, NDArray[Any]] = MappingProxyType({})
    ) -> None:
        self._saved = tuple(blank)
        self._columns = Columns({**blank, **derived})
        self._series = np.empty(0, np.int64)  # ascending
        self._place = np.empty(0, np.int64)
        self._free: list[int] = []

    def __getitem__(self, field: str) -> NDArray[Any]:
        """The column of ``field``, writable, by the places that :meth:`places` gives."""
        return self._columns[field]

    def places(self, series: Ints) -> Ints:
        """Where the rows of distinct ``series`` int64[k] are; what is new is blank."""
        at, known = self._find(series)
        if not known.all():
            self._add(np.unique(series[~known]))
            at = np.searchsorted(self._series, series)
        return self._place[at]

    def blank(self, places: Ints) -> None:
        """Start the rows at ``places`` over."""
        self._columns.forget(places)

    def forget(self, series: Ints) -> None:
        """Drop the rows of ``series``."""
        at, known = self._find(series)
        gone = np.unique(at[known])
        self._columns.forget(self._place[gone])
        self._free += self._place[gone].tolist()
        self._series, self._place = np.delete(self._series, gone), np.delete(self._place, gone)

    def _find(self, series: Ints) -> tuple[Ints, Bools]:
        """Where each of ``series`` stands among those in use, or would, and whether it does."""
        at = np.searchsorted(self._series, series)
        known = at < len(self._series)
        known[known] = self._series[at[known]] == series[known]
        return at, known

    def _add(self, series: Ints) -> None:
        most = len(self._place) + len(self._free)
        again = [self._free.pop() for _ in range(min(len(series), len(self._free)))]
        places = np.array([*again, *range(most, most + len(series) - len(again))], np.int64)
        self._columns.reserve(places)
        at = np.searchsorted(self._series, series)
        self._series, self._place = np.insert(self._series, at, series), np.insert(self._place, at, places)

    def to_bytes(self, kind: str, version: int) -> bytes:
        """All rows by ascending series, so that the same state is the same bytes."""
        arrays = {name: self._columns[name][self._place] for name in self._saved}
        return state.pack(kind, version, {**arrays, state.SERIES: self._series})

    @classmethod
    def from_bytes(
        cls, raw: bytes, kind: str, version: int, blank: Mapping[str, NDArray[Any]],
        derived: Mapping[str, NDArray[Any]] = MappingProxyType({}),
    ) -> Self:  # fmt: skip
        """What :meth:`to_bytes` saved; raises StateError if it is of another kind, version or shape."""
        series, arrays = state.unpack_rows(raw, kind, version, blank)
        result = cls(blank, derived)
        places = result.places(series)
        for name, array in arrays.items():
            result[name][places] = array
        return result
