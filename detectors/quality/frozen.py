"""A feature that varied and has one value now: a cache that is no longer filled, a default in place of a look-up."""

from typing import ClassVar

import msgspec
import numpy as np

from detectors import scoring
from detectors.drift.compared import Compared
from detectors.parameters import check_bounds
from detectors.protocol import Role, Scores, WindowBatch
from detectors.stateless import Stateless


class FrozenParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``most_ratio``: a feature of which one value has a larger share in the baseline is not said to vary.

    ``design_effect`` is how many values in a row may be of one cause (a session, a batch) and count as one.
    """

    window_s: int = 60
    min_rows: int = 50
    most_ratio: float = 0.9
    design_effect: float = 3.0
    false_alarm_ratio: float = 1e-6

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), min_rows=(2, 10**9), most_ratio=(0, 1), design_effect=(1, 1000))
        check_bounds(self, false_alarm_ratio=(1e-300, 0.1))


class FrozenFeature(Stateless[FrozenParams]):
    r"""How surprising it is that all values of a feature are the same, in nats.

    Where no value has a larger share than s in the baseline, n independent values are all the same with a probability
    of $s^{n-1}$ at most. The fullest bin of the baseline bounds s from above. The score is $-(n/d - 1) \ln s$ with the
    design effect d, and 0 as soon as two values differ.

    Parameters
    ----------
    params
        See :class:`FrozenParams`.

    Notes
    -----
    O(N), no state. Values that no longer change for each customer, but differ between customers, are not seen here:
    their age is (``freshness``).
    """

    kind: ClassVar[str] = "frozen"
    state_version: ClassVar[int] = 1
    params_type = FrozenParams

    def step(self, windows: WindowBatch) -> Scores:
        """Score every feature with edges that varies in its baseline."""
        numeric, params = windows.numeric, self.params
        found = Compared.every(numeric)
        wanted = (numeric.role[found.places] == Role.FEATURE) & (numeric.count[found.places] >= params.min_rows)
        places, of_ref = found.places[wanted], found.M[wanted]
        most = found.ref.max(axis=1, initial=0)[wanted] / np.maximum(of_ref, 1)
        ready = (of_ref >= params.min_rows) & (most <= params.most_ratio)
        same = numeric.max[places] == numeric.min[places]
        of_one_cause = numeric.count[places] / params.design_effect
        surprise = -np.maximum(of_one_cause - 1, 0) * np.log(np.maximum(most, 1e-12))
        measured = scoring.Measured(
            score=np.where(same, surprise, 0.0),
            floor=float(-np.log(params.false_alarm_ratio)),
            value=numeric.max[places] - numeric.min[places],
            reference=numeric.edges[places, -1] - numeric.edges[places, 0],
            threshold=0.0,
            mean=numeric.mean[places],
            ref_mean=numeric.ref_mean[places],
        )
        return scoring.scores(self.kind, "span", scoring.numeric_subject(numeric, places), ready, measured)
