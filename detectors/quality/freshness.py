r"""Age of what a feature store serves, against what it has been: a job that stopped, a shard that lags."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import ClassVar, Final

import msgspec
import numpy as np

from detectors import scoring, special
from detectors.latency.noise import GRAIN, enough, quantile_noise
from detectors.parameters import check_bounds
from detectors.protocol import Bools, Floats, Ints, Scores, WindowBatch
from detectors.remembering import Remembering
from detectors.state import Columns
from schemas.scopes import Family, Scope

QUANTITY: Final = "freshness_ms"
_NAMES: Final = ("p50", "p95")
_P95: Final = 1
_BLANK = {
    "usual": np.zeros(len(_NAMES)),
    "peak": np.zeros(len(_NAMES)),
    "flagged": np.zeros(len(_NAMES), np.bool_),
    "learned": np.zeros((), np.int64),
}


class FreshnessLimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``limit_ms`` > 0 of age for the feature sets whose name matches ``feature_set``, a glob (``"user-*"``)."""

    feature_set: str
    limit_ms: float

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, limit_ms=(1, 1e12))


class FreshnessParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor_ratio`` 2 says that twice as old is the least that matters, ``min_rise_ms`` that a few seconds never do.

    ``warmup`` windows are learned before anything is said: refreshes that come more often are known after it. The first
    of ``limits`` whose glob matches holds in place of all that: its p95 may not be over it.
    """

    window_s: int = 60
    floor_ratio: float = 2.0
    min_rise_ms: float = 10_000.0
    warmup: int = 30
    min_rows: int = 20
    min_beyond: float = 5.0
    design_effect: float = 4.0
    false_alarm_ratio: float = 1e-4
    limits: tuple[FreshnessLimit, ...] = ()

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(1.01, 1000), min_rise_ms=(0, 1e12), warmup=(1, 10**5))
        check_bounds(self, min_rows=(1, 10**9), min_beyond=(1, 1e6), design_effect=(1, 1000))
        check_bounds(self, false_alarm_ratio=(1e-12, 0.1))


class Freshness(Remembering[FreshnessParams, Columns]):
    r"""Logarithm of the worse of p50 and p95 of the age over what is usual; or p95 over a limit that somebody has set.

    Ages rise by a second a second until the next refresh, so it is their peaks that must be known. What is usual is the
    largest of the baseline's quantile, those of the warm-up, and every later peak after which the age fell to less than
    half: while it only rises nothing is learned, or a job that stopped would vouch for itself; nor is a peak that was
    flagged. Noise is that of order statistics (:mod:`detectors.latency.noise`); ages that come from one refresh are
    not independent, hence the design effect. An age below 0, of a clock that is ahead, counts as none.

    Parameters
    ----------
    params
        See :class:`FreshnessParams`.

    Notes
    -----
    O(k) for k feature sets; 42 bytes of state per series. Feature sets that are refreshed less often than every
    ``warmup`` windows look stale in their first cycle: give them a limit, or a baseline of more than one cycle.
    """

    kind: ClassVar[str] = "freshness"
    state_version: ClassVar[int] = 1
    blank = _BLANK
    params_type = FreshnessParams
    bank_type = Columns

    def __init__(self, params: FreshnessParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio / len(_NAMES))

    def step(self, windows: WindowBatch) -> Scores:
        """Score every feature set whose events say when their values were computed."""
        numeric, params, state = windows.numeric, self.params, self._state
        features = np.array([family is Family.FEATURE for family in windows.scopes.family], np.bool_)
        own = np.flatnonzero(features[numeric.scope])
        places = np.array([i for i in own.tolist() if numeric.name[i] == QUANTITY], np.int64)
        series = numeric.series[places]
        state.reserve(series)
        age = np.maximum(numeric.quantiles[places, : len(_NAMES)], 0)
        count = numeric.count[places].astype(np.float64)
        seen = count >= params.min_rows
        usable = enough(count, params.min_beyond)[:, : len(_NAMES)] & seen[:, None] & ~np.isnan(age)
        of_baseline = np.nan_to_num(np.maximum(numeric.ref_quantiles[places, : len(_NAMES)], 0))
        usual = np.maximum(state["usual"][series], of_baseline)
        limit = self._limits(windows.scopes.key, numeric.scope[places])
        warm = (state["learned"][series] >= params.warmup) & numeric.has_baseline[places]
        by_past = self._against_past(age, usual, usable & warm[:, None], self._noise(windows, places))
        self._learn(series, age, usable, (by_past.score > 0)[:, None] & _over(age, usual, params))
        limited = ~np.isnan(limit)
        measured = _either(limited, self._against_limit(age[:, _P95], limit, usual), by_past)
        ready = np.where(limited, usable[:, _P95], (usable & warm[:, None]).any(axis=1))
        return scoring.scores(self.kind, "ms", scoring.numeric_subject(numeric, places), ready, measured)

    def _noise(self, windows: WindowBatch, places: Ints) -> Floats:
        numeric = windows.numeric
        N, M = (np.maximum(count[places], 1).astype(np.float64) for count in (numeric.count, numeric.ref_count))
        variance = self.params.design_effect * (1 / N + 1 / M)
        ages = np.maximum(numeric.ref_quantiles[places], 1.0)
        return GRAIN + self._z * quantile_noise(ages, variance)[:, : len(_NAMES)]

    def _against_past(self, age: Floats, usual: Floats, usable: Bools, noise: Floats) -> scoring.Measured:
        floor = float(np.log(self.params.floor_ratio))
        rise = np.where(age - usual >= self.params.min_rise_ms, np.log(np.maximum(age, 1) / np.maximum(usual, 1)), 0.0)
        # A quantile whose noise exceeds the floor counts for less in proportion: so one score can stand for both.
        weight = np.minimum(1, floor / np.maximum(noise, 1e-12))
        score = np.where(usable, np.maximum(rise, 0) * weight, -1.0)
        worst = score.argmax(axis=1)
        row = np.arange(len(worst))
        noise = noise[row, worst] * weight[row, worst]
        return scoring.Measured(
            score=score[row, worst],
            floor=np.full(len(row), floor),
            noise=noise,
            value=age[row, worst],
            reference=usual[row, worst],
            threshold=np.maximum(
                usual[row, worst] * np.exp(np.maximum(floor, noise / np.maximum(weight[row, worst], 1e-12))),
                usual[row, worst] + self.params.min_rise_ms,
            ),
            label=[_NAMES[i] for i in worst.tolist()],
        )

    @staticmethod
    def _against_limit(age: Floats, limit: Floats, usual: Floats) -> scoring.Measured:
        return scoring.Measured(
            score=age / limit,
            floor=np.ones(len(age)),
            noise=np.zeros(len(age)),
            value=age,
            reference=usual[:, _P95],
            threshold=limit,
            label=[_NAMES[_P95]] * len(age),
        )

    def _limits(self, keys: Sequence[Scope], scope: Ints) -> Floats:
        """The limit of each series, ms: float64[k], NaN for none."""
        names = [keys[place].model if keys else "" for place in scope.tolist()]
        return np.array([self._limit(name) for name in names], np.float64)

    def _limit(self, name: str) -> float:
        own = (limit.limit_ms for limit in self.params.limits if fnmatchcase(name, limit.feature_set))
        return next(own, float("nan"))

    def _learn(self, series: Ints, age: Floats, usable: Bools, flagged: Bools) -> None:
        state = self._state
        usual, peak, tainted = state["usual"][series], state["peak"][series], state["flagged"][series]
        learned = state["learned"][series]
        warming = (learned < self.params.warmup)[:, None]
        refreshed = usable & (age < peak / 2)
        usual = np.where(usable & warming, np.maximum(usual, age), usual)
        usual = np.where(refreshed & ~tainted, np.maximum(usual, peak), usual)
        state["usual"][series] = usual
        state["peak"][series] = np.where(usable, np.where(refreshed, age, np.maximum(peak, age)), peak)
        state["flagged"][series] = np.where(usable, (tainted & ~refreshed) | flagged, tainted)
        state["learned"][series] = np.minimum(learned + usable.any(axis=1), self.params.warmup)


def _over(age: Floats, usual: Floats, params: FreshnessParams) -> Bools:
    """Which ages matter, noise not regarded: bool[k, 2]."""
    return np.asarray((age >= params.floor_ratio * usual) & (age - usual >= params.min_rise_ms), np.bool_)


def _either(limited: Bools, by_limit: scoring.Measured, by_past: scoring.Measured) -> scoring.Measured:
    """The first where ``limited`` bool[k] holds, the second elsewhere."""
    columns = {
        name: np.where(limited, getattr(by_limit, name), getattr(by_past, name))
        for name in ("score", "floor", "noise", "value", "reference", "threshold")
    }
    names = zip(limited.tolist(), by_limit.label or (), by_past.label or (), strict=True)
    return scoring.Measured(**columns, label=[one if is_limited else other for is_limited, one, other in names])
