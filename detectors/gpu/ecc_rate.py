r"""Memory errors that were corrected: harmless one by one, a sign of wear when they come faster than they did."""

from typing import Any, ClassVar, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import scoring, special, state
from detectors.gpu.ecc import Totals
from detectors.gpu.gauges import places_of
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Ints, Scores, WindowBatch
from detectors.sparse import SparseColumns

_BINS: Final = 12
_BIN_MS: Final = 300_000
_BINS_PER_H: Final = 3_600_000 / _BIN_MS
_BLANK: Final[dict[str, NDArray[Any]]] = {
    "recent": np.zeros(_BINS, np.int32),
    "newest": np.full((), -1, np.int64),
    "first": np.full((), -1, np.int64),
    "errors": np.zeros(()),
    "hours": np.zeros(()),
}


class EccRateParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Below ``floor_per_h``, one a minute, nobody cares however rare they were.

    ``burst_max`` errors of a window count at most: one bad cell that is read in a loop is no wear. The past fades with
    a half-life of ``half_life_h`` and must be ``min_history_h`` long.
    """

    window_s: int = 60
    floor_per_h: float = 60.0
    burst_max: int = 10
    half_life_h: float = 24.0
    min_history_h: float = 1.0
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 300), floor_per_h=(1e-3, 1e9), burst_max=(1, 10**6))
        check_bounds(self, half_life_h=(0.1, 1e5), min_history_h=(0.1, 1e4), false_alarm_ratio=(1e-12, 0.1))


class CorrectedEcc:
    r"""Corrected memory errors of the last hour against the rate of the hours before.

    Errors of a window beyond b = ``burst_max`` are left out. What is counted is then compound Poisson with jumps of at
    most b, whose variance is at most b times its mean. With E errors in H hours before the last, its count is noise up
    to Anscombe's bound of $(E + ½)/H$, widened by $\sqrt{b\,(1 + 1/H)}$ for the jumps and for so short a past.

    Parameters
    ----------
    params
        See :class:`EccRateParams`.

    Notes
    -----
    O(G); 88 bytes of state per GPU. The last hour is the bin of five minutes that the window lies in and the eleven
    before; it is learned when it is over, whatever was in it: a new rate is usual after a day or so.

    References
    ----------
    .. [1] J. Przyborowski, H. Wilenski, "Homogeneity of results in testing samples from Poisson series", 1940.
    """

    kind: ClassVar[str] = "gpu_ecc_rate"
    state_version: ClassVar[int] = 1

    def __init__(self, params: EccRateParams | None = None) -> None:
        self.params = params or EccRateParams()
        self.window_s = self.params.window_s
        self._z = special.z_of(self.params.false_alarm_ratio)
        self._keep = 0.5 ** (1 / (self.params.half_life_h * _BINS_PER_H))
        self._totals = Totals()
        self._state = SparseColumns(_BLANK)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every counter of corrected errors that has a reading, then learn what is over an hour old."""
        numeric, params = windows.numeric, self.params
        places = places_of(numeric, "ecc_corrected_total")
        places = places[numeric.count[places] > 0]
        series = numeric.series[places]
        grown, _ = self._totals.grown(series, numeric.min[places], numeric.max[places])
        rows = self._state.places(series)
        self._turn(rows, windows.start_ms // _BIN_MS)
        self._state["recent"][rows, 0] += np.minimum(grown, params.burst_max).astype(np.int32)
        score = self._state["recent"][rows].sum(axis=1).astype(np.float64)
        hours, errors = self._state["hours"][rows], self._state["errors"][rows]
        ready = hours >= params.min_history_h
        past = np.maximum(hours, params.min_history_h)
        expected = (errors + 0.5) / past
        measured = scoring.Measured(
            score=score,
            floor=params.floor_per_h,
            noise=special.count_upper(expected, self._z, np.sqrt(params.burst_max * (1 + 1 / past))),
            reference=errors / past,
        )
        return scoring.scores(self.kind, "errors per h", scoring.numeric_subject(numeric, places), ready, measured)

    def _turn(self, rows: Ints, at: int) -> None:
        """Make the bin number ``at`` the newest of all ``rows``, and learn the bins that fall out of the hour."""
        newest, first = self._state["newest"], self._state["first"]
        new = newest[rows] < 0
        newest[rows[new]] = first[rows[new]] = at
        ahead = np.clip(at - newest[rows], 0, None)
        for step in range(1, int(min(ahead.max(initial=0), _BINS)) + 1):
            self._learn(rows[ahead >= step])
        newest[rows] = np.maximum(newest[rows], at)

    def _learn(self, rows: Ints) -> None:
        recent, errors, hours = (self._state[name] for name in ("recent", "errors", "hours"))
        # Bins from before the first reading are empty because nobody looked.
        seen = self._state["newest"][rows] - self._state["first"][rows] >= _BINS - 1
        oldest: Floats = recent[rows, -1].astype(np.float64)
        errors[rows] = np.where(seen, errors[rows] * self._keep + oldest, errors[rows])
        hours[rows] = np.where(seen, hours[rows] * self._keep + 1 / _BINS_PER_H, hours[rows])
        shifted = recent[rows]
        shifted[:, 1:] = shifted[:, :-1]
        shifted[:, 0] = 0
        recent[rows] = shifted
        self._state["newest"][rows] += 1

    def forget(self, series: Ints) -> None:
        """Drop what was learned of ``series``."""
        self._totals.forget(series)
        self._state.forget(series)

    def to_bytes(self) -> bytes:
        """Readings, and what was learned."""
        kind, version = self.kind, self.state_version
        return state.join(kind, version, [part.to_bytes(kind, version) for part in (self._totals, self._state)])

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector, version = cls(msgspec.convert(params, EccRateParams)), cls.state_version
        totals, learned = state.split(raw, cls.kind, version, 2)
        detector._totals = Totals.from_bytes(totals, cls.kind, version)
        detector._state = SparseColumns.from_bytes(learned, cls.kind, version, _BLANK)
        return detector
