r"""Labels that are overdue, by what the model's past and its traffic lead one to expect.

Labels come as a trickle, or in files once a day, and always late: how late, nothing in a label says. What can be told
is how far they have fallen behind. A deficit gathers what is expected and does not come,

$$D \leftarrow \max(0, D + (1 - k)\,e - x),$$

with x the labels of a window, e those expected and k an allowance, so that a few less never add up. Over what is
allowed in a usual minute it is a time: the labels are so many minutes behind. A file that comes after a day pays it
back at once, so the same sum serves streams and files; how far behind they are *usually* before that happens is the
rhythm, and is learned.

Expected is the mean of a day or so (exponential weights), times the quietest traffic of the last half day or so over
its mean: labels that follow a quiet night must not be missed in the morning, whenever it is that they come.

If x is Poisson of mean e or more, $e^{\theta D}$ with $(1 - k)\,\theta = 1 - e^{-\theta}$ grows by no more than one a
window (Lundberg's exponent): D is over $\ln(1/\alpha)/\theta$ labels in no more than about α of the windows, whatever
their volume. What comes in bursts, or in files, is further behind than that again and again: how far it gets before it
is over has a mean m and a standard deviation s, and m + s·ln(1/(αm)) is what an exponential tail of the same spread is
over in α of the windows, m counted in windows. A file that comes by the clock has next to no spread.

References
----------
.. [1] E. S. Page, "Continuous inspection schemes", 1954.
.. [2] S. Asmussen, H. Albrecher, "Ruin probabilities", 2010, chapter IV (Lundberg's inequality).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Final

import msgspec
import numpy as np

from detectors import scoring
from detectors.parameters import check_bounds
from detectors.protocol import Bools, Floats, Ints, Scores, WindowBatch
from detectors.remembering import Remembering
from detectors.state import Columns
from schemas.scopes import Family

QUANTITY: Final = "labels"
_MINUTE_MS: Final = 60_000
_TRAFFIC_HALF_LIFE_MIN: Final = 5.0
_IDLE: Final = 0.05
_CUT: Final = 1.5
"""What is held is cut at so many times the limit: a finding ends soon after labels come again, lost ones or not."""
_NEVER: Final = -(2**62)
_BLANK: Final = {
    "labels": np.zeros(()),
    "asked": np.zeros(()),
    "minutes": np.zeros(()),
    "traffic": np.zeros(()),
    "traffic_weight": np.zeros(()),
    "quietest": np.array(np.inf),
    "deficit": np.zeros(()),
    "missing": np.zeros(()),
    "peak_min": np.zeros(()),
    "longest_min": np.zeros(()),
    "once_min": np.zeros(()),
    "rounds": np.zeros(()),
    "mean_min": np.zeros(()),
    "spread_min2": np.zeros(()),
    "flagged": np.zeros((), np.bool_),
    "first_ms": np.array(_NEVER),
    "since_ms": np.array(_NEVER),
    "seen_ms": np.array(_NEVER),
    "last_ms": np.array(_NEVER),
}


class LabelDelayParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor_min`` minutes behind that nobody minds; ``allowance_ratio`` of the labels may be missing for good.

    ``margin`` times as far behind as ever is too far. A scope is judged from ``min_labels`` labels on, once it was
    watched for ``rounds`` times as long as what would be too late. ``half_life_h`` is of the mean,
    ``quiet_half_life_h`` of the quietest traffic, ``rhythm_half_life_d`` of how far behind they get. After
    ``patience_d`` days overdue all is learned anew. ``false_alarm_ratio`` is of windows in which chance
    alone may hold so much back.
    """

    window_s: int = 60
    floor_min: float = 10.0
    allowance_ratio: float = 0.25
    margin: float = 1.5
    rounds: float = 3.0
    min_labels: int = 200
    half_life_h: float = 24.0
    quiet_half_life_h: float = 12.0
    rhythm_half_life_d: float = 14.0
    patience_d: float = 7.0
    false_alarm_ratio: float = 1e-6

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_min=(0, 1e6), allowance_ratio=(0.05, 0.9), margin=(1, 100))
        check_bounds(self, rounds=(1, 100), min_labels=(20, 10**9), half_life_h=(0.1, 1e4), patience_d=(0.01, 1e4))
        check_bounds(self, quiet_half_life_h=(0.1, 1e4), rhythm_half_life_d=(0.1, 1e4), false_alarm_ratio=(1e-12, 0.1))


def lundberg(allowance_ratio: float) -> float:
    r"""The θ > 0 of $(1 - k)\,\theta = 1 - e^{-\theta}$, for an allowance k of 0…1, exclusive.

    Examples
    --------
    >>> round(lundberg(0.25), 3)
    0.606
    """
    low, high = 1e-9, 1 / (1 - allowance_ratio) + 1
    for _ in range(80):
        middle = (low + high) / 2
        below = (1 - allowance_ratio) * middle < 1 - np.exp(-middle)
        low, high = (middle, high) if below else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class _Window:
    """The k label scopes of a window: ``minutes`` float64[k] since their last one, ``came`` and ``asked`` in it."""

    series: Ints
    start_ms: int
    minutes: Floats
    came: Floats
    asked: Floats


