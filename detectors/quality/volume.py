r"""Events per window against what the last half hour and the hour of the day lead to expect."""

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import scoring, special, state
from detectors.parameters import check_bounds
from detectors.protocol import Bools, Floats, Ints, Scores, WindowBatch
from detectors.seasonal.expectation import Expectation, SeasonalExpectation
from detectors.state import Columns
from schemas.scopes import Family


class VolumeParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ten-second windows: a model without traffic should not wait for the minute.

    ``floor_drop_ratio`` and ``floor_rise_ratio`` are the parts of the expectation, below 1 and above 1, that nobody
    minds; ``half_life`` and ``warmup`` count windows; ``min_expected`` events must be expected before a count says
    something: quiet scopes are judged over several windows together, ``max_windows`` at most. ``patience`` flagged
    windows in a row are a new regime, learned from scratch. ``seasonal`` lets the rhythms of day and week, once known,
    carry the expectation from hour to hour.
    """

    window_s: int = 10
    seasonal: bool = True
    floor_drop_ratio: float = 0.5
    floor_rise_ratio: float = 3.0
    half_life: int = 180
    warmup: int = 12
    min_expected: float = 10.0
    max_windows: int = 360
    patience: int = 360
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_drop_ratio=(0.001, 1), floor_rise_ratio=(1, 1000))
        check_bounds(self, half_life=(1, 10**6), warmup=(3, 10**4), min_expected=(5, 1e6), max_windows=(1, 10**5))
        check_bounds(self, patience=(2, 10**6), false_alarm_ratio=(1e-12, 0.1))


_BLANK: Final[dict[str, NDArray[Any]]] = {
    "level": np.zeros(()),
    "dispersion": np.ones(()),
    "zeros": np.zeros(()),
    "learned": np.zeros((), np.int64),
    "flagged": np.zeros((), np.int64),
    "rows": np.zeros((), np.int64),
    "windows": np.zeros((), np.int64),
    "exposure": np.zeros(()),
}
_MAX_LOG_SPREAD: Final = 0.5
"""Burstiness beyond this is not learned as noise: silence must remain news."""
_USUAL_SILENCE: Final = 0.02
"""A scope that is silent in more than this share of its windows is not news when silent."""
_CLIP: Final = 16.0
_LEFT_BEHIND: Final = 0.25
"""The part of what a version lost or gained that need not turn up at the others for it to count as moved."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What n series had in the windows that count together: events, windows, and windows weighed by their rhythm."""

    count: Ints
    windows: Ints
    exposure: Floats


