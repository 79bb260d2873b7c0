"""Null ratio of a numeric quantity against its baseline's: a join that broke, a feature that stopped coming."""

from typing import ClassVar

import msgspec
import numpy as np

from detectors import scoring, special
from detectors.parameters import check_bounds
from detectors.protocol import Role, Scores, WindowBatch
from detectors.stateless import Stateless


class NullParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor_ratio`` is the rise of the null ratio below which nobody cares, 0.05 for five percentage points."""

    window_s: int = 60
    floor_ratio: float = 0.05
    min_rows: int = 50
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(0, 1), min_rows=(1, 10**9))
        check_bounds(self, false_alarm_ratio=(1e-12, 0.1))


class NullRatio(Stateless[NullParams]):
    r"""Rise of each feature's, score's and latency's share of nulls over the baseline's.

    The score is $\max(0, p - p_0)$. Noise and p-value take the nulls for a Poisson count around the baseline's ratio,
    which is itself known only from M events: the standard deviation is widened by $\sqrt{1 + N/M}$, and half a null is
    added to the baseline so that none seen is not none possible.

    Parameters
    ----------
    params
        See :class:`NullParams`.

    Notes
    -----
    O(N), no state. Gauges are left out: what a device does not support is null for good.
    """

    kind: ClassVar[str] = "nulls"
    state_version: ClassVar[int] = 1
    params_type = NullParams

    def __init__(self, params: NullParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every series with a baseline in a scope with ``min_rows`` events."""
        numeric = windows.numeric
        rows, ref_rows = numeric.rows, numeric.ref_rows
        ready = numeric.has_baseline & (rows >= self.params.min_rows) & (ref_rows >= self.params.min_rows)
        ready &= numeric.role != Role.GAUGE
        M = np.maximum(ref_rows, 1).astype(np.float64)
        measured = scoring.excess_ratio(
            np.maximum(rows - numeric.count, 0), rows, np.clip(1 - numeric.ref_count / M, 0, 1), M,
            self.params.floor_ratio, self._z,
        )  # fmt: skip
        subject = scoring.Subject(numeric.series, numeric.scope, numeric.name, rows)
        return scoring.scores(self.kind, "null ratio", subject, ready, measured)
