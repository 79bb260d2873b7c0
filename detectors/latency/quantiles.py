r"""p50, p95 and p99 of latency against the baseline's at this hour."""

from collections.abc import Callable
from typing import ClassVar, Final, Self

import msgspec
import numpy as np

from detectors import scoring, special
from detectors.latency.noise import GRAIN, NAMES, enough, middle, quantile_noise
from detectors.parameters import check_bounds
from detectors.peers import share_of_model
from detectors.protocol import Bools, Floats, Ints, Role, Scores, WindowBatch
from detectors.seasonal.expectation import SeasonalExpectation


class LatencyParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ten-second windows: users wait now, and the noise bound keeps small windows quiet.

    ``floor_ratio`` 1.3 says that a third slower is nobody's concern, nor is a rise below ``min_rise_ms``. A quantile
    takes part when ``min_beyond`` events lie beyond it, in the window and in the baseline: 10 events for p50, 500 for
    p99. ``design_effect`` widens the noise for requests that queue behind one another and so are not independent.
    ``seasonal`` lets the baseline follow the hours of the day. Users feel it (which pages should it last) where the
    typical request takes ``felt_ratio`` times as long, in a version that answers ``felt_share_ratio`` of the model's
    events at least.
    """

    window_s: int = 10
    seasonal: bool = True
    floor_ratio: float = 1.3
    min_rise_ms: float = 1.0
    min_beyond: float = 5.0
    design_effect: float = 2.0
    false_alarm_ratio: float = 1e-4
    felt_ratio: float = 1.5
    felt_share_ratio: float = 0.25

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(1, 1000), min_rise_ms=(0, 1e9), min_beyond=(1, 1e6))
        check_bounds(self, design_effect=(1, 100), false_alarm_ratio=(1e-12, 0.1))
        check_bounds(self, felt_ratio=(1, 1000), felt_share_ratio=(0, 1))


_MIN_ROWS: Final = 10
"""Values of a window from which its median teaches the rhythm."""


class LatencyQuantiles:
    r"""Logarithm of the worst of p50, p95 and p99 over the baseline's.

    The baseline's quantiles are moved together by as much as the rhythm of p50 over day and week makes of them
    (:meth:`detectors.seasonal.expectation.Expectation.since`): not at all while no rhythm is known, and never by more
    than lies between the rhythm's extremes, so that what becomes slower for good is found.

    Noise is that of order statistics (:mod:`detectors.latency.noise`). A quantile whose noise exceeds the floor counts
    for less in proportion, so that one score can stand for the three: it is at the floor exactly where the quantile is
    at its noise. The label names the quantile; value and reference are its milliseconds. The note says whether p50 has
    moved as well, or the tail alone has.

    Parameters
    ----------
    params
        See :class:`LatencyParams`.

    Notes
    -----
    O(N); 640 bytes of state per latency series. All windows teach the rhythm, flagged ones too: a baseline from the
    quietest hour would flag the same hours every day and never learn them. Getting faster is no finding. Two peaks far
    apart (cache hit and miss) make slopes steep and the noise large: that is meant.
    """

    kind: ClassVar[str] = "latency"
    state_version: ClassVar[int] = 2

    def __init__(self, params: LatencyParams | None = None) -> None:
        self.params = params or LatencyParams()
        self.window_s = self.params.window_s
        self._season = SeasonalExpectation(logs=False)
        self._z = special.z_of(self.params.false_alarm_ratio / len(NAMES))

    def step(self, windows: WindowBatch) -> Scores:
        """Score every latency series with a baseline."""
        numeric, params = windows.numeric, self.params
        places = np.flatnonzero(numeric.role == Role.LATENCY)
        value = numeric.quantiles[places]
        baseline = self._baseline(windows, places)
        reference = baseline
        N = np.maximum(numeric.count[places], 1).astype(np.float64)
        M = np.maximum(numeric.ref_count[places], 1).astype(np.float64)
        beyond = enough(np.minimum(N, M), params.min_beyond)
        # Comparisons with NaN are false: what has no value or no baseline is not usable.
        usable = beyond & (value > 0) & (reference > 0) & numeric.has_baseline[places, None]
        value, reference = np.where(usable, value, np.nan), np.where(usable, reference, np.nan)
        floor = float(np.log(params.floor_ratio))
        rise = np.where(value - reference >= params.min_rise_ms, np.log(value / reference), 0.0)
        variance = params.design_effect * (1 / N + 1 / M)
        noise = GRAIN + self._z * quantile_noise(baseline, variance)
        note = _note(value, reference, noise, floor)
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
            p_value=np.minimum(1, len(NAMES) * special.normal_sf(rise[row, worst] / noise * self._z)),
            value=value,
            reference=reference,
            threshold=reference * np.exp(np.maximum(floor, noise)),
            label=[NAMES[i] for i in worst.tolist()],
            note=lambda place: note(place) if worst[place] else "",
            felt=self._felt(windows, places, rise[:, 0]),
        )
        subject = scoring.numeric_subject(numeric, places)
        return scoring.scores(self.kind, "ms", subject, np.asarray(usable.any(axis=1)), measured)

    def _felt(self, windows: WindowBatch, places: Ints, rise: Floats) -> Bools:
        """Where the typical request of a model's whole is so much slower that users feel it: bool[k]."""
        slow = np.asarray(rise >= np.log(self.params.felt_ratio), np.bool_)
        if not slow.any():
            return slow
        shares = share_of_model(windows.scopes)[windows.numeric.scope[places]]
        return np.asarray(slow & (shares >= self.params.felt_share_ratio) & (shares > 0), np.bool_)

    def _baseline(self, windows: WindowBatch, places: Ints) -> Floats:
        """The baseline's quantiles float64[k, 3] as they are at this hour; the window teaches what is usual."""
        numeric = windows.numeric
        reference = numeric.ref_quantiles[places]
        if not self.params.seasonal:
            return reference
        series, middle_ms = numeric.series[places], windows.start_ms + windows.size_ms // 2
        season = self._season.at(series, middle_ms)
        p50, count = numeric.quantiles[places, 0], numeric.count[places]
        taught = np.where((p50 > 0) & (count >= _MIN_ROWS), count, 0).astype(np.float64)
        self._season.learn(series, middle_ms, np.log(np.where(taught > 0, p50, 1.0)) * taught, taught)
        measured = np.where(reference[:, 0] > 0, reference[:, 0], np.nan)
        return np.asarray(reference * np.exp(season.since(np.log(measured)))[:, None], np.float64)

    def forget(self, series: Ints) -> None:
        """Drop the rhythms of ``series``."""
        self._season.forget(series)

    def to_bytes(self) -> bytes:
        """The rhythms."""
        return self._season.to_bytes(self.kind, self.state_version)

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector = cls(msgspec.convert(params, LatencyParams))
        detector._season = SeasonalExpectation.from_bytes(raw, cls.kind, cls.state_version, logs=False)
        return detector


def _note(value: Floats, reference: Floats, noise: Floats, floor: float) -> Callable[[int], str]:
    return lambda place: middle(reference[place, 0], value[place, 0], noise[place, 0], floor)
