"""Memory errors that could not be corrected, and rows that could not be remapped: the card must go."""

from typing import Any, ClassVar, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import scoring, state
from detectors.gpu.gauges import places_of
from detectors.gpu.spells import Spells, clock
from detectors.parameters import check_bounds
from detectors.protocol import Bools, Floats, Ints, Scores, WindowBatch
from detectors.sparse import SparseColumns

_BLANK: Final[dict[str, NDArray[Any]]] = {"last": np.full((), np.nan)}


class EccParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Errors within ``hold_s`` of each other are one story: it ends so long after the last, or with a reset."""

    window_s: int = 10
    hold_s: int = 3_600

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), hold_s=(1, 30 * 86_400))


class Totals:
    """By how much counters grew that start over at 0 when the driver is loaded or the GPU is reset.

    Notes
    -----
    8 bytes per series. What had been counted before a series was first seen is nobody's news: it may be the total of a
    card's life.
    """

    def __init__(self) -> None:
        self._state = SparseColumns(_BLANK)

    def grown(self, series: Ints, low: Floats, high: Floats) -> tuple[Ints, Bools]:
        """Take in a window of distinct ``series`` int64[k] whose readings, float64[k], went from ``low`` to ``high``.

        Returns
        -------
        int64[k], what was counted since the window before; and bool[k], whether the counter started over.
        """
        places = self._state.places(series)
        last = self._state["last"][places]
        reset = low < last  # False before there was a reading
        grown = np.where(reset, np.maximum(high - last, 0) + low, high - np.where(np.isnan(last), high, last))
        # With a reset in the middle of the window the highest reading may be from before it.
        self._state["last"][places] = np.where(reset, low, high)
        return grown.astype(np.int64), reset

    def forget(self, series: Ints) -> None:
        """Drop what is known of ``series``."""
        self._state.forget(series)

    def to_bytes(self, kind: str, version: int) -> bytes:
        """The latest readings."""
        return self._state.to_bytes(kind, version)

    @classmethod
    def from_bytes(cls, raw: bytes, kind: str, version: int) -> Self:
        """What :meth:`to_bytes` saved; raises StateError if it is not that."""
        result = cls()
        result._state = SparseColumns.from_bytes(raw, kind, version, _BLANK)
        return result


class GpuEcc:
    """Uncorrected memory errors of a GPU, and failed row remappings, since the first of a spell.

    Any one is certain. Volatile counters start over when the driver is loaded, aggregate ones never: only growth is
    counted, so that both may come. A counter that starts over ends the spell: the card was reset.

    Parameters
    ----------
    params
        See :class:`EccParams`.

    Notes
    -----
    O(G) for G GPUs; 48 bytes of state per counter. No noise.

    References
    ----------
    .. [1] NVIDIA, "NVML API Reference Guide", ``nvmlEccCounterType_t``, ``nvmlDeviceGetRemappedRows``.
    """

    kind: ClassVar[str] = "gpu_ecc"
    state_version: ClassVar[int] = 1

    def __init__(self, params: EccParams | None = None) -> None:
        self.params = params or EccParams()
        self.window_s = self.params.window_s
        self._totals = Totals()
        self._spells = Spells(self.params.hold_s)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every counter that has a reading."""
        numeric = windows.numeric
        places = places_of(numeric, "ecc_uncorrected_total", "remap_failures_total")
        ready = numeric.count[places] > 0
        series, read = numeric.series[places], places[ready]
        faults, reset = np.zeros(len(places), np.int64), np.zeros(len(places), np.bool_)
        faults[ready], reset[ready] = self._totals.grown(series[ready], numeric.min[read], numeric.max[read])
        count = self._spells.add(series, windows.start_ms, windows.size_ms, faults, reset).astype(np.float64)
        last_ms = self._spells.last_ms(series)
        measured = scoring.Measured(
            score=count,
            floor=1.0,
            reference=0.0,
            since_ms=self._spells.since_ms(series),
            note=lambda row: f"the last by {clock(int(last_ms[row]))}",
        )
        return scoring.scores(self.kind, "errors", scoring.numeric_subject(numeric, places), ready, measured)

    def forget(self, series: Ints) -> None:
        """Drop ``series``."""
        self._totals.forget(series)
        self._spells.forget(series)

    def to_bytes(self) -> bytes:
        """Readings and spells."""
        kind, version = self.kind, self.state_version
        return state.join(kind, version, [part.to_bytes(kind, version) for part in (self._totals, self._spells)])

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector, version = cls(msgspec.convert(params, EccParams)), cls.state_version
        totals, spells = state.split(raw, cls.kind, version, 2)
        detector._totals = Totals.from_bytes(totals, cls.kind, version)
        detector._spells = Spells.from_bytes(spells, cls.kind, version, detector.params.hold_s)
        return detector