class VolumeChange:
    r"""Logarithm of a scope's events over their expectation, in either direction.

    The expectation is $\lambda = \mathrm{clip}(\ell e^{c(t)}, u_-, u_+)$: $\ell$ is an exponentially weighted mean of
    the windows that were not flagged, each over $e^{c}$ of its time; $c$ is the rhythm of day and week, and $u$ what is
    usual now (:mod:`detectors.seasonal`), 0 and infinite until they are known. The dispersion
    $\varphi \ge 1$ that of $(x - \lambda)^2 / \lambda$, each term clipped, so that one burst does not blind it. The
    score is $|\ln((x + ½)/(\lambda + ½))|$. Noise joins the Poisson bound of $\lambda$ (Anscombe) with a
    multiplicative part $z \sqrt{(\varphi - 1)/\lambda}$.

    Parameters
    ----------
    params
        See :class:`VolumeParams`.

    Notes
    -----
    O(S); 64 bytes of state per series, and the seasonal 640. The first window of a scope is cut off by its start and is
    left out; while it warms up nothing is ready. Traffic that moves from one version of a model to another is no change
    of volume: the versions are learned anew. The label says which way: ``drop``, ``rise`` or ``no events``.

    References
    ----------
    .. [1] S. W. Roberts, "Control chart tests based on geometric moving averages", 1959.
    """

    kind: ClassVar[str] = "volume"
    state_version: ClassVar[int] = 2

    def __init__(self, params: VolumeParams | None = None) -> None:
        self.params = params or VolumeParams()
        self.window_s = self.params.window_s
        self._z = special.z_of(self.params.false_alarm_ratio)
        self._alpha = 1 - 0.5 ** (1 / self.params.half_life)
        self._state = Columns(_BLANK)
        self._season = SeasonalExpectation()

    def step(self, windows: WindowBatch) -> Scores:
        """Score every scope, then learn from those that are not flagged."""
        scopes, params = windows.scopes, self.params
        series = scopes.series["rows"]
        self._state.reserve(series)
        begun = scopes.age_windows > 0
        season = self._expectation(windows, series)
        count = self._state["rows"][series] + np.where(begun, scopes.rows, 0)
        n_windows = self._state["windows"][series] + begun
        exposure = self._state["exposure"][series] + np.where(begun, np.exp(season.rhythm), 0.0)
        learned = self._state["learned"][series]
        warm = learned >= params.warmup
        by_level = self._state["level"][series] * exposure
        expected = np.where(warm, np.clip(by_level, *self._bounds(season, n_windows)), by_level)
        per_window = expected / np.maximum(n_windows, 1)
        judged = warm & (expected >= params.min_expected)
        usual = (count == 0) & (self._state["zeros"][series] > _USUAL_SILENCE)
        score, floor, noise = self._score(series, count, expected)
        ready = judged & ~usual
        flagged = ready & (score >= floor) & (score > noise)
        moved = self._moved(windows, flagged, np.where(warm, per_window, 0.0))
        ready, flagged = ready & ~moved, flagged & ~moved
        # Where next to nothing was, there is traffic: a beginning, and not three times as much.
        awake = warm & ~judged & (count >= params.floor_rise_ratio * params.min_expected)
        self._afresh(series[moved | awake], windows.start_ms)
        limit = np.maximum(floor, noise)
        fell = count < expected
        measured = scoring.Measured(
            score=score,
            floor=floor,
            noise=noise,
            value=count / np.maximum(n_windows, 1),
            reference=per_window,
            threshold=((expected + 0.5) * np.exp(np.where(fell, -limit, limit)) - 0.5) / np.maximum(n_windows, 1),
            label=[_label(x, f) for x, f in zip(count.tolist(), fell.tolist(), strict=True)],
        )
        if params.seasonal:
            teaches, middle_ms = begun & ~flagged, windows.start_ms + windows.size_ms // 2
            self._season.learn(series, middle_ms, scopes.rows.astype(np.float64), teaches.astype(np.float64))
        # A scope too quiet for its windows is learned from all the same once it has waited long enough.
        due = begun & (~warm | judged | awake | (n_windows >= params.max_windows))
        for column, seen in (("rows", count), ("windows", n_windows), ("exposure", exposure)):
            self._state[column][series] = np.where(due, 0, seen)
        self._learn(series, due, flagged, _Seen(count, n_windows, exposure), windows.start_ms)
        subject = scoring.Subject(series, np.arange(len(series)), ["rows"] * len(series), count)
        return scoring.scores(self.kind, f"events per {params.window_s} s", subject, ready, measured)

    def _expectation(self, windows: WindowBatch, series: Ints) -> Expectation:
        if self.params.seasonal:
            return self._season.at(series, windows.start_ms + windows.size_ms // 2)
        none = np.zeros(len(series))
        return Expectation(none, none + np.nan, none - np.inf, none + np.inf, none, none, none)

    def _bounds(self, season: Expectation, n_windows: Ints) -> tuple[Floats, Floats]:
        """Between what the expectation of ``n_windows`` stays, float64[n] each; 0 and infinity where nothing is known.

        What is outside the usual range, and further from usual than the floors, is a finding however slowly it came.
        """
        known = np.isfinite(season.low)
        usual, low, high = (np.where(known, part, 0.0) for part in (season.usual, season.low, season.high))
        least = np.minimum(usual, low - np.log(self.params.floor_drop_ratio))
        most = np.maximum(usual, high - np.log(self.params.floor_rise_ratio))
        return np.where(known, n_windows * np.exp(least), 0.0), np.where(known, n_windows * np.exp(most), np.inf)

    def _afresh(self, series: Ints, start_ms: int) -> None:
        """Learn the level of ``series`` from scratch; where it has gone, their rhythm goes with it."""
        self._state.forget(series)
        if self.params.seasonal:
            self._season.release(series, start_ms)

    def _moved(self, windows: WindowBatch, flagged: Bools, usual: Floats) -> Bools:
        """Which of the flagged versions lost what other versions of their model gained, or the other way round.

        That is a rollout: a version that nobody asks any more is no silence. At least three quarters must have moved.
        """
        moved, keys = np.zeros(len(flagged), np.bool_), windows.scopes.key
        asked = {(keys[i].model, keys[i].segment) for i in np.flatnonzero(flagged).tolist() if keys}
        versions: dict[tuple[str, str], list[int]] = {}
        for place, key in enumerate(keys if asked else ()):
            if key.family is Family.PREDICTION and (key.model, key.segment) in asked:
                versions.setdefault((key.model, key.segment), []).append(place)
        dispersion = self._state["dispersion"][windows.scopes.series["rows"]]
        for places in versions.values():
            at = np.array(places)
            own = windows.scopes.rows[at] - usual[at]
            slack = _LEFT_BEHIND * np.abs(own) + self._z * np.sqrt((usual[at] * dispersion[at]).sum())
            balanced = np.where(own < 0, own.sum() >= -slack, own.sum() <= slack)
            moved[at] = flagged[at] & balanced & (len(at) > 1)
        return moved

    def _score(self, series: Ints, count: Ints, expected: Floats) -> tuple[Floats, Floats, Floats]:
        params = self.params
        some = np.maximum(expected, params.min_expected)
        ratio = np.log((count + 0.5) / (some + 0.5))
        fell = count < some
        settled = 1 + 1 / np.maximum(self._state["learned"][series], 1)
        widen = np.sqrt(settled)
        low = np.maximum(special.count_lower(some, self._z, widen), 0)
        high = special.count_upper(some, self._z, widen)
        poisson = np.where(fell, np.log((some + 0.5) / (low + 0.5)), np.log((high + 0.5) / (some + 0.5)))
        dispersion = self._state["dispersion"][series]
        burst = np.minimum(np.sqrt(np.maximum(dispersion - 1, 0) * settled / some), _MAX_LOG_SPREAD)
        floor = np.where(fell, -np.log(params.floor_drop_ratio), np.log(params.floor_rise_ratio))
        return np.abs(ratio), floor, np.hypot(poisson, self._z * burst)

    def _learn(self, series: Ints, due: Bools, flagged: Bools, seen: _Seen, start_ms: int) -> None:
        columns = self._state
        run = np.where(due, np.where(flagged, columns["flagged"][series] + 1, 0), columns["flagged"][series])
        regime = run >= self.params.patience
        columns["flagged"][series] = np.where(regime, 0, run)
        self._afresh(series[regime], start_ms)
        learns = due & ~flagged & (seen.windows > 0)
        s = series[learns]
        n, count, exposure = columns["learned"][s], seen.count[learns], seen.exposure[learns]
        rate = count / exposure
        level, dispersion = columns["level"][s], columns["dispersion"][s]
        expected = level * exposure
        surprise = np.minimum((count - expected) ** 2 / np.maximum(expected, 0.5), _CLIP * dispersion)
        # Windows in which little is expected say little about the level.
        weight = np.maximum(2 / (n + 2), 1 - (1 - self._alpha) ** np.minimum(seen.windows[learns], exposure))
        # The dispersion follows more slowly, and only once there is a level to differ from.
        slow = np.where(n >= 3, np.maximum(1 / (n + 1), self._alpha / 2), 0.0)
        columns["level"][s] = level + weight * (rate - level)
        columns["dispersion"][s] = np.maximum(dispersion + slow * (surprise - dispersion), 1.0)
        # An empty window says nothing about a scope of two events per window: chance alone makes it so.
        silent = (rate == 0) & (expected >= self.params.min_expected / 2)
        columns["zeros"][s] += np.maximum(1 / (n + 1), self._alpha) * (silent - columns["zeros"][s])
        columns["learned"][s] = np.minimum(n + 1, self.params.half_life * 2)

    def forget(self, series: Ints) -> None:
        """Drop what was learned of ``series``."""
        self._state.forget(series)
        self._season.forget(series)

    def to_bytes(self) -> bytes:
        """What was learned."""
        version = self.state_version
        parts = [bank.to_bytes(self.kind, version) for bank in (self._state, self._season)]
        return state.join(self.kind, version, parts)

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector = cls(msgspec.convert(params, VolumeParams))
        version = cls.state_version
        level, season = state.split(raw, cls.kind, version, 2)
        detector._state = Columns.from_bytes(level, cls.kind, version, _BLANK)
        detector._season = SeasonalExpectation.from_bytes(season, cls.kind, version)
        return detector


def _label(count: int, fell: bool) -> str:  # noqa: FBT001 - one of two words
    return "no events" if count == 0 else "drop" if fell else "rise"
