"""Sudden change of a score's or a latency's level, without a baseline: River's ADWIN on window means."""

import math
from dataclasses import dataclass
from typing import ClassVar, Final, Self

import msgspec
import numpy as np

from detectors import scoring, state
from detectors.adapters.river_adwin import RiverAdwin
from detectors.parameters import check_bounds
from detectors.protocol import Bools, Floats, Ints, Role, Scores, WindowBatch


class AdwinParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor`` in standard deviations of single values for a score, ``floor_ratio`` as a factor for latency.

    ``delta`` is ADWIN's; ``warmup`` windows give the scale; a change is shown for ``hold`` windows; the first
    ``max_series`` series are watched: each is a River object.
    """

    window_s: int = 60
    delta: float = 0.002
    floor: float = 0.1
    floor_ratio: float = 1.2
    min_rows: int = 20
    warmup: int = 20
    hold: int = 3
    max_series: int = 2_000

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), delta=(1e-12, 0.5), floor=(0, 1e6), floor_ratio=(1, 1e6))
        check_bounds(self, min_rows=(1, 10**9), warmup=(5, 1_000), hold=(1, 1_000), max_series=(0, 10**6))


_LIMIT: Final = 50.0
_FLOORS: Final = 10.0
"""Standardised means are cut at 50, or at ten effect floors if that is more: one wild window must not fill ADWIN's
variance for good."""


@dataclass(slots=True)
class _Series:
    adwin: RiverAdwin
    seen: int = 0
    mean: float = 0.0
    m2: float = 0.0
    spread: float = 0.0
    held: int = 0
    effect: float = 0.0
    before: float = float("nan")
    after: float = float("nan")

    NUMBERS: ClassVar = ("seen", "mean", "m2", "spread", "held", "effect", "before", "after")

    def step(self, value: float, spread: float, floor: float, usual: float, params: AdwinParams) -> bool:
        """Learn a window's mean; False while warming up. ``usual`` is the baseline's, NaN without one."""
        if self.seen < params.warmup:
            self.seen += 1
            delta = value - self.mean
            self.mean += delta / self.seen
            self.m2 += delta * (value - self.mean)
            self.spread += (spread - self.spread) / self.seen
            return False
        scale = max((self.m2 / (self.seen - 1)) ** 0.5, 1e-3 * abs(self.mean), 1e-9)
        limit = max(_LIMIT, _FLOORS * floor * self.spread / scale)
        if self.adwin.update(min(max((value - self.mean) / scale, -limit), limit)):
            before, after = self.adwin.split()
            self.before, self.after = self.mean + before * scale, self.mean + after * scale
            self.effect = abs(after - before) * scale / max(self.spread, 1e-9)
            home = self.mean if math.isnan(usual) else usual
            # Whoever was told that it went away sees that it comes back: the way home is no second piece of news.
            self.held = 0 if _is_return(self.before - home, self.after - home, floor * self.spread) else params.hold
        elif self.held:
            self.held -= 1
        return True


def _is_return(before: float, after: float, floor: float) -> bool:
    """Whether a level ``after`` is as usual (0), or between that and where it was before."""
    return abs(after) < floor or (before * after > 0 and abs(after) < abs(before))


class AdwinChange:
    """Size of the last change that ADWIN found in a score's or latency's window means, 0 where there was none.

    A change back to what is usual, or towards it from the same side, is none: usual is the baseline's mean, or that of
    the warm-up where there is no baseline.

    Means (of latency, their logarithms) are standardised by their own first windows. ADWIN says whether the level has
    changed and holds its false alarms down itself, so there is no noise bound; the effect is counted in what matters:
    standard deviations of single scores, or the logarithm of a latency ratio.

    Parameters
    ----------
    params
        See :class:`AdwinParams`.

    Notes
    -----
    Some microseconds per series and window, 4 kB of state per series, at most ``max_series`` of them: the first to
    come.
    """

    kind: ClassVar[str] = "adwin"
    state_version: ClassVar[int] = 1

    def __init__(self, params: AdwinParams | None = None) -> None:
        self.params = params or AdwinParams()
        self.window_s = self.params.window_s
        self._series: dict[int, _Series] = {}

    def step(self, windows: WindowBatch) -> Scores:
        """Score every score and latency with ``min_rows`` values, after the warm-up."""
        numeric = windows.numeric
        places = np.flatnonzero((numeric.role == Role.SCORE) | (numeric.role == Role.LATENCY))
        latency = numeric.role[places] == Role.LATENCY
        mean, count = numeric.mean[places], numeric.count[places]
        usable = (count >= self.params.min_rows) & np.isfinite(mean) & (~latency | (mean > 0))
        value = np.where(latency, np.log(np.where(usable & latency, mean, 1.0)), mean)
        spread = np.where(latency, 1.0, np.sqrt(numeric.m2[places] / np.maximum(count, 1)))
        floor = np.where(latency, np.log(self.params.floor_ratio), self.params.floor)
        usual = np.where(numeric.has_baseline[places], numeric.ref_mean[places], np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            usual = np.where(latency, np.log(np.where(usual > 0, usual, np.nan)), usual)
        result = self._step(numeric.series[places], usable, np.column_stack((value, spread, floor, usual)))
        before, after = (np.where(latency, np.exp(x), x) for x in result[:, 1:].T)
        measured = scoring.Measured(
            score=result[:, 0],
            floor=floor,
            value=np.where(np.isnan(after), mean, after),
            reference=before,
        )
        return scoring.scores(self.kind, "mean", scoring.numeric_subject(numeric, places), usable, measured)

    def _step(self, series: Ints, usable: Bools, given: Floats) -> Floats:
        """Effect, level before and level after, float64[n, 3], from value, spread, floor and the usual level.

        NaN for nothing to say.
        """
        result = np.full((len(series), 3), np.nan)
        for row in np.flatnonzero(usable).tolist():
            one = self._series.get(int(series[row]))
            if one is None:
                if len(self._series) >= self.params.max_series:
                    continue
                one = self._series[int(series[row])] = _Series(RiverAdwin(self.params.delta))
            value, spread, floor, usual = given[row].tolist()
            if one.step(value, spread, floor, usual, self.params):
                result[row] = (one.effect, one.before, one.after) if one.held else (0.0, np.nan, np.nan)
        return result

    def forget(self, series: Ints) -> None:
        """Drop the ADWINs of ``series``."""
        for one in series.tolist():
            self._series.pop(one, None)

    def to_bytes(self) -> bytes:
        """The inputs and numbers of every series."""
        histories = [one.adwin.history for one in self._series.values()]
        rows = [[float(getattr(one, name)) for name in _Series.NUMBERS] for one in self._series.values()]
        arrays = {
            "series": np.array(list(self._series), np.int64),
            "numbers": np.array(rows, np.float64).reshape(-1, len(_Series.NUMBERS)),
            "lengths": np.array([len(h) for h in histories], np.int64),
            "history": np.concatenate([*histories, np.empty(0)]),
        }
        return state.pack(self.kind, self.state_version, arrays)

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        arrays = state.unpack(raw, cls.kind, cls.state_version)
        detector = cls(msgspec.convert(params, AdwinParams))
        ends = np.cumsum(arrays["lengths"])
        for i, series in enumerate(arrays["series"].tolist()):
            history = arrays["history"][ends[i] - arrays["lengths"][i] : ends[i]]
            seen, mean, m2, spread, held, effect, before, after = arrays["numbers"][i].tolist()
            adwin = RiverAdwin(detector.params.delta, history)
            one = _Series(adwin, int(seen), mean, m2, spread, int(held), effect, before, after)
            detector._series[series] = one
        return detector
