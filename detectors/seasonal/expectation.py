r"""What a series usually is at this hour of this weekday: a bank of robust curves with two rhythms.

An hour's mean $y$ of a series (of a logarithm, or of something of order one) is taken apart into a base, a rhythm of
the day and one of the week, $y = b + d_h + w_H + e$, by error correction as Holt and Winters do, in hourly buckets.
Four things differ. Gains fall as $1/n$ until a bucket has been seen often, so that the first day teaches at once. An
error counts for ``clip`` times the usual one at most, so that an outlier teaches no more than that. A rhythm is used as
far as it has foretold: $\beta = \sum p\,r / (\tau + \sum p^2)$ over the errors $r$ it was to explain, 0…1, is its share
in what is expected; noise explains nothing and is shrunk away. And what the week adds is taught from what the day
leaves, so that a bucket of the week that was never seen is that of the day.

The *usual range* is what all weekdays have at this hour and its two neighbours, widened by ``reach`` usual errors: a
holiday is like another day, and the change to summer time moves a day by an hour. A series that stays outside for
longer is released: for a day everything is usual, nothing is taught, and then its base moves if it has to.

References
----------
.. [1] P. R. Winters, "Forecasting sales by exponentially weighted moving averages", 1960.
.. [2] J. W. Taylor, "Short-term electricity demand forecasting using double seasonal exponential smoothing", 2003.
.. [3] S. Gelper, R. Fried, C. Croux, "Robust forecasting with exponential and Holt-Winters smoothing", 2010.
"""

from dataclasses import dataclass
from typing import Any, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.parameters import check_bounds
from detectors.protocol import Bools, Floats, Ints
from detectors.sparse import SparseColumns

HOUR_MS: Final = 3_600_000
DAY: Final = 24
WEEK: Final = 168
_THURSDAY: Final = 72
"""The hour of the week at which the epoch began."""
_MEAN_ABS: Final = 1.2533
"""A normal's standard deviation over its mean absolute deviation."""
_BLANK: Final[dict[str, NDArray[Any]]] = {
    "base": np.zeros(()),
    "day": np.zeros(DAY, np.float16),
    "day_n": np.zeros(DAY, np.uint8),
    "week": np.zeros(WEEK, np.float16),
    "week_n": np.zeros(WEEK, np.uint8),
    "spread": np.zeros(()),
    "hours": np.zeros((), np.int32),
    "proof": np.zeros(4, np.float32),
    "shift": np.zeros((), np.float32),
    "free_until_h": np.zeros((), np.int32),
    "hour": np.full((), -1, np.int32),
    "amount": np.zeros(()),
    "weight": np.zeros(()),
}
_NODES: Final[dict[str, NDArray[Any]]] = {"nodes": np.zeros(6), "half": np.full((), -(2**62), np.int64)}
"""What follows from the state for the present half hour; it is not saved."""


class SeasonalParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a rhythm is learned.

    ``memory_days`` and ``memory_weeks`` are how many visits a bucket remembers, ``base_hours`` how many hours the base.
    ``clip`` usual errors are the most that an error counts for, ``reach`` of them are usual. ``known_hours`` must have
    been seen before there is a usual range; ``release_hours`` is for how long a released series has none.
    ``proof_ratio`` is the rhythm, as a root mean square, that has to foretell a whole period to be half believed.
    """

    memory_days: int = 10
    memory_weeks: int = 5
    base_hours: int = 48
    clip: float = 3.0
    reach: float = 4.0
    known_hours: int = 168
    release_hours: int = 24
    proof_ratio: float = 0.05

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, memory_days=(1, 200), memory_weeks=(1, 200), base_hours=(1, 10**5), clip=(1, 100))
        check_bounds(self, reach=(1, 100), known_hours=(DAY, 10**5), release_hours=(1, 10**4), proof_ratio=(0, 10))


_PRIOR_SPREAD: Final = 0.3
_PRIOR_HOURS: Final = 12.0
"""An error of a third is usual until a series has shown what is, as if it had been seen for half a day."""
_SPREAD_HOURS: Final = 336.0
"""Hours over which the usual error, and what a rhythm has foretold, are remembered."""
_LEAST_SPREAD: Final = 0.02
_SHIFT_HOURS: Final = 6.0
"""Hours by which it is judged where a released series has come to."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What n series are expected to be at one time, in their own unit, each float64[n].

    ``rhythm`` is the part of the day and the week, 0 where neither is known: what takes a level from one time to
    another. ``usual`` is base and rhythm together, NaN before the first hour; ``low`` and ``high`` are the usual range,
    infinite while it is not known. ``least`` and ``most`` are the rhythm's extremes in the week. ``error`` is how far
    an hour is usually off, as a standard deviation, 0 while the usual range is not known.
    """

    rhythm: Floats
    usual: Floats
    low: Floats
    high: Floats
    least: Floats
    most: Floats
    error: Floats

    def since(self, reference: Floats) -> Floats:
        """What has to be added to a reference float64[n], measured at some unknown hour, to make it one of now.

        That is what is usual now instead, but no more than the rhythm can make of it, whatever that hour was: a level
        that has moved for good is not excused. 0 where no rhythm is known.
        """
        moved = np.clip(self.usual - reference, self.rhythm - self.most, self.rhythm - self.least)
        return np.nan_to_num(moved)


class SeasonalExpectation:
    """A bank of rhythms, one row per series id.

    Parameters
    ----------
    params
        See :class:`SeasonalParams`.
    logs
        Series are ratios of two sums, and the logarithm of an hour's is learned; else it is their weighted mean.

    Notes
    -----
    O(n) per window: a few operations on what the half hour keeps; a new half hour costs some 200 buckets per series.
    640 bytes of state per series, and 56 that follow from it. Hours are UTC's.
    """

    def __init__(self, params: SeasonalParams | None = None, *, logs: bool = True) -> None:
        self.params = params or SeasonalParams()
        self._logs = logs
        self._state = SparseColumns(_BLANK, _NODES)

    def at(self, series: Ints, ts_ms: int) -> Expectation:
        """What is expected of the series at ``ts_ms``, the middle of a window; hours that have ended are learned first.

        Parameters
        ----------
        series
            int64[n], each once.
        ts_ms
            Event time, ms since the epoch.
        """
        rows = self._state.places(series)
        open_hour = self._state["hour"][rows]
        self._fold(rows[(open_hour >= 0) & (open_hour < ts_ms // HOUR_MS)])
        return self._read(rows, ts_ms)

    def ahead(self, series: Ints, ts_ms: int) -> Expectation:
        """What is expected at any ``ts_ms`` by the hours that have been learned, see :meth:`at`."""
        return self._read(self._state.places(series), ts_ms)

    def learn(self, series: Ints, ts_ms: int, amount: Floats, weight: Floats) -> None:
        """Add a window to the hour of ``ts_ms``, after :meth:`at`; what should not teach has weight 0.

        Parameters
        ----------
        series
            int64[n], each once.
        amount, weight
            float64[n]: events and windows, errors and events, or a value times its weight and that weight.
        """
        rows, taught = self._state.places(series), weight > 0
        if not taught.all():
            rows, amount, weight = rows[taught], amount[taught], weight[taught]
        self._state["hour"][rows] = ts_ms // HOUR_MS
        self._state["amount"][rows] += amount
        self._state["weight"][rows] += weight

    def release(self, series: Ints, ts_ms: int) -> None:
        """Let everything be usual of ``series`` for ``release_hours``: they have stayed outside for too long."""
        rows = self._state.places(series)
        self._state["free_until_h"][rows] = ts_ms // HOUR_MS + self.params.release_hours
        self._state["shift"][rows] = 0

    def forget(self, series: Ints) -> None:
        """Drop what was learned of ``series``."""
        self._state.forget(series)

    def to_bytes(self, kind: str, version: int) -> bytes:
        """What was learned, by ascending series."""
        return self._state.to_bytes(kind, version)

    @classmethod
    def from_bytes(
        cls, raw: bytes, kind: str, version: int, params: SeasonalParams | None = None, *, logs: bool = True
    ) -> Self:
        """What :meth:`to_bytes` saved.

        Raises
        ------
        StateError
            If it is not that.
        """
        bank = cls(params, logs=logs)
        bank._state = SparseColumns.from_bytes(raw, kind, version, _BLANK, _NODES)
        return bank

    def _read(self, rows: Ints, ts_ms: int) -> Expectation:
        half, into = divmod(ts_ms - HOUR_MS // 2, HOUR_MS)
        stale = rows[self._state["half"][rows] != half]
        if len(stale):
            self._prepare(stale, half)
        left, right, low, high, least, most = self._state["nodes"][rows].T
        rhythm = left + (right - left) * (into / HOUR_MS)
        fresh = self._state["hours"][rows] == 0
        usual = np.where(fresh, np.nan, self._state["base"][rows] + rhythm)
        free = self._state["free_until_h"][rows] > ts_ms // HOUR_MS
        low, high = np.where(free, -np.inf, low), np.where(free, np.inf, high)
        error = np.where(self._state["hours"][rows] >= self.params.known_hours, self._state["spread"][rows], 0.0)
        return Expectation(rhythm, usual, low, high, least, most, error)

    def _fold(self, rows: Ints) -> None:
        """Learn the hours that ``rows`` have behind them."""
        if not len(rows):
            return
        state = self._state
        hour, free_until = state["hour"][rows].astype(np.int64), state["free_until_h"][rows]
        amount, weight = state["amount"][rows], state["weight"][rows]
        y = np.log((amount + 0.5) / weight) if self._logs else amount / weight
        state["amount"][rows], state["weight"][rows], state["hour"][rows] = 0.0, 0.0, -1
        self._state["half"][rows] = _NODES["half"]
        free = hour < free_until
        self._drift(rows[free], hour[free], y[free])
        back = ~free & (free_until > 0)
        self._settle(rows[back])
        self._teach(rows[~free], hour[~free], y[~free])

    def _drift(self, rows: Ints, hour: Ints, y: Floats) -> None:
        """Follow where released series go; their rhythm is not taught."""
        state = self._state
        day, week = self._rhythms(rows, hour)
        e = y - state["base"][rows] - day - week
        state["shift"][rows] += (e - state["shift"][rows]) / _SHIFT_HOURS

    def _settle(self, rows: Ints) -> None:
        """Move the base of series whose release is over, and that have not come back."""
        state = self._state
        shift = state["shift"][rows].astype(np.float64)
        stays = np.abs(shift) > self.params.reach * state["spread"][rows]
        state["base"][rows] += np.where(stays, shift, 0.0)
        state["free_until_h"][rows], state["shift"][rows] = 0, 0

    def _teach(self, rows: Ints, hour: Ints, y: Floats) -> None:
        if not len(rows):
            return
        state, params = self._state, self.params
        h, H = hour % DAY, (hour + _THURSDAY) % WEEK
        hours, base = state["hours"][rows], state["base"][rows]
        first = hours == 0
        base = np.where(first, y, base)
        day, week = self._rhythms(rows, hour)
        day_n, week_n = state["day_n"][rows, h], state["week_n"][rows, H]
        own_day, own_week = state["day"][rows, h].astype(np.float64), state["week"][rows, H].astype(np.float64)
        spread = np.where(first, _PRIOR_SPREAD, state["spread"][rows])
        seen = day_n > 0
        e = y - base - day - week
        # A bucket that nothing has filled learns what comes; what has been filled, no outliers.
        kept = np.where(seen, np.clip(e, -params.clip * spread, params.clip * spread), e)
        r = kept + day + week
        self._prove(rows, (day_n > 0, own_day, r), (week_n > 0, own_week, r - own_day))
        gain = np.where(seen, 1 / params.base_hours, 0.0)
        state["base"][rows] = base + gain * kept
        day_gain = 1 / np.minimum(day_n + 1.0, params.memory_days)
        week_gain = 1 / np.minimum(week_n + 1.0, params.memory_weeks)
        own_day = own_day + day_gain * (r - own_day - own_week)
        state["day"][rows, h] = own_day
        # What the week adds is what the day leaves.
        state["week"][rows, H] = own_week + np.where(seen, week_gain * (r - own_day - own_week), 0.0)
        state["day_n"][rows, h] = np.minimum(day_n, params.memory_days) + 1
        state["week_n"][rows, H] = np.where(seen, np.minimum(week_n, params.memory_weeks) + 1, week_n)
        weight = np.maximum(1 / (hours + _PRIOR_HOURS), 1 / _SPREAD_HOURS)
        wide = spread + weight * (_MEAN_ABS * np.abs(kept) - spread)
        state["spread"][rows] = np.maximum(np.where(seen, wide, spread), _LEAST_SPREAD)
        state["hours"][rows] = hours + 1
        self._centre(rows)

    def _rhythms(self, rows: Ints, hour: Ints) -> tuple[Floats, Floats]:
        """What day and week are believed to add at ``hour`` int64[n]: float64[n] each."""
        state = self._state
        day_share, week_share = self._shares(rows)
        day = state["day"][rows, hour % DAY].astype(np.float64)
        week = state["week"][rows, (hour + _THURSDAY) % WEEK].astype(np.float64)
        return day_share * day, week_share * week

    def _shares(self, rows: Ints) -> tuple[Floats, Floats]:
        day_xy, day_xx, week_xy, week_xx = self._state["proof"][rows].astype(np.float64).T
        doubt = self.params.proof_ratio**2
        return (
            np.clip(day_xy / np.maximum(day_xx + DAY * doubt, 1e-12), 0, 1),
            np.clip(week_xy / np.maximum(week_xx + WEEK * doubt, 1e-12), 0, 1),
        )

    def _prove(self, rows: Ints, *rhythms: tuple[Bools, Floats, Floats]) -> None:
        """Remember what each rhythm foretold, and what there was to foretell."""
        proof = self._state["proof"][rows].astype(np.float64)
        for i, (seen, foretold, there) in enumerate(rhythms):
            fade = np.where(seen, 1 - 1 / _SPREAD_HOURS, 1.0)
            proof[:, 2 * i] = proof[:, 2 * i] * fade + np.where(seen, foretold * there, 0.0)
            proof[:, 2 * i + 1] = proof[:, 2 * i + 1] * fade + np.where(seen, foretold * foretold, 0.0)
        self._state["proof"][rows] = proof

    def _centre(self, rows: Ints) -> None:
        """Let the hours of the day that are known have mean 0: the rest is the base's."""
        state = self._state
        day, seen = state["day"][rows].astype(np.float64), state["day_n"][rows] > 0
        mean = np.where(seen, day, 0.0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        # Half of the resolution of what is kept: less would never be seen in it.
        mean = np.where(np.abs(mean) > 0.001, mean, 0.0)
        state["day"][rows] = np.where(seen, day - mean[:, None], 0.0)
        state["base"][rows] += mean

    def _prepare(self, rows: Ints, half: int) -> None:
        """Keep what the half hour after the middle of hour ``half`` needs: both ends' rhythm, and the usual range."""
        state, params = self._state, self.params
        hours = np.array([half, half + 1])
        around = half + np.array([-1, 0, 1, 2])
        day_share, week_share = self._shares(rows)
        every_day = day_share[:, None] * state["day"][rows]
        day = every_day[:, around % DAY]
        week = week_share[:, None] * state["week"][rows]
        ends = day[:, 1:3] + week[:, (hours + _THURSDAY) % WEEK]
        every = (around[:, None] + DAY * np.arange(7) + _THURSDAY) % WEEK
        curves = day[:, :, None] + week[:, every]
        reach = params.reach * state["spread"][rows]
        base = state["base"][rows]
        known = state["hours"][rows] >= params.known_hours
        low = np.where(known, base + curves.min(axis=(1, 2)) - reach, -np.inf)
        high = np.where(known, base + curves.max(axis=(1, 2)) + reach, np.inf)
        whole = (week.reshape(-1, 7, DAY) + every_day[:, None, :]).reshape(-1, WEEK)
        self._state["nodes"][rows] = np.column_stack((ends, low, high, whole.min(axis=1), whole.max(axis=1)))
        self._state["half"][rows] = half
