"""Error ratio of a scope against its baseline's."""

from typing import ClassVar

import msgspec
import numpy as np

from detectors import scoring, special
from detectors.parameters import check_bounds
from detectors.protocol import Scores, WindowBatch
from detectors.stateless import Stateless
from schemas.scopes import Family


class ErrorParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The floor is the larger of ``floor_ratio`` and ``floor_relative`` times the baseline's ratio.

    Ten-second windows: errors hurt users at once, and the noise bound keeps small windows quiet.
    ``ref_rows`` is how many events the baseline's ratio is taken to rest on.
    """

    window_s: int = 10
    floor_ratio: float = 0.02
    floor_relative: float = 0.5
    min_rows: int = 20
    ref_rows: int = 2_000
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(0, 1), floor_relative=(0, 100), min_rows=(1, 10**9))
        check_bounds(self, ref_rows=(1, 10**12), false_alarm_ratio=(1e-12, 0.1))


class ErrorRatio(Stateless[ErrorParams]):
    """Rise of each scope's share of events whose status is not ok, over the baseline's.

    Parameters
    ----------
    params
        See :class:`ErrorParams`.

    Notes
    -----
    O(S), no state. Noise as for nulls: a Poisson count around a ratio that is itself an estimate.
    """

    kind: ClassVar[str] = "errors"
    state_version: ClassVar[int] = 1
    params_type = ErrorParams

    def __init__(self, params: ErrorParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every scope of predictions with ``min_rows`` events and a baseline."""
        scopes, params = windows.scopes, self.params
        predictions = np.array([family == Family.PREDICTION for family in scopes.family], np.bool_)
        ready = predictions & (scopes.rows >= params.min_rows) & ~np.isnan(scopes.ref_error_ratio)
        floor = np.maximum(params.floor_ratio, params.floor_relative * scopes.ref_error_ratio)
        measured = scoring.excess_ratio(
            scopes.errors, scopes.rows, scopes.ref_error_ratio, params.ref_rows, floor, self._z
        )
        names = ["errors"] * len(scopes.id)
        subject = scoring.Subject(scopes.series["errors"], np.arange(len(scopes.id)), names, scopes.rows)
        return scoring.scores(self.kind, "error ratio", subject, ready, measured)
