r"""The share of positives among a model's labels, beside its own long past: a sequential test, valid at any window.

A rate of some in a thousand takes days of labels to be known: a baseline of a few thousand has seen a handful of
positives. So what is compared with is everything that was told before, in blocks of ten minutes: K positives in M
labels, $p_0 = (K + ½)/(M + 1)$.

That past is believed up to a width on the scale of log-odds, $w = \sqrt{z^2 D / (M p_0 (1 - p_0)) + (2 \tau)^2}$: its
own error, and the standard deviation τ by which blocks differ from each other beyond chance (nights and weekends differ
too; before it is known, 0.1). Bets are on a rate beyond: against $q = \operatorname{logit}^{-1}(\operatorname{logit}
p_0 \pm w)$, on odds higher (lower) by factors of 1.1, 1.4 and 2. k positives of n labels pay

$$g = \left(k \ln \frac{q'}{q} + (n - k) \ln \frac{1 - q'}{1 - q}\right) / D,$$

so that $E\,e^g \le 1$ for every n while the rate lies within the width: binomial likelihood ratios are monotone in p.
D is the design effect, by which labels that come together count for fewer: the sum of (k − n p₀)² over that of
n p₀ (1 − p₀), of the last hours. Capital is carried from window to window in
the way of Shiryaev and Roberts; P(a finding within n windows) ≤ n · ``false_alarm_ratio``, as in
:mod:`detectors.drift.martingale`. No window pays more than a third of what it takes.

A block is added to the past unless the capital says that something is on.

References
----------
.. [1] A. Wald, "Sequential tests of statistical hypotheses", 1945.
.. [2] M. Pollak, "Optimal detection of a change in distribution", 1985 (Shiryaev and Roberts' procedure).
.. [3] J. G. Skellam, "A probability distribution derived from the binomial distribution by regarding the probability of
   success as variable between the sets of trials", 1948 (the beta-binomial).
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import scoring
from detectors.drift.betting import QUIET, STARTED, carried
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Ints, NumericColumns, Scores, WindowBatch
from detectors.remembering import Remembering
from detectors.state import Columns
from schemas.labels import LABEL

_STEPS: Final = np.log(np.array([1.1, 1.4, 2.0, 1 / 1.1, 1 / 1.4, 1 / 2.0]))
"""By how much the log-odds are bet to differ."""
_WINDOWS: Final = 3
"""Windows that it takes at least."""
_PRIOR_BLOCKS: Final = 6.0
_PRIOR_DESIGN: Final = 2.0
"""Before anything is known; it weighs as much as so many positives (and as many again as there are few negatives)."""
_PRIOR_POSITIVES: Final = 20.0
_DESIGN_MEMORY: Final = 0.5 ** (1 / 240)
_WILD: Final = 10.0
"""A window counts for no more than so many times what is usual: it is to be found, not to be allowed for."""
_NEVER: Final = -(2**62)
_BLANK: Final[dict[str, NDArray[Any]]] = {
    "capital": np.full(len(_STEPS), -np.inf),
    "positives": np.zeros(()),
    "labels": np.zeros(()),
    "blocks": np.zeros(()),
    "between": np.zeros(()),
    "block_positives": np.zeros(()),
    "block_labels": np.zeros(()),
    "block_ms": np.array(_NEVER),
    "recent_positives": np.zeros(()),
    "recent_labels": np.zeros(()),
    "squares": np.zeros(()),
    "variances": np.zeros(()),
    "since_ms": np.zeros((), np.int64),
}


class LabelRateParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor_odds`` is the factor of the odds below which nobody minds: 1.25 is a quarter more, or a fifth fewer.

    ``min_labels`` labels with ``min_positives`` positives, and as many negatives, make a past; ``block_min`` minutes
    are added to it at a time, ``half_life_d`` fades it. ``memory_labels`` is how many of the last labels tell the
    effect; ``past_z`` by how many standard errors the past may be wrong, ``spread_ratio`` the standard deviation of
    log-odds between blocks before it is known. After ``patience_d`` days all is learned anew.
    """

    window_s: int = 60
    floor_odds: float = 1.25
    min_labels: int = 2_000
    min_positives: int = 20
    block_min: int = 10
    half_life_d: float = 14.0
    memory_labels: int = 5_000
    past_z: float = 4.0
    spread_ratio: float = 0.1
    patience_d: float = 7.0
    false_alarm_ratio: float = 1e-6

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_odds=(1, 1_000), min_labels=(100, 10**9), block_min=(1, 1_440))
        check_bounds(self, min_positives=(5, 10**9), half_life_d=(0.1, 1e4), memory_labels=(100, 10**9))
        check_bounds(self, past_z=(0, 100), spread_ratio=(0, 10), patience_d=(0.01, 1e4))
        check_bounds(self, false_alarm_ratio=(1e-12, 0.1))


