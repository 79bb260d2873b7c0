r"""Versions side by side: whether one fails more often than the one that serves most does, in the same windows.

A canary that fails from its first event has learned a baseline of failures, and one that gets a tenth of the traffic
has too few events in ten seconds to be judged alone. Beside the version that serves most, both are no matter. Of the
k errors of both in a window, n and m being their events, each falls on the other one with probability
$n \rho / (n \rho + m)$ where it fails ρ times as often: what makes both fail together cancels out. Bets that ρ is
1.5, 3 and 8 times what is let pass pay the binomial likelihood ratio, over the design effect D (errors that come
together).
As $E\,e^g \le 1$ for as long as no more than that happens, at any volume, capital that is carried as for the
:mod:`martingale <detectors.drift.martingale>` reaches 1/α within n windows with a probability of nα at most.

References
----------
.. [1] J. Przyborowski, H. Wilenski, "Homogeneity of results in testing samples from Poisson series", 1940.
.. [2] M. Pollak, "Optimal detection of a change in distribution", 1985.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import peers, scoring
from detectors.drift.betting import QUIET, STARTED, carried
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Ints, ScopeColumns, Scores, WindowBatch
from detectors.remembering import Remembering
from detectors.state import Columns

_TIMES: Final = np.array([1.5, 3.0, 8.0])
_WINDOWS: Final = 3
"""In how many windows the capital may be won at the soonest: one burst of retries is no version that fails."""
_DOUBLED: Final = 2.0
_AS_MANY: Final = 0.8
_COUNTS: Final = ("errors", "rows", "other_errors", "other_rows")
_BLANK: Final[dict[str, NDArray[Any]]] = {
    "capital": np.full(len(_TIMES), -np.inf),
    "since_ms": np.zeros((), np.int64),
    **{name: np.zeros(()) for name in _COUNTS},
}


class VersionParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor_ratio`` more errors than beside it, as a share of its events, matter.

    It may fail ``usual_factor`` times as often for no reason (it may serve other traffic). ``memory_rows`` is how many
    of its last events tell the effect, ``design_effect`` how many errors in a row are of one cause.
    """

    window_s: int = 60
    floor_ratio: float = 0.02
    usual_factor: float = 1.5
    min_rows: int = 20
    memory_rows: int = 1_000
    design_effect: float = 2.0
    false_alarm_ratio: float = 1e-6

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(0, 1), usual_factor=(1, 100), min_rows=(1, 10**9))
        check_bounds(self, memory_rows=(10, 10**9), design_effect=(1, 100), false_alarm_ratio=(1e-12, 0.1))


@dataclass(frozen=True, slots=True)
class _Beside:
    """The k versions that are compared: ``place`` int64[k] in the scopes, ``other`` the place of each one's standard.

    That is the version of the model with most events; among those with about as many, the oldest.
    """

    place: Ints
    other: Ints

    @classmethod
    def of(cls, scopes: ScopeColumns) -> Self:
        whole, model = peers.versions(scopes)
        most = np.zeros(int(model.max(initial=-1)) + 1)
        np.maximum.at(most, model, scopes.rows[whole])
        large = scopes.rows[whole] >= _AS_MANY * most[model]
        # By name among equals: the order of the scopes must not decide.
        age, keys = scopes.age_windows[whole], [scopes.key[at] for at in whole.tolist()]
        order = sorted(range(len(whole)), key=lambda i: (not large[i], -age[i], keys[i]))
        standard = {int(model[i]): int(whole[i]) for i in reversed(order)}
        other = np.array([standard[number] for number in model.tolist()], np.int64)
        compared = other != whole
        return cls(whole[compared], other[compared])


