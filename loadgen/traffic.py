"""How many events come, and when: seasons, shapes, arrival times of real traces, each a function of the second."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from loadgen.columns import Floats, Ints
from loadgen.distributions import Data, Positive, Zipf
from loadgen.randomness import Draws
from schemas.common import NonNegative, Ratio

DAY_S: Final = 86_400
_HOUR_S: Final = 3600
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_UNITS_MS: Final = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}


class Clock(Data, frozen=True):
    """What day and hour it is at second 0 of a scenario, wherever in real time it is played."""

    weekday: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] = "tuesday"
    hour: float = 0.0

    def hours(self, seconds: Ints) -> Floats:
        """Hour of the day, 0 <= h < 24, float64[n], of seconds of the scenario, int64[n]."""
        return (self.hour + seconds / _HOUR_S) % 24

    def weekend(self, seconds: Ints) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]":
        """bool[n]: whether it is Saturday or Sunday."""
        days = np.floor((self.hour * _HOUR_S + seconds) / DAY_S)
        return np.asarray((_WEEKDAYS.index(self.weekday) + days) % 7 >= 5)


def daily(hours: Floats, ratio: float, peak_hour: float) -> Floats:
    """A factor of mean 1 that is highest, 1 + ``ratio``, at ``peak_hour``."""
    return 1.0 + ratio * np.cos(2 * np.pi * (hours - peak_hour) / 24)


class Ramp(Data, frozen=True, tag_field="shape", tag="ramp"):
    """From 1 at ``from_s`` in a straight line to ``to_ratio`` at ``to_s``, where it stays."""

    from_s: float
    to_s: float
    to_ratio: NonNegative

    def factor(self, seconds: Ints) -> Floats:
        """float64[n] by which the rate is multiplied."""
        return np.interp(seconds, [self.from_s, self.to_s], [1.0, self.to_ratio])


class Step(Data, frozen=True, tag_field="shape", tag="step"):
    """``ratio`` from ``at_s`` on."""

    at_s: float
    ratio: NonNegative

    def factor(self, seconds: Ints) -> Floats:
        """float64[n] by which the rate is multiplied."""
        return np.where(seconds >= self.at_s, self.ratio, 1.0)


class Burst(Data, frozen=True, tag_field="shape", tag="burst"):
    """``ratio`` for ``length_s``, first at ``first_s`` and again ``every_s`` after each beginning."""

    first_s: float
    every_s: Positive
    length_s: Positive
    ratio: NonNegative

    def factor(self, seconds: Ints) -> Floats:
        """float64[n] by which the rate is multiplied."""
        since = seconds - self.first_s
        return np.where((since >= 0) & (since % self.every_s < self.length_s), self.ratio, 1.0)


class Trace(Data, frozen=True):
    """Arrival times of a real trace: a CSV with one row per request.

    ``file`` is looked for beside the scenario; ``column`` holds times, ISO 8601 or numbers of ``unit``. They are played
    ``speed`` times as fast, again from the beginning where ``loops``.
    """

    file: str
    column: str
    unit: Literal["s", "ms", "us", "ns"] = "s"
    speed: Positive = 1.0
    loops: bool = True


class Traffic(Data, frozen=True):
    """How often an entity is asked.

    Attributes
    ----------
    rate_per_s
        Mean rate where no season and no shape says otherwise. With a trace: unused, the trace's own rate holds.
    daily_ratio, daily_peak_hour
        How far the rate rises over its mean, and when it does most.
    weekend_ratio
        By what the rate is multiplied on Saturdays and Sundays.
    shapes
        Multiplied by each other.
    hot_keys
        Who asks: their weights make some keys hot.
    """

    rate_per_s: Positive
    daily_ratio: Ratio = 0.0
    daily_peak_hour: float = 15.0
    weekend_ratio: NonNegative = 1.0
    shapes: tuple[Ramp | Step | Burst, ...] = ()
    trace: Trace | None = None
    hot_keys: Zipf | None = None

    def rate(self, seconds: Ints, clock: Clock) -> Floats:
        """Events a second, float64[n], of seconds of the scenario, int64[n]."""
        rate = self.rate_per_s * daily(clock.hours(seconds), self.daily_ratio, self.daily_peak_hour)
        if self.weekend_ratio != 1.0:
            rate = np.where(clock.weekend(seconds), rate * self.weekend_ratio, rate)
        for shape in self.shapes:
            rate = rate * shape.factor(seconds)
        return rate


@dataclass(frozen=True, slots=True)
class Arrived:
    """n arrivals: ``second`` and ``place`` within it tell each, ``ts_ms`` is its event time, ascending."""

    second: Ints
    place: Ints
    ts_ms: Ints

    @property
    def offset_ms(self) -> Ints:
        """Event time within the second, int64[n]."""
        return self.ts_ms - self.second * 1000


class Arrivals:
    """The arrivals of one entity.

    Parameters
    ----------
    traffic, clock
        See :class:`Traffic` and :class:`Clock`.
    key
        Of seed and entity.
    folder
        Where a trace's file is looked for.
    """

    def __init__(self, traffic: Traffic, clock: Clock, key: np.uint64, folder: Path = Path()) -> None:
        self.traffic, self.clock, self._key, self._folder = traffic, clock, key, folder

    def at(self, seconds: Ints, factor: Floats) -> Arrived:
        """What arrives in these seconds (int64[k], ascending), the rate multiplied by ``factor``, float64[k].

        Event times count from the scenario's second 0.
        """
        if self.traffic.trace is not None:
            return self._traced(seconds, factor)
        per_second = Draws.of(self._key, seconds, np.full(len(seconds), -1))
        counts = per_second.poisson("arrivals", self.traffic.rate(seconds, self.clock) * factor)
        second, place = np.repeat(seconds, counts), _places(counts)
        offset_ms = Draws.of(self._key, second, place).uniform("arrives") * 1000
        return Arrived(second, place, np.sort(second * 1000 + offset_ms.astype(np.int64)))

    def _traced(self, seconds: Ints, factor: Floats) -> Arrived:
        """Each arrival of the trace as often as the factor says, by chance where that is not whole."""
        offsets, period_ms = self._trace
        loops = self.traffic.trace is not None and self.traffic.trace.loops
        turn, begin = np.divmod(seconds * 1000.0, period_ms)
        chosen, arrived = [], []
        for row, (at, since) in enumerate(zip(begin, turn, strict=True)):
            first, last = np.searchsorted(offsets, [at, at + 1000])
            found = offsets[first:last] - at
            if (over := at + 1000 - period_ms) > 0 and loops:
                found = np.concatenate([found, offsets[: np.searchsorted(offsets, over)] + (period_ms - at)])
            if since > 0 and not loops:
                found = found[:0]
            chosen.append(np.full(len(found), row))
            arrived.append(found)
        which, offset_ms = np.concatenate(chosen), np.concatenate(arrived)
        second = seconds[which]
        place = _places(np.bincount(which, minlength=len(seconds)))
        luck = Draws.of(self._key, second, place).uniform("arrivals")
        copies = np.floor(factor[which] + luck).astype(np.int64)
        counts = np.bincount(which, weights=copies, minlength=len(seconds)).astype(np.int64)
        ts_ms = np.repeat(second * 1000 + np.minimum(offset_ms, 999).astype(np.int64), copies)
        return Arrived(np.repeat(seconds, counts), _places(counts), ts_ms)

    @cached_property
    def _trace(self) -> tuple[Floats, float]:
        """The trace's arrivals in ms since its first, ascending; and how long it lasts."""
        trace = self.traffic.trace
        if trace is None:
            raise ValueError("there is no trace")
        times = _times_ms(self._folder / trace.file, trace)
        offsets = np.sort(times - times.min()) / trace.speed
        return offsets, float(offsets[-1] + max(offsets[-1] / max(len(offsets) - 1, 1), 1.0))


def _times_ms(path: Path, trace: Trace) -> Floats:
    if not path.is_file():
        raise ValueError(f"the trace {path} is missing: put it there, or name another in traffic.trace.file")
    table = pacsv.read_csv(path)
    if trace.column not in table.column_names:
        raise ValueError(f"{path} has no column {trace.column!r}; it has {', '.join(table.column_names)}")
    column = table[trace.column]
    if pa.types.is_timestamp(column.type):
        return np.asarray(column.cast(pa.timestamp("us"), safe=False).to_numpy().astype(np.int64) / 1000, np.float64)
    numbers = np.asarray(column.to_numpy(), np.float64)
    if not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError(f"column {trace.column!r} of {path} must hold a time in every row")
    return np.asarray(numbers * _UNITS_MS[trace.unit], np.float64)


def _places(counts: Ints) -> Ints:
    """0, 1, … within each group of these sizes."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0, dtype=np.int64) - np.repeat(ends - counts, counts)
