"""Share of event ids that come more than once: a producer that sends again, a mirror, a replay started twice."""

from typing import ClassVar

import msgspec
import numpy as np

from detectors import scoring, special
from detectors.parameters import check_bounds
from detectors.protocol import Bools, IdColumns, Scores, WindowBatch
from detectors.remembering import Remembering
from detectors.state import Columns


class DuplicateParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor_ratio`` is the rise of the share of repeated ids below which nobody cares.

    ``half_life``, ``warmup`` and ``patience`` count windows: what is usual follows that slowly, is known after that
    many, and is learned afresh when so many in a row were flagged (a day). ``min_ids`` must have been looked at.
    """

    window_s: int = 60
    floor_ratio: float = 0.05
    min_ids: int = 30
    half_life: int = 60
    warmup: int = 10
    patience: int = 1_440
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(0, 1), min_ids=(1, 10**6), half_life=(1, 10**6))
        check_bounds(self, warmup=(1, 10**4), patience=(2, 10**6), false_alarm_ratio=(1e-12, 0.1))


_BLANK = {
    "ids": np.zeros(()),
    "repeated": np.zeros(()),
    "learned": np.zeros((), np.int64),
    "flagged": np.zeros((), np.int64),
}


class Duplicates(Remembering[DuplicateParams, Columns]):
    r"""Rise of the share of event ids that came more than once, over what is usual for the model.

    Of all ids those of lowest hash are looked at, so the share q of d ids has a standard error of $\sqrt{q(1-q)/d}$,
    and is exactly 0 where no id repeats (:mod:`streams.windows.identities`). What is usual is an exponentially weighted
    mean of the windows that were not flagged: brokers and retries repeat a few events every day. Noise and p-value
    take the repeated ids for a Poisson count around it, as for nulls.

    Parameters
    ----------
    params
        See :class:`DuplicateParams`.

    Notes
    -----
    O(k) for k wholes with ids; 32 bytes of state per series. Events without an id are not counted. An id that comes
    again in another window is not seen, nor is one id that comes a thousand times, save by luck.
    """

    kind: ClassVar[str] = "duplicates"
    state_version: ClassVar[int] = 1
    blank = _BLANK
    params_type = DuplicateParams
    bank_type = Columns

    def __init__(self, params: DuplicateParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio)
        self._keep = 0.5 ** (1 / self.params.half_life)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every whole with enough ids, then learn from those that are not flagged."""
        ids, params, state = windows.ids, self.params, self._state
        state.reserve(ids.series)
        known = state["ids"][ids.series]
        enough = ids.sampled >= params.min_ids
        ready = enough & (state["learned"][ids.series] >= params.warmup)
        usual = state["repeated"][ids.series] / np.maximum(known, 1)
        measured = scoring.excess_ratio(
            ids.repeated, ids.sampled, usual, np.maximum(known, 1), params.floor_ratio, self._z
        )
        flagged = ready & (measured.score >= measured.floor) & (measured.score > measured.noise)
        self._learn(ids, enough, flagged)
        names = ["event_id"] * len(ids.series)
        subject = scoring.Subject(ids.series, ids.place, names, ids.events)
        return scoring.scores(self.kind, "repeated ids ratio", subject, ready, measured)

    def _learn(self, ids: IdColumns, enough: Bools, flagged: Bools) -> None:
        state, series = self._state, ids.series
        state["flagged"][series] = np.where(flagged, state["flagged"][series] + 1, 0)
        state.forget(series[state["flagged"][series] >= self.params.patience])
        learns = enough & ~flagged
        own = series[learns]
        state["ids"][own] = state["ids"][own] * self._keep + ids.sampled[learns]
        state["repeated"][own] = state["repeated"][own] * self._keep + ids.repeated[learns]
        state["learned"][own] = np.minimum(state["learned"][own] + 1, self.params.warmup)
