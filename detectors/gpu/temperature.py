"""A GPU that has been too hot for minutes: it throttles soon, and ages."""

from typing import ClassVar, Self

import msgspec
import numpy as np

from detectors import scoring
from detectors.gpu.gauges import places_of
from detectors.parameters import check_bounds
from detectors.protocol import Ints, Scores, WindowBatch
from detectors.sustained import SustainedMinimum


class TemperatureParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hotter than ``limit_c`` in every window of ``sustained_s`` seconds."""

    window_s: int = 10
    limit_c: float = 85.0
    sustained_s: int = 300

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 3_600), limit_c=(0, 200), sustained_s=(1, 86_400))

    @property
    def windows(self) -> int:
        """How many windows in a row must be over the limit."""
        return max(1, -(-self.sustained_s // self.window_s))


class GpuTemperature:
    """The least mean temperature of the last windows, in degrees Celsius: over the limit only if all of them were.

    Parameters
    ----------
    params
        See :class:`TemperatureParams`.

    Notes
    -----
    O(N); 8 bytes of state per GPU and window. The value shown is the last window's mean.
    """

    kind: ClassVar[str] = "gpu_temperature"
    state_version: ClassVar[int] = 1

    def __init__(self, params: TemperatureParams | None = None) -> None:
        self.params = params or TemperatureParams()
        self.window_s = self.params.window_s
        self._sustained = SustainedMinimum(self.params.windows)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every ``temperature_c`` that has been seen long enough."""
        numeric = windows.numeric
        places = places_of(numeric, "temperature_c")
        value = numeric.mean[places]
        usable = (numeric.count[places] > 0) & ~np.isnan(value)
        score = np.full(len(places), np.nan)
        score[usable] = np.maximum(self._sustained.push(numeric.series[places[usable]], value[usable]), 0)
        measured = scoring.Measured(
            score=score, floor=self.params.limit_c, value=value, reference=numeric.ref_mean[places]
        )
        return scoring.scores(self.kind, "°C", scoring.numeric_subject(numeric, places), usable, measured)

    def forget(self, series: Ints) -> None:
        """Drop the windows of ``series``."""
        self._sustained.forget(series)

    def to_bytes(self) -> bytes:
        """The last windows of every GPU."""
        return self._sustained.to_bytes(self.kind, self.state_version)

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector = cls(msgspec.convert(params, TemperatureParams))
        n = detector.params.windows
        detector._sustained = SustainedMinimum.from_bytes(raw, cls.kind, cls.state_version, n)
        return detector