class VersionErrors(Remembering[VersionParams, Columns]):
    """How much larger a version's share of errors is than that of the version that serves most, once a minute.

    Parameters
    ----------
    params
        See :class:`VersionParams`.

    Notes
    -----
    O(S); 64 bytes of state per version. No baseline is needed, nor looked at. Ready where both versions have
    ``min_rows`` events in the window. It is blind to what the version that serves most does wrong.
    """

    kind: ClassVar[str] = "versions"
    state_version: ClassVar[int] = 1
    blank = _BLANK
    params_type = VersionParams
    bank_type = Columns

    def __init__(self, params: VersionParams | None = None) -> None:
        super().__init__(params)
        self._limit = -float(np.log(self.params.false_alarm_ratio))
        self._cap = (self._limit + float(np.log(len(_TIMES)))) / _WINDOWS

    def step(self, windows: WindowBatch) -> Scores:
        """Score every version that is served beside another, then learn."""
        scopes, params, S = windows.scopes, self.params, len(windows.scopes.id)
        beside = _Beside.of(scopes)
        enough = np.minimum(scopes.rows[beside.place], scopes.rows[beside.other]) >= params.min_rows
        beside = _Beside(beside.place[enough], beside.other[enough])
        series = scopes.series["errors"][beside.place]
        self._state.reserve(series)
        counts = [
            scopes.errors[beside.place], scopes.rows[beside.place],
            scopes.errors[beside.other], scopes.rows[beside.other],
        ]  # fmt: skip
        won = self._bet(series, [column.astype(np.float64) for column in counts], windows.start_ms)
        ratio, usual = self._remember(series, counts)
        ready = np.zeros(S, np.bool_)
        ready[beside.place] = True
        score = np.maximum(ratio - usual, 0.0)
        since = np.zeros(S, np.int64)
        since[beside.place] = self._state["since_ms"][series]
        pairs = zip(beside.place.tolist(), beside.other.tolist(), strict=True)
        named = {place: scopes.key[other].model_version for place, other in pairs}
        measured = scoring.Measured(
            score=scoring.spread(score, beside.place, S),
            floor=params.floor_ratio,
            noise=scoring.spread(score * self._limit / np.maximum(won, self._limit / QUIET), beside.place, S),
            value=scoring.spread(ratio, beside.place, S),
            reference=scoring.spread(usual, beside.place, S),
            threshold=scoring.spread(usual + params.floor_ratio, beside.place, S),
            since_ms=since,
            note=lambda place: f"beside version {named[place]}, in the same minutes",
        )
        subject = scoring.Subject(scopes.series["errors"], np.arange(S), ["errors"] * S, scopes.rows)
        return scoring.scores(self.kind, "error ratio", subject, ready, measured)

    def _bet(self, series: Ints, counts: list[Floats], start_ms: int) -> Floats:
        """The logarithm of each version's mean capital float64[k], after the window has paid."""
        errors, rows, other_errors, other_rows = (column[:, None] for column in counts)
        usual = self.params.usual_factor
        odds = rows / other_rows * usual
        # The logarithms of p and 1 - p for odds o are those of o / (1 + o) and 1 / (1 + o).
        paid = errors * np.log(_TIMES) - (errors + other_errors) * (np.log1p(odds * _TIMES) - np.log1p(odds))
        capital, since = self._state["capital"], self._state["since_ms"]
        most = self._limit + float(np.log(len(_TIMES))) + self._cap
        paid = np.minimum(paid / self.params.design_effect, self._cap)
        capital[series], won = carried(capital[series], paid, most)
        # A window that does not double the mean bet begins no run: what luck wins before a fault is no part of it.
        before, lost = since[series], (won <= STARTED) | (np.exp(paid).mean(axis=1) < _DOUBLED)
        since[series] = np.where(lost, 0, np.where(before == 0, start_ms, before))
        return won

    def _remember(self, series: Ints, counts: list[Ints]) -> tuple[Floats, Floats]:
        """The shares of errors among the last events of each version, and of the one beside it: float64[k] each."""
        state, memory = self._state, self.params.memory_rows
        keep = memory / (memory + counts[1])
        for name, more in zip(_COUNTS, counts, strict=True):
            state[name][series] = state[name][series] * keep + more
        errors, rows, other_errors, other_rows = (state[name][series] for name in _COUNTS)
        return errors / rows, other_errors / other_rows