@dataclass(frozen=True, slots=True)
class _Told:
    """The k series of 0 and 1 in a window: ``places`` in its numbers, n labels of which ``positive`` are 1."""

    places: Ints
    series: Ints
    n: Floats
    positive: Floats
    start_ms: int

    @classmethod
    def of(cls, numeric: NumericColumns, start_ms: int) -> Self:
        """Labels that are 0 or 1: their sum of squares is no other than that of a Bernoulli variable."""
        named = np.array([name == LABEL for name in numeric.name], np.bool_)
        places = np.flatnonzero(named & (numeric.count > 0))
        n, mean = numeric.count[places].astype(np.float64), numeric.mean[places]
        binary = (numeric.min[places] >= 0) & (numeric.max[places] <= 1)
        binary &= np.abs(numeric.m2[places] - n * mean * (1 - mean)) <= 1e-6 * n
        places, n = places[binary], n[binary]
        return cls(places, numeric.series[places], n, np.round(n * mean[binary]), start_ms)


class LabelRate(Remembering[LabelRateParams, Columns]):
    """Factor by which the odds of a positive label differ from the model's own past, as a logarithm, once a minute.

    Parameters
    ----------
    params
        See :class:`LabelRateParams`.

    Notes
    -----
    O(S); 144 bytes of state per series. Labels that are no 0 and 1 are not ready:
    :class:`~detectors.drift.martingale.RankMartingale` watches numbers, and `categories` classes. The value is the
    share of positives among about the last ``memory_labels`` labels. Slow drift enters the past and is not found: the
    martingale compares with the fixed baseline.
    """

    kind: ClassVar[str] = "label_rate"
    state_version: ClassVar[int] = 1
    blank = _BLANK
    params_type = LabelRateParams
    bank_type = Columns

    def __init__(self, params: LabelRateParams | None = None) -> None:
        super().__init__(params)
        self._limit = -float(np.log(self.params.false_alarm_ratio))
        self._cap = (self._limit + float(np.log(len(_STEPS)))) / _WINDOWS

    def step(self, windows: WindowBatch) -> Scores:
        """Score every scope with labels of 0 and 1 and a past, then learn."""
        told, state, params = _Told.of(windows.numeric, windows.start_ms), self._state, self.params
        state.reserve(told.series)
        alike = self._alike(told.series)
        past, width = self._past(told.series, alike)
        least = np.minimum(state["positives"][told.series], (state["labels"] - state["positives"])[told.series])
        known = (state["labels"][told.series] >= params.min_labels) & (least >= params.min_positives)
        won = self._bet(told, past, width, alike, known)
        recent = self._remember(told, past)
        n = len(windows.numeric.series)
        ready = np.zeros(n, np.bool_)
        ready[told.places] = known
        score = np.abs(_logit(recent) - past)
        floor = np.maximum(np.log(params.floor_odds), width)
        signed = np.where(recent > _ratio(past), floor, -floor)
        label, since = [""] * n, np.zeros(n, np.int64)
        since[told.places] = state["since_ms"][told.series]
        for place, more in zip(told.places.tolist(), (signed > 0).tolist(), strict=True):
            label[place] = "more positives" if more else "fewer positives"
        measured = scoring.Measured(
            score=scoring.spread(score, told.places, n),
            floor=scoring.spread(floor, told.places, n),
            noise=scoring.spread(score * self._limit / np.maximum(won, self._limit / QUIET), told.places, n),
            value=scoring.spread(recent, told.places, n),
            reference=scoring.spread(_ratio(past), told.places, n),
            threshold=scoring.spread(_ratio(past + signed), told.places, n),
            label=label,
            since_ms=since,
        )
        self._learn_alike(told, _ratio(past), alike, won)
        self._learn(told, won)
        return scoring.scores(self.kind, "positive", scoring.numeric_subject(windows.numeric), ready, measured)

    def _alike(self, series: Ints) -> Floats:
        """The design effects as learned before this window: float64[k], at least 1."""
        squares = self._state["squares"][series] + _PRIOR_DESIGN * _PRIOR_POSITIVES
        return np.maximum(squares / (self._state["variances"][series] + _PRIOR_POSITIVES), 1.0)

    def _learn_alike(self, told: _Told, ratio: Floats, alike: Floats, won: Floats) -> None:
        expected = told.n * ratio
        variance = expected * (1 - ratio)
        square = np.minimum((told.positive - expected) ** 2, _WILD * alike * np.maximum(variance, 1.0))
        learns = (self._state["labels"][told.series] >= self.params.min_labels) & (won < self._limit / 2)
        for name, more in (("squares", square), ("variances", variance)):
            column = self._state[name]
            column[told.series] = np.where(learns, column[told.series] * _DESIGN_MEMORY + more, column[told.series])

    def _past(self, series: Ints, alike: Floats) -> tuple[Floats, Floats]:
        """The log-odds of the past, and the width up to which they are believed: float64[k] each."""
        state, params = self._state, self.params
        positives, labels = state["positives"][series] + 0.5, state["labels"][series] + 1.0
        error = alike / (positives * (1 - positives / labels))
        # Between blocks: what their squares about the mean are more than chance makes them, on the scale of log-odds.
        blocks = state["blocks"][series]
        between = np.maximum(state["between"][series], 0.0) + _PRIOR_BLOCKS * params.spread_ratio**2
        spread = between / (blocks + _PRIOR_BLOCKS)
        return np.log(positives / (labels - positives)), np.sqrt(params.past_z**2 * error + 4 * spread)

    def _bet(self, told: _Told, past: Floats, width: Floats, alike: Floats, known: NDArray[np.bool_]) -> Floats:
        """The logarithm of each series' mean capital float64[k], after the window has paid."""
        capital = self._state["capital"]
        edge = past[:, None] + np.sign(_STEPS) * width[:, None]
        paid = _paid(edge, edge + _STEPS, told.n[:, None], told.positive[:, None]) / alike[:, None]
        paid = np.where(known[:, None], np.minimum(paid, self._cap), -np.inf)
        most = self._limit + float(np.log(len(_STEPS))) + self._cap
        capital[told.series], won = carried(capital[told.series], paid, most)
        since = self._state["since_ms"]
        before = since[told.series]
        since[told.series] = np.where(won <= STARTED, 0, np.where(before == 0, told.start_ms, before))
        return won

    def _remember(self, told: _Told, past: Floats) -> Floats:
        """The share of positives among the last labels: float64[k], inside 0…1."""
        keep = self.params.memory_labels / (self.params.memory_labels + told.n)
        for name, more in (("recent_positives", told.positive), ("recent_labels", told.n)):
            column = self._state[name]
            column[told.series] = column[told.series] * keep + more
        positives, labels = (self._state[name][told.series] for name in ("recent_positives", "recent_labels"))
        return np.asarray((positives + _ratio(past)) / (labels + 1), np.float64)

    def _learn(self, told: _Told, won: Floats) -> None:
        """Add blocks that are over to the past, but for those in which something is on."""
        state, series, params = self._state, told.series, self.params
        state["block_ms"][series] = np.where(
            state["block_ms"][series] == _NEVER, told.start_ms, state["block_ms"][series]
        )
        over = told.start_ms - state["block_ms"][series] >= params.block_min * 60_000
        quiet = over & (won < self._limit / 2)
        self._add(series[quiet], told.start_ms)
        for name, more in (("block_positives", told.positive), ("block_labels", told.n)):
            state[name][series] = np.where(over, 0.0, state[name][series]) + more
        state["block_ms"][series] = np.where(over, told.start_ms, state["block_ms"][series])
        since = state["since_ms"][series]
        state.forget(series[(since > 0) & (told.start_ms - since > params.patience_d * 86_400_000)])

    def _add(self, series: Ints, now_ms: int) -> None:
        state = self._state
        k, n = state["block_positives"][series], state["block_labels"][series]
        keep = 0.5 ** ((now_ms - state["block_ms"][series]) / 86_400_000 / self.params.half_life_d)
        positives, labels = state["positives"][series] + 0.5, state["labels"][series] + 1.0
        expected = n * positives / labels
        variance = np.maximum(expected * (1 - positives / labels), 1e-9)
        # (k - np)² has the mean np(1-p)·D + (np(1-p))²·τ² if log-odds vary by τ: solved for τ², block by block.
        excess = ((k - expected) ** 2 - variance * self._alike(series) * (1 + n / labels)) / variance**2
        told = (variance >= 5.0) & (state["labels"][series] >= self.params.min_labels)
        for name, more in (("blocks", told), ("between", np.where(told, excess, 0.0)), ("positives", k), ("labels", n)):
            state[name][series] = state[name][series] * keep + more


def _paid(null: Floats, other: Floats, n: Floats, positive: Floats) -> Floats:
    """The log-likelihood ratio of n labels, given log-odds."""
    ratio = positive * (other - null) + n * (np.logaddexp(0, null) - np.logaddexp(0, other))
    return np.asarray(ratio, np.float64)


def _logit(ratio: Floats) -> Floats:
    return np.asarray(np.log(ratio / (1 - ratio)), np.float64)


def _ratio(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-log_odds)), np.float64)
