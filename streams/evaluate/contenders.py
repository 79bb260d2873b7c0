"""Who is compared: the default of Halcyon, what anyone would try first, River's, and every registered detector."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.adapters.river_anomaly import DETECTORS as RIVER
from detectors.adapters.river_anomaly import RiverAnomaly
from detectors.registry import REGISTRY
from detectors.series.plain import FixedLimit, PeriodicAlarm, RollingZ
from detectors.series.protocol import SeriesDetector
from detectors.series.surprise import THRESHOLD, SeriesSurprise
from streams.errors import ConfigError
from streams.evaluate.banks import FIRING, BankOnSeries

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BASELINE_WINDOWS: Final = 20
"""Windows of rows that the baseline of a registered detector is made of."""
PERIOD_ROWS: Final = 512.0
"""How often the periodic alarm alarms unless an optimiser chooses."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A detector and its threshold of every day: None where its authors give none.

    ``make`` takes the rows of a window: who sees single rows does not look at it.
    """

    name: str
    make: Callable[[int], SeriesDetector]
    threshold: float | None
    slow: bool = False


_RIVER_THRESHOLDS: Final = {"river_gaussian": math.erf(4 / math.sqrt(2)), "river_absolute_deviation": 4.0}
"""Four standard deviations too, in each one's own unit."""


class OnMeans:
    """A detector of rows on the means of windows of rows; scores stand at their last row, all others are NaN."""

    def __init__(self, detector: SeriesDetector, window_rows: int) -> None:
        self._detector, self._window_rows = detector, window_rows
        self._waiting: list[float] = []

    def step(self, ts_ms: Ints, value: Floats) -> Floats:
        """See :class:`~detectors.series.protocol.SeriesDetector`."""
        result = np.full(len(value), np.nan)
        for row, number in enumerate(value.tolist()):
            self._waiting.append(number)
            if len(self._waiting) == self._window_rows:
                known = np.array(self._waiting)[np.isfinite(self._waiting)]
                mean = known.mean() if len(known) else np.nan
                result[row] = self._detector.step(ts_ms[row : row + 1], np.array([mean]))[0]
                self._waiting = []
        return result


def _of_rows(make: Callable[[], SeriesDetector]) -> Callable[[int], SeriesDetector]:
    return lambda window_rows: make() if window_rows == 1 else OnMeans(make(), window_rows)


def _river(name: str) -> Contender:
    slow = name == "river_local_outlier_factor"
    return Contender(name, _of_rows(lambda: RiverAnomaly(name)), _RIVER_THRESHOLDS.get(name), slow)


def _bank(kind: str) -> Contender:
    def build(window_rows: int) -> SeriesDetector:
        return BankOnSeries(kind, window_rows, BASELINE_WINDOWS * window_rows)

    return Contender(kind, build, FIRING)


def _fixed_limit(window_rows: int) -> SeriesDetector:
    # A day of five-minute rows; a hundred windows, for no more are known when they begin to count.
    return FixedLimit() if window_rows == 1 else OnMeans(FixedLimit(100), window_rows)


PLAIN: Final[Mapping[str, Contender]] = {
    "periodic": Contender("periodic", _of_rows(PeriodicAlarm), PERIOD_ROWS),
    "fixed_limit": Contender("fixed_limit", _fixed_limit, 4.0),
    "rolling_z": Contender("rolling_z", _of_rows(RollingZ), 4.0),
}
"""What every account shows beside the rest; four standard deviations are exceeded once in 16,000 Gaussian rows."""
DEFAULT: Final = "series_surprise"
CONTENDERS: Final[Mapping[str, Contender]] = {
    DEFAULT: Contender(DEFAULT, _of_rows(SeriesSurprise), THRESHOLD),
    **PLAIN,
    **{name: _river(name) for name in RIVER},
    **{kind: _bank(kind) for kind in REGISTRY},
}


def chosen(names: Sequence[str], default: Sequence[str]) -> list[Contender]:
    """The contenders of these names, or the default; always with :data:`PLAIN`.

    Raises
    ------
    ConfigError
        If there is none of a name.
    """
    unknown = [name for name in names if name not in CONTENDERS]
    if unknown:
        raise ConfigError(f"There is no detector {', '.join(unknown)}.", todo=f"Give some of {', '.join(CONTENDERS)}.")
    return [CONTENDERS[name] for name in dict.fromkeys([*(names or default), *PLAIN])]


def of_series() -> list[str]:
    """Those that score single rows, without those that take milliseconds a row."""
    return [name for name, one in CONTENDERS.items() if name not in REGISTRY and not one.slow]


def of_windows() -> list[str]:
    """Those that can say something of windows of one quantity: the default, and the families drift and change."""
    return [DEFAULT, "psi", "wasserstein", "kolmogorov", "martingale", "adwin", "river_gaussian"]
