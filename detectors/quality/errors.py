"""Error ratio of a scope against its baseline's at this hour."""

from typing import ClassVar, Self

import msgspec
import numpy as np

from detectors import scoring, special
from detectors.parameters import check_bounds
from detectors.protocol import Bools, Floats, Ints, Scores, WindowBatch
from detectors.seasonal.expectation import SeasonalExpectation
from schemas.scopes import Family


class ErrorParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The floor is the larger of ``floor_ratio`` and ``floor_relative`` times the baseline's ratio.

    Ten-second windows: errors hurt users at once, and the noise bound keeps small windows quiet.
    ``ref_rows`` is how many events the baseline's ratio is taken to rest on. ``seasonal`` lets that ratio follow the
    hours of the day.
    """

    window_s: int = 10
    seasonal: bool = True
    floor_ratio: float = 0.02
    floor_relative: float = 0.5
    min_rows: int = 20
    ref_rows: int = 2_000
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(0, 1), floor_relative=(0, 100), min_rows=(1, 10**9))
        check_bounds(self, ref_rows=(1, 10**12), false_alarm_ratio=(1e-12, 0.1))


class ErrorRatio:
    """Rise of each scope's share of events whose status is not ok, over the baseline's.

    Parameters
    ----------
    params
        See :class:`ErrorParams`.

    Notes
    -----
    O(S); 640 bytes of state per scope. The baseline's ratio is moved by as much as the rhythm of day and week makes of
    it, as for latencies (:class:`~detectors.latency.quantiles.LatencyQuantiles`). Noise as for nulls: a Poisson count
    around a ratio that is itself an estimate.
    """

    kind: ClassVar[str] = "errors"
    state_version: ClassVar[int] = 2

    def __init__(self, params: ErrorParams | None = None) -> None:
        self.params = params or ErrorParams()
        self.window_s = self.params.window_s
        self._season = SeasonalExpectation()
        self._z = special.z_of(self.params.false_alarm_ratio)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every scope of predictions with ``min_rows`` events and a baseline."""
        scopes, params = windows.scopes, self.params
        predictions = np.array([family == Family.PREDICTION for family in scopes.family], np.bool_)
        ready = predictions & (scopes.rows >= params.min_rows) & ~np.isnan(scopes.ref_error_ratio)
        reference = self._reference(windows, predictions)
        floor = np.maximum(params.floor_ratio, params.floor_relative * reference)
        measured = scoring.excess_ratio(scopes.errors, scopes.rows, reference, params.ref_rows, floor, self._z)
        names = ["errors"] * len(scopes.id)
        subject = scoring.Subject(scopes.series["errors"], np.arange(len(scopes.id)), names, scopes.rows)
        return scoring.scores(self.kind, "error ratio", subject, ready, measured)

    def _reference(self, windows: WindowBatch, predictions: Bools) -> Floats:
        """The baselines' ratios float64[S] as they are at this hour; the window teaches what is usual."""
        scopes = windows.scopes
        if not self.params.seasonal:
            return scopes.ref_error_ratio
        at = np.flatnonzero(predictions)
        series, middle_ms = scopes.series["errors"][at], windows.start_ms + windows.size_ms // 2
        season = self._season.at(series, middle_ms)
        errors, rows = (counted[at].astype(np.float64) for counted in (scopes.errors, scopes.rows))
        self._season.learn(series, middle_ms, errors, rows)
        reference = scopes.ref_error_ratio.copy()
        # As an hour's ratio is learned: half an error is what was never seen.
        measured = np.log(np.maximum(reference[at], 0.5 / self.params.ref_rows))
        reference[at] = np.minimum(reference[at] * np.exp(season.since(measured)), 1.0)
        return reference

    def forget(self, series: Ints) -> None:
        """Drop the rhythms of ``series``."""
        self._season.forget(series)

    def to_bytes(self) -> bytes:
        """The rhythms."""
        return self._season.to_bytes(self.kind, self.state_version)

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector = cls(msgspec.convert(params, ErrorParams))
        detector._season = SeasonalExpectation.from_bytes(raw, cls.kind, cls.state_version)
        return detector
