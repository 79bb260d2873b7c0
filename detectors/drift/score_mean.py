"""The mean of a score against the baseline's at this hour."""

from typing import Any, ClassVar, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import scoring, special, state
from detectors.drift.compared import floors
from detectors.drift.dispersion import DesignEffect
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Ints, Role, Scores, WindowBatch
from detectors.seasonal.expectation import SeasonalExpectation
from detectors.state import Columns

_BLANK: Final[dict[str, NDArray[Any]]] = {"centre": np.full((), np.nan), "scale": np.full((), np.nan)}
_FAR: Final = 4.0
"""A baseline that much narrower or wider than the first, or as many deviations away, is of another score."""


class ScoreMeanParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor`` in standard deviations of the baseline: less than that moves no threshold that anybody notices.

    ``min_rows`` values are needed, in the window and in the baseline. ``seasonal`` lets the baseline's mean follow the
    hours of day and week.
    """

    window_s: int = 60
    seasonal: bool = True
    floor: float = 0.2
    min_rows: int = 100
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor=(0, 100), min_rows=(10, 10**9), false_alarm_ratio=(1e-12, 0.1))


class ScoreMean:
    r"""How far a score's mean is from the baseline's at this hour, in the baseline's standard deviations.

    The baseline's mean is moved by as much as the rhythm of day and week makes of it
    (:meth:`detectors.seasonal.expectation.Expectation.since`): not at all while none is known, and by no more than lies
    between the rhythm's extremes. So a score that is high every evening is as usual then, and missed when it is not.

    Noise is $z \sqrt{D s^2 / N + \sigma^2 / M + e^2} / \sigma$, s and σ being the standard deviations of window and
    baseline, N and M their values, D how many of the values are worth one (:mod:`detectors.drift.dispersion`), and e
    how far hours are usually off. That is known after a week; until then the floor is at least how far the reference
    strays from itself, as for other distances.

    Parameters
    ----------
    params
        See :class:`ScoreMeanParams`.

    Notes
    -----
    O(scores); 672 bytes of state per score. All windows teach the rhythm, flagged ones too, as for latencies. Rhythms
    are learned in standard deviations of the first baseline and outlive it, unless a later one is nothing like it.
    The label says which way it went.
    """

    kind: ClassVar[str] = "score_mean"
    state_version: ClassVar[int] = 1

    def __init__(self, params: ScoreMeanParams | None = None) -> None:
        self.params = params or ScoreMeanParams()
        self.window_s = self.params.window_s
        self._z = special.z_of(self.params.false_alarm_ratio)
        self._unit = Columns(_BLANK)
        self._alike = DesignEffect()
        self._season = SeasonalExpectation(logs=False)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every score whose baseline has a spread, then learn."""
        numeric, params = windows.numeric, self.params
        known = numeric.has_baseline & (numeric.ref_std > 0) & np.isfinite(numeric.ref_mean)
        places = np.flatnonzero((numeric.role == Role.SCORE) & known)
        series, ref_std = numeric.series[places], numeric.ref_std[places]
        N, M = (counts[places].astype(np.float64) for counts in (numeric.count, numeric.ref_count))
        variance = numeric.m2[places] / np.maximum(N - 1, 1)
        alike = self._alike.of(series)
        self._alike.learn(series, numeric.mean[places], numeric.m2[places], N)
        reference, usual_error = self._reference(windows, places)
        shift = (numeric.mean[places] - reference) / ref_std
        error = np.sqrt(alike * variance / np.maximum(N, 1) + ref_std**2 / np.maximum(M, 1) + usual_error**2) / ref_std
        wandering = np.where(usual_error > 0, 0.0, floors(params.floor, "wasserstein", numeric, places))
        floor = np.maximum(params.floor, wandering)
        limit = np.maximum(floor, self._z * error) * ref_std
        fell = shift < 0
        measured = scoring.Measured(
            score=np.abs(shift),
            floor=floor,
            noise=self._z * error,
            p_value=2 * special.normal_sf(np.abs(shift) / error),
            value=numeric.mean[places],
            reference=reference,
            threshold=reference + np.where(fell, -limit, limit),
            mean=numeric.mean[places],
            ref_mean=reference,
            label=["drop" if down else "rise" for down in fell.tolist()],
        )
        subject = scoring.numeric_subject(numeric, places)
        return scoring.scores(self.kind, "mean", subject, np.minimum(N, M) >= params.min_rows, measured)

    def _reference(self, windows: WindowBatch, places: Ints) -> tuple[Floats, Floats]:
        """The baselines' means as they are at this hour, and how far they are usually off; the window teaches both."""
        numeric = windows.numeric
        ref_mean = numeric.ref_mean[places]
        if not self.params.seasonal:
            return ref_mean, np.zeros(len(places))
        series, middle_ms = numeric.series[places], windows.start_ms + windows.size_ms // 2
        centre, scale = self._units(series, ref_mean, numeric.ref_std[places])
        season = self._season.at(series, middle_ms)
        count = numeric.count[places]
        taught = np.where(count >= self.params.min_rows, count, 0).astype(np.float64)
        mean = np.where(taught > 0, numeric.mean[places], centre)
        self._season.learn(series, middle_ms, (mean - centre) / scale * taught, taught)
        return ref_mean + scale * season.since((ref_mean - centre) / scale), scale * season.error

    def _units(self, series: Ints, ref_mean: Floats, ref_std: Floats) -> tuple[Floats, Floats]:
        """What rhythms are learned in, float64[k] each: the mean and standard deviation of the first baseline."""
        self._unit.reserve(series)
        centre, scale = self._unit["centre"][series], self._unit["scale"][series]
        apart = np.abs(ref_mean - centre) / np.minimum(scale, ref_std)
        # Comparisons with NaN are false: what has no unit yet gets one.
        same = (apart <= _FAR) & (ref_std <= _FAR * scale) & (scale <= _FAR * ref_std)
        self._season.forget(series[~same & ~np.isnan(scale)])
        centre, scale = np.where(same, centre, ref_mean), np.where(same, scale, ref_std)
        self._unit["centre"][series], self._unit["scale"][series] = centre, scale
        return centre, scale

    def forget(self, series: Ints) -> None:
        """Drop what was learned of ``series``."""
        self._unit.forget(series)
        self._alike.forget(series)
        self._season.forget(series)

    def to_bytes(self) -> bytes:
        """What was learned."""
        banks = (self._unit, self._alike, self._season)
        return state.join(self.kind, self.state_version, [b.to_bytes(self.kind, self.state_version) for b in banks])

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector = cls(msgspec.convert(params, ScoreMeanParams))
        kind, version = cls.kind, cls.state_version
        unit, alike, season = state.split(raw, kind, version, 3)
        detector._unit = Columns.from_bytes(unit, kind, version, _BLANK)
        detector._alike = DesignEffect.from_bytes(alike, kind, version)
        detector._season = SeasonalExpectation.from_bytes(season, kind, version, logs=False)
        return detector
