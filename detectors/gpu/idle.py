"""GPUs that hold memory for hours and do nothing: nobody is hurt, somebody pays."""

from typing import Any, ClassVar, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import scoring, state
from detectors.gpu.gauges import beside, places_of
from detectors.parameters import check_bounds
from detectors.protocol import Ints, Scores, WindowBatch
from detectors.sparse import SparseColumns
from detectors.sustained import SustainedMinimum

_GIB: Final = 2.0**30
_BLANK: Final[dict[str, NDArray[Any]]] = {
    "since_ms": np.zeros((), np.int64),
    "wasted_h": np.zeros(()),
}


class IdleParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Busy for less than ``limit_ratio`` of every window of ``sustained_s``, with ``min_held_bytes`` held throughout.

    ``price_usd_per_h`` is what an hour of a GPU costs; 0 leaves money out of the sentence.
    """

    window_s: int = 300
    limit_ratio: float = 0.05
    min_held_bytes: float = _GIB
    sustained_s: int = 7_200
    price_usd_per_h: float = 0.0

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 3_600), limit_ratio=(0, 1), min_held_bytes=(0, 1e15))
        check_bounds(self, sustained_s=(1, 7 * 86_400), price_usd_per_h=(0, 1e6))

    @property
    def windows(self) -> int:
        """How many windows in a row must be idle."""
        return max(1, -(-self.sustained_s // self.window_s))


class GpuIdle:
    """The least part of a window that a GPU was idle, over the last hours: over the limit only if all windows were.

    Utilisation is the share of time in which a kernel was resident. Windows of five minutes let a health check pass,
    or anything else below 15 seconds of them. A window in which less than ``min_held_bytes`` was held for a moment is
    no waste: the GPU could have been had.

    Parameters
    ----------
    params
        See :class:`IdleParams`.

    Notes
    -----
    O(G) for G GPUs; 8 bytes of state per series and window, and 16 per GPU. Not ready without utilisation (MIG) or
    memory. The value is the last window's utilisation; hours wasted are those of the idle windows in a row, times
    their idle part.
    """

    kind: ClassVar[str] = "gpu_idle"
    state_version: ClassVar[int] = 1

    def __init__(self, params: IdleParams | None = None) -> None:
        self.params = params or IdleParams()
        self.window_s = self.params.window_s
        self._sustained = SustainedMinimum(self.params.windows)
        self._run = SparseColumns(_BLANK)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every GPU whose utilisation and memory are known."""
        numeric, params = windows.numeric, self.params
        places = places_of(numeric, "utilization_ratio")
        held = beside(numeric, places, "memory_used_bytes", numeric.min)
        busy = numeric.mean[places]
        usable = (numeric.count[places] > 0) & ~np.isnan(busy) & ~np.isnan(held)
        places, busy, held = places[usable], busy[usable], held[usable]
        series = numeric.series[places]
        idle = np.where(held >= params.min_held_bytes, np.clip(1 - busy, 0, 1), 0.0)
        rows = self._run.places(series)
        goes_on = idle >= 1 - params.limit_ratio
        self._run.blank(rows[~goes_on])
        begins = goes_on & (self._run["wasted_h"][rows] == 0)
        self._run["since_ms"][rows[begins]] = windows.start_ms
        self._run["wasted_h"][rows] += np.where(goes_on, idle * windows.size_ms / 3_600_000, 0)
        wasted_h = self._run["wasted_h"][rows]
        measured = scoring.Measured(
            score=self._sustained.push(series, idle),
            floor=1 - params.limit_ratio,
            value=busy,
            reference=numeric.ref_mean[places],
            threshold=params.limit_ratio,
            since_ms=self._run["since_ms"][rows],
            note=lambda row: self._say(float(wasted_h[row]), float(held[row])),
        )
        ready = np.ones(len(places), np.bool_)
        return scoring.scores(self.kind, "of time", scoring.numeric_subject(numeric, places), ready, measured)

    def _say(self, wasted_h: float, held_bytes: float) -> str:
        price = self.params.price_usd_per_h
        cost = f", {wasted_h * price:,.2f} USD" if price else ""
        return f"{wasted_h:.1f} GPU-hours wasted so far{cost}, {held_bytes / _GIB:.1f} GiB held"

    def forget(self, series: Ints) -> None:
        """Drop the windows of ``series``."""
        self._sustained.forget(series)
        self._run.forget(series)

    def to_bytes(self) -> bytes:
        """The last windows of every GPU, and how long it has been idle."""
        kind, version = self.kind, self.state_version
        return state.join(kind, version, [part.to_bytes(kind, version) for part in (self._sustained, self._run)])

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector, version = cls(msgspec.convert(params, IdleParams)), cls.state_version
        sustained, run = state.split(raw, cls.kind, version, 2)
        detector._sustained = SustainedMinimum.from_bytes(sustained, cls.kind, version, detector.params.windows)
        detector._run = SparseColumns.from_bytes(run, cls.kind, version, _BLANK)
        return detector
