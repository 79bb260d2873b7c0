"""Windows with too few events to be compared, held until together they are enough.

A series of r events a window is compared every ``min_rows`` / r windows: late, but not blind. What has enough alone
passes as it is. For detectors that keep no state of their own; the martingale needs no pool.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Final, Self
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import moments
from detectors.drift.categories import watched
from detectors.drift.reference import fingerprint
from detectors.protocol import CategoryColumns, Ints, NumericColumns, WindowBatch
from detectors.state import Columns, StateError, pack, unpack
from schemas.baselines import CELLS
from schemas.scopes import OTHER

POOLED: Final = frozenset({"psi", "wasserstein", "kolmogorov", "categories"})
"""Detectors that compare a window when it has enough events, and would be blind to it when it has not."""
KIND: Final = "pool"
VERSION: Final = 1
_MAX_NAMES: Final = 128
"""Categories of a series that are held by name."""
_BLANK: Final[dict[str, NDArray[Any]]] = {
    "cells": np.zeros(CELLS, np.uint32),
    "stats": np.array(moments.EMPTY),
    "rows": np.zeros((), np.int64),
    "reference": np.zeros((), np.uint32),
}


@dataclass(slots=True)
class _Held:
    reference: int
    rows: int = 0
    counts: dict[str, int] = field(default_factory=dict)


class WindowPool:
    """Pools the windows of one length.

    Parameters
    ----------
    min_rows
        Values, or category counts, that are enough.

    Notes
    -----
    188 bytes per numeric series up to the highest that ever had too little, and what categories take by name. What is
    held of a series ends with its baseline.
    """

    def __init__(self, min_rows: int) -> None:
        self.min_rows = min_rows
        self._numeric = Columns(_BLANK)
        self._held: dict[int, _Held] = {}

    def pool(self, windows: WindowBatch) -> WindowBatch:
        """The window, with what is held in place of what is too little, where that is enough now."""
        numeric, categories = self._pool_numeric(windows.numeric), self._pool_categories(windows.categories)
        return replace(windows, numeric=numeric, categories=categories)

    def forget(self, series: Ints) -> None:
        """Drop what is held of ``series``."""
        self._numeric.forget(series)
        for one in series.tolist():
            self._held.pop(one, None)

    def _pool_numeric(self, numeric: NumericColumns) -> NumericColumns:
        few = numeric.has_edges & (numeric.count > 0) & (numeric.count < self.min_rows)
        self._let_go(numeric.series[numeric.has_edges & (numeric.count >= self.min_rows)])
        places = np.flatnonzero(few)
        if not len(places):
            return numeric
        series = numeric.series[places]
        self._numeric.reserve(series)
        reference = fingerprint(numeric, places, numeric.ref[places].sum(axis=1))
        self._numeric.forget(series[self._numeric["reference"][series] != reference])
        now = np.stack((numeric.count, numeric.mean, numeric.m2, numeric.min, numeric.max), axis=1, dtype=np.float64)
        cells = self._numeric["cells"][series].astype(np.int64) + numeric.cur[places]
        stats = moments.merge(self._numeric["stats"][series], now[places])
        rows = self._numeric["rows"][series] + numeric.rows[places]
        for name, column in (("cells", cells), ("stats", stats), ("rows", rows), ("reference", reference)):
            self._numeric[name][series] = column
        full = stats[:, moments.COUNT] >= self.min_rows
        self._numeric.forget(series[full])
        return _with_numeric(numeric, places[full], cells[full], stats[full], rows[full])

    def _let_go(self, series: Ints) -> None:
        reference = self._numeric["reference"]
        known = series[series < len(reference)]
        self._numeric.forget(known[reference[known] != 0])

    def _pool_categories(self, categories: CategoryColumns) -> CategoryColumns:
        places = watched(categories)
        total = categories.cur[places].sum(axis=1)
        pooled: dict[int, _Held] = {}
        for place, count in zip(places.tolist(), total.tolist(), strict=True):
            series = int(categories.series[place])
            if count >= self.min_rows or not categories.has_baseline[place]:
                self._held.pop(series, None)
            elif count:
                held = self._hold(categories, place, series)
                if sum(held.counts.values()) >= self.min_rows:
                    pooled[place] = self._held.pop(series)
        return _with_categories(categories, pooled) if pooled else categories

    def _hold(self, categories: CategoryColumns, place: int, series: int) -> _Held:
        reference = crc32(np.ascontiguousarray(categories.ref[place][categories.ref[place] > 0]).tobytes())
        held = self._held.get(series)
        if held is None or held.reference != reference:
            held = self._held[series] = _Held(reference)
        held.rows += int(categories.rows[place])
        counts = held.counts
        for value, count in zip(categories.values[place], categories.cur[place].tolist(), strict=False):
            if count:
                name = value if value in counts or len(counts) < _MAX_NAMES else OTHER
                counts[name] = counts.get(name, 0) + count
        return held

    def to_bytes(self) -> bytes:
        """All that is held."""
        texts = msgspec.msgpack.encode([(s, h.reference, h.rows, h.counts) for s, h in self._held.items()])
        parts = {"numeric": self._numeric.to_bytes(KIND, VERSION), "texts": texts}
        return pack(KIND, VERSION, {name: np.frombuffer(raw, np.uint8) for name, raw in parts.items()})

    @classmethod
    def from_bytes(cls, raw: bytes, min_rows: int) -> Self:
        """What :meth:`to_bytes` saved; raises StateError if it is not that."""
        arrays = unpack(raw, KIND, VERSION)
        pool = cls(min_rows)
        pool._numeric = Columns.from_bytes(arrays["numeric"].tobytes(), KIND, VERSION, _BLANK)
        try:
            held = msgspec.msgpack.decode(arrays["texts"].tobytes(), type=list[tuple[int, int, int, dict[str, int]]])
        except msgspec.MsgspecError as error:
            raise StateError(f"pooled categories cannot be read ({error}): start without them") from error
        pool._held = {series: _Held(reference, rows, counts) for series, reference, rows, counts in held}
        return pool


def _with_numeric(
    numeric: NumericColumns, at: Ints, cells: Ints, stats: NDArray[np.float64], rows: Ints
) -> NumericColumns:
    if not len(at):
        return numeric
    columns = {
        "cur": cells,
        "rows": rows,
        "count": stats[:, moments.COUNT],
        "mean": stats[:, moments.MEAN],
        "m2": stats[:, moments.M2],
        "min": stats[:, moments.MIN],
        "max": stats[:, moments.MAX],
    }
    changed = {}
    for name, values in columns.items():
        changed[name] = getattr(numeric, name).copy()
        changed[name][at] = values
    return replace(numeric, **changed)


def _with_categories(categories: CategoryColumns, pooled: dict[int, _Held]) -> CategoryColumns:
    values, rows = list(categories.values), categories.rows.copy()
    for place, held in pooled.items():
        here = values[place]
        extra = sorted(held.counts.keys() - set(here))
        values[place] = (*here, *extra)
        rows[place] = held.rows
    width = max(len(names) for names in values)
    cur, ref = (np.zeros((len(values), width), np.int64) for _ in range(2))
    old = categories.cur.shape[1]
    cur[:, :old], ref[:, :old] = categories.cur, categories.ref
    for place, held in pooled.items():
        cur[place, : len(values[place])] = [held.counts.get(name, 0) for name in values[place]]
    return replace(categories, values=values, rows=rows, cur=cur, ref=ref)
