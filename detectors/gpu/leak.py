"""GPU memory that only grows, and when it will be full."""

from typing import Any, ClassVar, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import scoring, special
from detectors.gpu.gauges import beside, places_of
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Ints, Scores, WindowBatch
from detectors.remembering import Remembering
from detectors.sparse import SparseColumns

SPANS: Final = (12, 24, 48)
"""Windows over which growth is looked at: one, two and four hours of five-minute windows."""
_GIB: Final = 2.0**30
_STEADY: Final = 2.0
"""Standard deviations by which the rise may be steadier than it looks before it counts as levelling off."""
_SMALL_LOAD: Final = 0.01
_UNSURE: Final = 1e12
_FULL: Final = 0.95
_FORGET: Final = 1 / 288
"""Part of the way down to what is in use that a former height is forgotten by, per window: within a day or so."""
_BLANK: Final[dict[str, NDArray[Any]]] = {
    "used": np.full(SPANS[-1] + 1, np.nan),
    "busy": np.full(SPANS[-1] + 1, np.nan, np.float32),
    "peak": np.full((), -np.inf),
    "end_ms": np.zeros((), np.int64),
}


class LeakParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Worth a ticket when the memory would be full within ``horizon_h``."""

    window_s: int = 300
    horizon_h: float = 24.0
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 3_600), horizon_h=(0.1, 10_000), false_alarm_ratio=(1e-12, 0.1))


class GpuLeak(Remembering[LeakParams, SparseColumns]):
    r"""How many times over the memory that is free would be taken within the horizon, if it goes on growing as it does.

    With increments $d_i$ of the windows' means over a span of n, a leak is a mean increment that Student's t tells from
    0. A step of a caching allocator, and k of them, have $t^2 = n\,k / (n - k)$ at the most whatever their size: they
    are not steady, and do not count. From the growth of both halves, $g_1$ and $g_2$, follows how it goes on: each half
    span adds r times the one before, $r = g_2 / g_1$, taken larger by two standard deviations, and at most 1. What
    warms up levels off, and never gets there. Growth that the load explains is taken off first: what is held for the
    load cannot grow faster than in proportion to it. One span must tell the growth from chance; all that have been seen
    must lead there, so that an hour of something that has been levelling off for four is no leak. Nor is what regains
    a height from which it has come down before it was full: memory that is collected now and then, a server that warms
    up again. Only growth above what was held before the span counts.

    Parameters
    ----------
    params
        See :class:`LeakParams`.

    Notes
    -----
    O(G) for G GPUs; 600 bytes of state each. A window without telemetry starts it over. The value is the growth of the
    later half span, in GiB per hour, the threshold what would fill the rest within the horizon, and noise is the bound
    of t in the score's unit. An hour must have passed.

    References
    ----------
    .. [1] Student, "The probable error of a mean", 1908.
    .. [2] D. L. Wallace, "Bounds on normal approximations to Student's and the chi-square distributions", 1959.
    """

    kind: ClassVar[str] = "gpu_leak"
    state_version: ClassVar[int] = 1
    blank = _BLANK
    params_type = LeakParams
    bank_type = SparseColumns

    def __init__(self, params: LeakParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio / len(SPANS))

    def step(self, windows: WindowBatch) -> Scores:
        """Score every GPU whose memory has been known for an hour."""
        numeric = windows.numeric
        places = places_of(numeric, "memory_used_bytes")
        total = beside(numeric, places, "memory_total_bytes", numeric.max)
        busy = beside(numeric, places, "utilization_ratio", numeric.mean)
        used = numeric.mean[places]
        usable = (numeric.count[places] > 0) & ~np.isnan(used) & ~np.isnan(total)
        places, total, busy, used = places[usable], total[usable], busy[usable], used[usable]
        rows = self._remember(numeric.series[places], windows, used, busy, total)
        free = np.maximum(total - used, 0.01 * total)
        found = [self._growth(rows, span, free) for span in SPANS]
        score, noise, rate = _together(found)
        measured = scoring.Measured(
            score=score,
            floor=1.0,
            noise=noise,
            value=rate / _GIB,
            threshold=free / self.params.horizon_h / _GIB,
            note=lambda i: (
                f"{free[i] / _GIB:.1f} of {total[i] / _GIB:.1f} GiB are free, enough for {free[i] / rate[i]:.1f} h more"
                if rate[i] > 0
                else "it has stopped growing"
            ),
        )
        ready = np.ones(len(places), np.bool_)
        return scoring.scores(self.kind, "GiB per h", scoring.numeric_subject(numeric, places), ready, measured)

    def _remember(self, series: Ints, windows: WindowBatch, used: Floats, busy: Floats, total: Floats) -> Ints:
        rows = self._state.places(series)
        self._state.blank(rows[self._state["end_ms"][rows] != windows.start_ms])
        self._state["end_ms"][rows] = windows.start_ms + windows.size_ms
        leaving, peak = self._state["used"][rows, 0], self._state["peak"][rows]
        above = np.where(np.isfinite(peak), peak, used) - used
        peak = np.fmax(peak - _FORGET * above, leaving)
        self._state["peak"][rows] = np.where(peak < _FULL * total, peak, -np.inf)
        for name, values in (("used", used), ("busy", busy)):
            column = self._state[name]
            column[rows, :-1] = column[rows, 1:]
            column[rows, -1] = values
        return rows

    def _growth(self, rows: Ints, span: int, free: Floats) -> tuple[Floats, Floats, Floats]:
        """Score, noise and bytes per hour over the last ``span`` windows, float64[k]; NaN where it is too early."""
        used = self._state["used"][rows, -span - 1 :]
        steps = np.diff(used, axis=1)
        spread = steps.std(axis=1, ddof=1)
        half, window_h = span // 2, self.window_s / 3600
        explained = used[:, 0] * _load_growth(self._state["busy"][rows, -span - 1 :])
        first = steps[:, :half].sum(axis=1) - explained / 2
        second = steps[:, half:].sum(axis=1) - explained / 2
        ratio = _continuing(first, second, _scatter(steps) * np.sqrt(half))
        halves = self.params.horizon_h / (half * window_h)
        second = np.minimum(second, used[:, -1] - self._height(rows, span, free))
        score = np.maximum(second, 0) * _geometric(ratio, halves) / free
        mean = (first + second) / span
        bound = _student(self._z, span - 1) * spread / np.sqrt(span)
        noise = score * bound / np.where(mean > 0, mean, 1.0)
        return (
            np.where(mean > 0, score, np.where(np.isnan(mean), np.nan, 0.0)),
            noise,
            (steps[:, half:].sum(axis=1) / (half * window_h)),
        )

    def _height(self, rows: Ints, span: int, free: Floats) -> Floats:
        """The most that was held before the span and given back before it was all, float64[k]; -inf for nothing."""
        used = self._state["used"][rows]
        full = used >= _FULL * (used[:, -1] + free)[:, None]
        # From the newest back: what led to being full is no reassurance either.
        spent = np.logical_or.accumulate(full[:, ::-1], axis=1)[:, ::-1]
        before = np.where(spent, -np.inf, np.nan_to_num(used, nan=-np.inf))[:, : -span - 1]
        peak = np.where(spent[:, 0], -np.inf, self._state["peak"][rows])
        return np.asarray(np.maximum(before.max(axis=1, initial=-np.inf), peak), np.float64)


def _together(found: list[tuple[Floats, Floats, Floats]]) -> tuple[Floats, Floats, Floats]:
    """Score and noise over all spans, the least of both in its own way, and the rate of the span that is surest."""
    scores, noises, rates = (np.stack(column) for column in zip(*found, strict=True))
    doubt = np.where(scores > 0, noises / np.where(scores > 0, scores, 1.0), _UNSURE)
    surest = doubt.argmin(axis=0)[None, :]
    score = np.fmin.reduce(scores, axis=0)
    noise = score * np.take_along_axis(doubt, surest, axis=0)[0]
    return score, noise, np.take_along_axis(rates, surest, axis=0)[0]


def _load_growth(busy: NDArray[np.float32]) -> Floats:
    """By which part the load rose over a span, float64[k], from its first and last thirds; 0 where it is not known."""
    third = busy.shape[1] // 3
    early, late = (part.mean(axis=1).astype(np.float64) + _SMALL_LOAD for part in (busy[:, :third], busy[:, -third:]))
    # The thirds' middles are two thirds of the span apart.
    return np.asarray(np.nan_to_num(np.expm1(1.5 * np.maximum(np.log(late / early), 0))), np.float64)


def _scatter(steps: Floats) -> Floats:
    """Standard deviation of increments float64[k, n] about a straight line, float64[k]: levelling off is no noise."""
    at = np.arange(steps.shape[1]) - (steps.shape[1] - 1) / 2
    slope = steps @ at / (at @ at)
    rest = steps - steps.mean(axis=1, keepdims=True) - slope[:, None] * at
    return np.asarray(np.sqrt((rest**2).sum(axis=1) / (steps.shape[1] - 2)), np.float64)


def _continuing(first: Floats, second: Floats, error: Floats) -> Floats:
    """What each half span adds of the one before, 0…1, as steady as the errors of both halves allow: float64[k]."""
    grows = (first > 0) & (second > 0)
    a, b = np.where(grows, first, 1.0), np.where(grows, second, 1.0)
    ratio = b / a * (1 + _STEADY * np.hypot(error / a, error / b))
    return np.where(grows, np.minimum(ratio, 1.0), 1.0)


def _geometric(ratio: Floats, n: float) -> Floats:
    """The sum r + r² + … + rⁿ, float64[k]."""
    slack = np.maximum(1 - ratio, 1e-12)
    return np.where(ratio > 1 - 1e-9, n, ratio * -np.expm1(n * np.log(np.maximum(ratio, 1e-300))) / slack)


def _student(z: float, dof: int) -> float:
    """The quantile of Student's t where a standard normal is at ``z`` (Wallace)."""
    deviate = z * (8 * dof + 3) / (8 * dof + 1)
    return float(np.sqrt(dof * np.expm1(deviate**2 / dof)))