class LabelDelay(Remembering[LabelDelayParams, Columns]):
    """Minutes that the labels of a model are behind, each worth as many as usual, against how far they usually get.

    Parameters
    ----------
    params
        See :class:`LabelDelayParams`.

    Notes
    -----
    O(S); 137 bytes of state per series. Counts late labels too: a file has no order. Without the traffic of the model
    its labels' own mean is all that is expected. Where traffic has stopped nothing is expected, and nothing is ready.
    A rhythm longer than what was watched is learned in two rounds: whoever labels on weekdays is missed on two
    weekends. The label of the score is ``no labels`` or ``fewer``.
    """

    kind: ClassVar[str] = "label_delay"
    state_version: ClassVar[int] = 1
    blank = _BLANK
    params_type = LabelDelayParams
    bank_type = Columns

    def __init__(self, params: LabelDelayParams | None = None) -> None:
        super().__init__(params)
        self._theta = lundberg(self.params.allowance_ratio)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every scope of labels, then learn from those that are not overdue."""
        scopes, params = windows.scopes, self.params
        places = np.array([i for i, family in enumerate(scopes.family) if family is Family.LABEL], np.int64)
        now = self._window(windows, scopes.series["rows"][places], places)
        level, expected = self._expected(now)
        usual = np.maximum(level, 1e-9)
        chance = -np.log(params.false_alarm_ratio) / self._theta / (usual * (1 - params.allowance_ratio))
        noise = np.maximum(self._rhythm(now.series), chance)
        limit = np.maximum(params.floor_min, noise)
        ready = self._ready(now, limit) & (expected > 0)
        behind, missing = self._gather(now, usual, expected, limit)
        flagged = ready & (behind >= params.floor_min) & (behind > noise)
        self._remember(now, missing, flagged)
        last = self._state["last_ms"][now.series]
        measured = scoring.Measured(
            score=behind,
            floor=params.floor_min,
            noise=noise,
            value=missing,
            reference=self._state["longest_min"][now.series],
            threshold=limit,
            label=["fewer" if came else "no labels" for came in now.came.tolist()],
            since_ms=self._state["since_ms"][now.series],
            note=lambda place: (
                f"{expected[place]:,.3g} a minute are expected, the last came at {_clock(int(last[place]))}"
            ),
        )
        # A model that nobody asks has no labels to tell a mean by.
        idle = (now.came == 0) & (expected < _IDLE * level)
        self._learn(now, ~idle & ~self._state["flagged"][now.series])
        rows = self._state["labels"][now.series].astype(np.int64)
        subject = scoring.Subject(now.series, places, [QUANTITY] * len(places), rows)
        return scoring.scores(self.kind, "min overdue", subject, ready, measured)

    def _window(self, windows: WindowBatch, series: Ints, places: Ints) -> _Window:
        scopes, state = windows.scopes, self._state
        state.reserve(series)
        came = (scopes.rows + scopes.late)[places].astype(np.float64)
        known = state["seen_ms"][series] > _NEVER
        begun = state["first_ms"][series] > _NEVER
        state["first_ms"][series] = np.where(begun | (came == 0), state["first_ms"][series], windows.start_ms)
        seen = np.where(known, state["seen_ms"][series], windows.start_ms - windows.size_ms)
        state["seen_ms"][series] = windows.start_ms
        state["last_ms"][series] = np.where(came > 0, windows.start_ms + windows.size_ms, state["last_ms"][series])
        minutes = np.maximum(windows.start_ms - seen, windows.size_ms) / _MINUTE_MS
        served = windows.served.rows[places] if len(windows.served.rows) else np.full(len(places), np.nan)
        return _Window(series, windows.start_ms, minutes, came, served * _MINUTE_MS / windows.size_ms)

    def _expected(self, now: _Window) -> tuple[Floats, Floats]:
        """Labels a minute, float64[k] each: the mean, and as many of them as the traffic lets expect."""
        state, series = self._state, now.series
        known = ~np.isnan(now.asked)
        step = np.where(known, 1 - 0.5 ** (now.minutes / _TRAFFIC_HALF_LIFE_MIN), 0.0)
        state["traffic"][series] += step * (np.nan_to_num(now.asked) - state["traffic"][series])
        state["traffic_weight"][series] += step * (1 - state["traffic_weight"][series])
        weight = state["traffic_weight"][series]
        traffic = np.where(weight >= 0.5, state["traffic"][series] / np.maximum(weight, 0.5), np.inf)
        faded = state["quietest"][series] * 2 ** (now.minutes / 60 / self.params.quiet_half_life_h)
        state["quietest"][series] = np.minimum(faded, traffic)
        minutes = np.maximum(state["minutes"][series], 1e-9)
        asked = state["asked"][series] / minutes
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(asked > 0, np.minimum(state["quietest"][series] / asked, 1.0), 1.0)
        level = np.asarray(state["labels"][series] / minutes, np.float64)
        return level, level * share

    def _ready(self, now: _Window, limit: Floats) -> Bools:
        state, series = self._state, now.series
        until = np.where(state["deficit"][series] > 0, state["since_ms"][series], now.start_ms)
        watched = (until - state["first_ms"][series]) / _MINUTE_MS
        enough = (state["labels"][series] >= self.params.min_labels) & (state["first_ms"][series] > _NEVER)
        return np.asarray(enough & (watched >= self.params.rounds * limit), np.bool_)

    def _gather(self, now: _Window, usual: Floats, expected: Floats, limit: Floats) -> tuple[Floats, Floats]:
        """Usual minutes behind, as held for the decision and as they are: float64[k] each."""
        state, series = self._state, now.series
        before = state["deficit"][series]
        left = 1 - self.params.allowance_ratio
        most = np.maximum(_CUT * limit * usual * left, before)
        deficit = np.clip(before + left * expected * now.minutes - now.came, 0.0, most)
        missing = np.maximum(state["missing"][series] + expected * now.minutes - now.came, 0.0)
        began = now.start_ms + self.window_s * 1000 - (now.minutes * _MINUTE_MS).astype(np.int64)
        state["since_ms"][series] = np.where((before > 0) & (deficit > 0), state["since_ms"][series], began)
        state["deficit"][series], state["missing"][series] = deficit, np.where(deficit > 0, missing, 0.0)
        return deficit / (usual * left), state["missing"][series] / usual

    def _rhythm(self, series: Ints) -> Floats:
        """How far behind, in minutes float64[k], is no news: by the longest there was, and by how they differ."""
        state, params = self._state, self.params
        mean, rounds = state["mean_min"][series], state["rounds"][series]
        # Before it is known the spread is taken for half the mean.
        spread = np.sqrt((state["spread_min2"][series] + (mean / 2) ** 2) / (rounds + 1))
        windows = np.maximum(mean * 60 / self.window_s, 1.0)
        tail = np.log(1 / np.minimum(params.false_alarm_ratio * windows, 0.5))
        return np.asarray(np.maximum(params.margin * state["longest_min"][series], mean + tail * spread), np.float64)

    def _remember(self, now: _Window, missing: Floats, flagged: Bools) -> None:
        """Learn the rhythm: how far behind they were when they caught up. Once may be a fault, twice is a rhythm."""
        state, series = self._state, now.series
        fade = 0.5 ** (now.minutes / 1_440 / self.params.rhythm_half_life_d)
        for name in ("longest_min", "once_min", "rounds", "spread_min2"):
            state[name][series] *= fade
        peak, was_flagged, once = (state[name][series] for name in ("peak_min", "flagged", "once_min"))
        over = (state["deficit"][series] == 0) & (peak > 0)
        told = np.where(was_flagged, np.minimum(peak, once), peak)
        longest = state["longest_min"][series]
        state["longest_min"][series] = np.where(over, np.maximum(longest, told), longest)
        state["once_min"][series] = np.where(over & was_flagged, np.maximum(once, peak), once)
        self._average(series[over & (told > 0)], told[over & (told > 0)])
        over = state["deficit"][series] == 0
        state["peak_min"][series] = np.where(over, 0.0, np.maximum(peak, missing))
        state["flagged"][series] = np.where(over, flagged, was_flagged | flagged)
        overdue_ms = now.start_ms - state["since_ms"][series]
        state.forget(series[state["flagged"][series] & (overdue_ms > self.params.patience_d * 1_440 * _MINUTE_MS)])

    def _average(self, series: Ints, peak: Floats) -> None:
        """Add one round to mean and spread (Welford, with fading weights)."""
        state = self._state
        rounds, before = state["rounds"][series] + 1, state["mean_min"][series]
        mean = before + (peak - before) / rounds
        state["spread_min2"][series] += (peak - before) * (peak - mean)
        state["rounds"][series], state["mean_min"][series] = rounds, mean

    def _learn(self, now: _Window, learns: Bools) -> None:
        state, series, minutes = self._state, now.series[learns], now.minutes[learns]
        keep = 0.5 ** (minutes / 60 / self.params.half_life_h)
        asked = np.nan_to_num(now.asked[learns]) * minutes
        for name, more in (("labels", now.came[learns]), ("asked", asked), ("minutes", minutes)):
            state[name][series] = state[name][series] * keep + more


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M UTC on %Y-%m-%d")
