r"""p50, p95 and p99 of latency against the baseline's."""

from typing import ClassVar, Final, Self

import msgspec
import numpy as np

from detectors import scoring, special, state
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Ints, Role, Scores, WindowBatch

QUANTILES: Final = np.array([0.5, 0.95, 0.99])
_NAMES: Final = ("p50", "p95", "p99")
_Z: Final = np.array([special.z_of(1 - q) for q in QUANTILES])
_DENSITY: Final = np.exp(-_Z * _Z / 2) / np.sqrt(2 * np.pi)
_SPREAD: Final = np.sqrt(QUANTILES * (1 - QUANTILES)) / _DENSITY
"""Standard deviation of a quantile of n standard normal values, times √n."""


class LatencyParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ten-second windows: users wait now, and the noise bound keeps small windows quiet.

    ``floor_ratio`` 1.3 says that a third slower is nobody's concern, nor is a rise below ``min_rise_ms``. A quantile
    takes part when ``min_beyond`` events lie beyond it, in the window and in the baseline: 10 events for p50, 500 for
    p99. ``design_effect`` widens the noise for requests that queue behind one another and so are not independent.
    """

    window_s: int = 10
    floor_ratio: float = 1.3
    min_rise_ms: float = 1.0
    min_beyond: float = 5.0
    design_effect: float = 2.0
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(1, 1000), min_rise_ms=(0, 1e9), min_beyond=(1, 1e6))
        check_bounds(self, design_effect=(1, 100), false_alarm_ratio=(1e-12, 0.1))


class LatencyQuantiles:
    r"""Logarithm of the worst of p50, p95 and p99 over the baseline's.

    Noise is that of order statistics, $\sqrt{q(1-q)} / (f(Q) Q)$ per $\sqrt n$ on the logarithm, where the density
    comes from the slopes between the baseline's own quantiles, the steeper of the two neighbours. A quantile whose
    noise exceeds the floor counts for less in proportion, so that one score can stand for the three: it is at the floor
    exactly where the quantile is at its noise. The label names the quantile; value and reference are its milliseconds.

    Parameters
    ----------
    params
        See :class:`LatencyParams`.

    Notes
    -----
    O(N), no state. Getting faster is no finding. Two peaks far apart (cache hit and miss) make slopes steep and the
    noise large: that is meant.
    """

    kind: ClassVar[str] = "latency"
    state_version: ClassVar[int] = 1

    def __init__(self, params: LatencyParams | None = None) -> None:
        self.params = params or LatencyParams()
        self.window_s = self.params.window_s
        self._z = special.z_of(self.params.false_alarm_ratio / len(_NAMES))

    def step(self, windows: WindowBatch) -> Scores:
        """Score every latency series with a baseline."""
        numeric, params = windows.numeric, self.params
        places = np.flatnonzero(numeric.role == Role.LATENCY)
        value, reference = numeric.quantiles[places], numeric.ref_quantiles[places]
        N = np.maximum(numeric.count[places], 1).astype(np.float64)
        M = np.maximum(numeric.ref_count[places], 1).astype(np.float64)
        beyond = np.minimum(N, M)[:, None] * (1 - QUANTILES) >= params.min_beyond
        # Comparisons with NaN are false: what has no value or no baseline is not usable.
        usable = beyond & (value > 0) & (reference > 0) & numeric.has_baseline[places, None]
        value, reference = np.where(usable, value, np.nan), np.where(usable, reference, np.nan)
        floor = float(np.log(params.floor_ratio))
        rise = np.where(value - reference >= params.min_rise_ms, np.log(value / reference), 0.0)
        noise = self._noise(numeric.ref_quantiles[places], N, M)
        weight = np.minimum(1, floor / np.maximum(noise, 1e-12)) if floor > 0 else np.ones_like(noise)
        score = np.where(usable, np.maximum(rise, 0) * weight, -1.0)
        worst = score.argmax(axis=1)
        row = np.arange(len(places))
        noise, weight = noise[row, worst], weight[row, worst]
        value, reference = value[row, worst], reference[row, worst]
        measured = scoring.Measured(
            score=score[row, worst],
            floor=floor,
            noise=noise * weight,
            p_value=np.minimum(1, len(_NAMES) * special.normal_sf(rise[row, worst] / noise * self._z)),
            value=value,
            reference=reference,
            threshold=reference * np.exp(np.maximum(floor, noise)),
            label=[_NAMES[i] for i in worst.tolist()],
        )
        subject = scoring.numeric_subject(numeric, places)
        return scoring.scores(self.kind, "ms", subject, usable.any(axis=1), measured)

    def _noise(self, reference: Floats, N: Floats, M: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(np.where(reference > 0, reference, np.nan))
        slopes = np.diff(logs, axis=1) / np.diff(_Z)
        steeper = np.maximum(slopes[:, 0], slopes[:, 1])
        slope = np.column_stack((slopes[:, 0], steeper, steeper))
        # A LogHistogram's quantile is off by up to 1 %, on either side.
        grain = 0.02
        sampling = self._z * np.sqrt(self.params.design_effect * (1 / N + 1 / M))
        return np.asarray(grain + slope * _SPREAD * sampling[:, None], np.float64)

    def forget(self, series: Ints) -> None:
        """Nothing is kept of a series."""

    def to_bytes(self) -> bytes:
        """No state but its version."""
        return state.pack(self.kind, self.state_version, {})

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        state.unpack(raw, cls.kind, cls.state_version)
        return cls(msgspec.convert(params, LatencyParams))
