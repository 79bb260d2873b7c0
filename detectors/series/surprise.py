"""The default for one plain metric: what is far from its own past in shape, time of day and step, at once."""

import math
from collections import deque
from typing import ClassVar, Final, Self

import msgspec
import numpy as np

from detectors import state
from detectors.parameters import ParameterError, check_bounds
from detectors.protocol import Floats, Ints
from detectors.series.distances import to_nearest_windows, to_same_time
from detectors.series.past import Past

INGREDIENTS: Final = ("short", "long", "season", "jump")
"""What may be surprising: the shape of the last few rows, of the last many, the time of day, the step to this row."""
THRESHOLD: Final = 8.0
"""The score from which it is an alarm: the lowest whole or half at which seven kinds of noise together
raise no more than one false alarm in 10,000 rows, a month of five-minute rows (docs/evaluation.md)."""


class SurpriseParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows remembered, and what is compared; the defaults remember two weeks of five-minute rows.

    ``short_rows`` and ``long_rows`` are the shapes, ``neighbours`` how many like them must be far; ``season_s`` the
    season, values within ``season_near_s`` of its time count, the mean of ``season_rows`` distances is taken.
    """

    history_rows: int = 4_032
    warmup_rows: int = 100
    short_rows: int = 4
    long_rows: int = 24
    neighbours: int = 5
    season_s: int = 86_400
    season_near_s: int = 900
    season_neighbours: int = 3
    season_rows: int = 24
    ingredients: tuple[str, ...] = INGREDIENTS

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, history_rows=(100, 10**6), warmup_rows=(20, 10**6), short_rows=(1, 1_000))
        check_bounds(self, long_rows=(1, 1_000), neighbours=(1, 100), season_s=(60, 10**8), season_near_s=(0, 10**7))
        check_bounds(self, season_neighbours=(1, 100), season_rows=(1, 1_000))
        unknown = set(self.ingredients) - set(INGREDIENTS)
        if unknown or not self.ingredients:
            raise ParameterError(f"ingredients {self.ingredients}: give some of {', '.join(INGREDIENTS)}")


class SeriesSurprise:
    r"""Mean surprise of four distances from the series' own past, in nats.

    Each distance (:mod:`detectors.series.distances`: to the nearest windows of 4 and of 24 rows, to the values at this
    time of the last seven days, to the row before) becomes its surprise among the earlier ones
    (:class:`~detectors.series.past.Past`); the score is their mean. Were they independent, eight times the score would
    be Fisher's statistic. They are not: the threshold is held against simulations, not against its law.

    Parameters
    ----------
    params
        See :class:`SurpriseParams`.

    Notes
    -----
    O(history · long_rows) a row, some 250 µs; 400 kB with the default history. Nothing is scaled: a series in other
    units has the same scores.

    References
    ----------
    .. [1] A. Lavin, S. Ahmad, "Evaluating real-time anomaly detection algorithms: the Numenta Anomaly Benchmark", 2015.
    .. [2] E. Burnaev, V. Ishimtsev, "Conformalized density- and distance-based anomaly detection in time-series data",
       2016.

    Examples
    --------
    >>> rows = np.arange(400)
    >>> value = np.sin(rows / 7.0)
    >>> value[390] = 3.0
    >>> int(np.nanargmax(SeriesSurprise().step(rows * 300_000, value)))
    390
    """

    kind: ClassVar[str] = "series_surprise"
    state_version: ClassVar[int] = 1

    def __init__(self, params: SurpriseParams | None = None) -> None:
        self.params = params or SurpriseParams()
        self._ts_ms = np.empty(0, np.int64)
        self._values = np.empty(0)
        self._used = 0
        self._recent: deque[float] = deque(maxlen=self.params.season_rows)
        self._pasts = {name: self._past() for name in self.params.ingredients}

    def step(self, ts_ms: Ints, value: Floats) -> Floats:
        """See :class:`~detectors.series.protocol.SeriesDetector`."""
        rows = zip(ts_ms.tolist(), value.tolist(), strict=True)
        return np.array([self._row(at, number) for at, number in rows], np.float64)

    def _row(self, at_ms: int, value: float) -> float:
        if not math.isfinite(value):
            return math.nan
        self._append(at_ms, value)
        told = [past.step(self._distance(name)) for name, past in self._pasts.items()]
        known = [surprise for surprise in told if not math.isnan(surprise)]
        return sum(known) / len(known) if known else math.nan

    def _distance(self, name: str) -> float:
        params = self.params
        first = max(0, self._used - params.history_rows - 1)
        values = self._values[first : self._used]
        if name == "jump":
            return abs(float(values[-1] - values[-2])) if len(values) > 1 else math.nan
        if name == "season":
            near = to_same_time(
                self._ts_ms[first : self._used],
                values,
                params.season_s * 1000,
                params.season_near_s * 1000,
                params.season_neighbours,
            )
            if math.isnan(near):
                return near
            self._recent.append(near)
            return sum(self._recent) / len(self._recent)
        rows = params.short_rows if name == "short" else params.long_rows
        return to_nearest_windows(values, rows, params.neighbours)

    def _append(self, at_ms: int, value: float) -> None:
        if self._used == len(self._values):
            # Twice the history: moving what is kept to the front costs nothing per row.
            kept = slice(max(0, self._used - self.params.history_rows - 1), self._used)
            ts_ms, values = self._ts_ms[kept], self._values[kept]
            size = min(2 * len(values) + 256, 2 * self.params.history_rows + 256)
            self._ts_ms, self._values, self._used = np.empty(size, np.int64), np.empty(size), len(values)
            self._ts_ms[: self._used], self._values[: self._used] = ts_ms, values
        self._ts_ms[self._used], self._values[self._used] = at_ms, value
        self._used += 1

    def _past(self, history: Floats | None = None) -> Past:
        return Past(self.params.history_rows, self.params.warmup_rows, history)

    def to_bytes(self) -> bytes:
        """The rows remembered and the distances of each ingredient."""
        kept = slice(max(0, self._used - self.params.history_rows - 1), self._used)
        arrays = {
            "ts_ms": self._ts_ms[kept],
            "values": self._values[kept],
            "recent": np.array(self._recent, np.float64),
        }
        return state.pack(self.kind, self.state_version, arrays | {n: p.history for n, p in self._pasts.items()})

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """The detector that continues exactly where :meth:`to_bytes` was called; raises StateError where it cannot."""
        arrays = state.unpack(raw, cls.kind, cls.state_version)
        detector = cls(msgspec.convert(params, SurpriseParams))
        missing = set(detector.params.ingredients) - set(arrays)
        if missing:
            raise state.StateError(f"state of {cls.kind} without {', '.join(sorted(missing))}: start without it")
        detector._ts_ms, detector._values = arrays["ts_ms"], arrays["values"]
        detector._used = len(arrays["values"])
        detector._recent.extend(arrays["recent"].tolist())
        detector._pasts = {name: detector._past(arrays[name]) for name in detector.params.ingredients}
        return detector
