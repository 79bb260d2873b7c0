"""How well what comes is foretold: the seasonal expectation beside what else could be taken for it.

Run from the repository's root: ``python -m tests.laws.seasons compare [SERIES]``, ``data FOLDER`` (series with
``timestamp,value`` in five-minute steps), ``year [SERIES DAYS]``, ``power [SERIES]``, or ``picture``, which draws SVG.
What comes with every test run is in ``tests/unit/detectors/test_seasonal.py``.
"""

import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.decision import DecisionBank
from detectors.protocol import CategoryColumns, Ints, NumericColumns, SampleColumns, ScopeColumns, WindowBatch
from detectors.registry import make
from detectors.seasonal.expectation import DAY, HOUR_MS, WEEK, SeasonalExpectation
from loadgen.plots import Span, lines
from schemas.scopes import Family, Scope

Floats = NDArray[np.float64]
STEP_MS: Final = 300_000
A_DAY: Final = 288
MONDAY_MS: Final = 1_780_272_000_000
LEADS: Final = (1, 12, 72)
"""Steps ahead: 5 min, 1 h, 6 h. What is flagged is not learned, so a fault is judged by what was before it."""
AGES: Final = {
    "hour 1": (1, 12),
    "day 1": (12, 288),
    "week 1": (288, 2016),
    "week 3": (4032, 6048),
    "week 6": (10_080, 12_096),
}


class Forecast(Protocol):
    """What foretells the logarithm of a rate."""

    def ahead(self, ts_ms: int, lead_ms: int) -> Floats:
        """What is expected at ``ts_ms + lead_ms`` by what was seen before ``ts_ms``: float64[n]."""
        ...

    def learn(self, ts_ms: int, count: Floats) -> None:
        """See the counts float64[n] of the step; NaN where there is none."""
        ...


class Level:
    """An exponentially weighted mean with a half-life of half an hour: what there was before."""

    def __init__(self, n: int) -> None:
        self.level, self.seen = np.zeros(n), np.zeros(n)

    def ahead(self, ts_ms: int, lead_ms: int) -> Floats:
        return np.log(self.level + 0.5)

    def learn(self, ts_ms: int, count: Floats) -> None:
        gain = np.maximum(2 / (self.seen + 2), 1 - 0.5 ** (1 / 6))
        known = ~np.isnan(count)
        self.level += np.where(known, gain * (np.nan_to_num(count) - self.level), 0.0)
        self.seen += known


class HoltWinters:
    """Double seasonal exponential smoothing of logarithms with fixed gains (Taylor 2003), hourly buckets."""

    def __init__(self, n: int) -> None:
        self.level, self.day, self.week = np.full(n, np.nan), np.zeros((n, DAY)), np.zeros((n, WEEK))

    def ahead(self, ts_ms: int, lead_ms: int) -> Floats:
        hour = (ts_ms + lead_ms) // HOUR_MS
        return self.level + self.day[:, hour % DAY] + self.week[:, (hour + 72) % WEEK]

    def learn(self, ts_ms: int, count: Floats) -> None:
        y, hour = np.log(count + 0.5), ts_ms // HOUR_MS
        self.level = np.where(np.isnan(self.level), y, self.level)
        e = np.nan_to_num(y - self.ahead(ts_ms, 0))
        self.level += 0.1 * e
        self.day[:, hour % DAY] += 0.02 * e
        self.week[:, (hour + 72) % WEEK] += 0.02 * e


class Median:
    """The median of a bucket of the week, followed by pinball steps, shrunk towards that of the day by visits."""

    def __init__(self, n: int) -> None:
        self.day, self.week = np.full((n, DAY), np.nan), np.full((n, WEEK), np.nan)
        self.visits, self.level = np.zeros((n, WEEK)), Level(n)

    def ahead(self, ts_ms: int, lead_ms: int) -> Floats:
        hour = (ts_ms + lead_ms) // HOUR_MS
        day, week = self.day[:, hour % DAY], self.week[:, (hour + 72) % WEEK]
        day = np.where(np.isnan(day), self.level.ahead(ts_ms, 0), day)
        share = self.visits[:, (hour + 72) % WEEK] / (self.visits[:, (hour + 72) % WEEK] + 12)
        return np.where(np.isnan(week), day, share * week + (1 - share) * day)

    def learn(self, ts_ms: int, count: Floats) -> None:
        self.level.learn(ts_ms, count)
        y, hour = np.log(count + 0.5), ts_ms // HOUR_MS
        for buckets, at in ((self.day, hour % DAY), (self.week, (hour + 72) % WEEK)):
            old = np.where(np.isnan(buckets[:, at]), y, buckets[:, at])
            buckets[:, at] = old + np.nan_to_num(0.03 * np.sign(y - old))
        self.visits[:, (hour + 72) % WEEK] += ~np.isnan(count)


class Seasonal:
    """The expectation's rhythm carries the level of the last half hour, which stays within what is usual."""

    def __init__(self, n: int) -> None:
        self.bank, self.series = SeasonalExpectation(), np.arange(n)
        self.level, self.seen = np.zeros(n), np.zeros(n)

    def ahead(self, ts_ms: int, lead_ms: int) -> Floats:
        then = self.bank.ahead(self.series, ts_ms + lead_ms)
        return np.clip(np.log(self.level + 0.5) + then.rhythm, then.low, then.high)

    def learn(self, ts_ms: int, count: Floats) -> None:
        now, known = self.bank.at(self.series, ts_ms), ~np.isnan(count)
        flat = np.nan_to_num(count) / np.exp(now.rhythm)
        gain = np.maximum(2 / (self.seen + 2), 1 - 0.5 ** (1 / 6))
        self.level += np.where(known, gain * (flat - self.level), 0.0)
        self.seen += known
        self.bank.learn(self.series, ts_ms, np.nan_to_num(count), known.astype(np.float64))


RIVALS: Final[Mapping[str, Callable[[int], Forecast]]] = {
    "level": Level,
    "Holt-Winters": HoltWinters,
    "medians": Median,
    "seasonal": Seasonal,
}


def rhythm(
    rng: np.random.Generator, n: int, steps: int, *, step_ms: int = STEP_MS, events: tuple[float, float] = (20, 20_000)
) -> tuple[Floats, NDArray[np.bool_]]:
    """Logarithms of rates float64[steps, n] of services with days, weeks, a trend and wandering; which are holidays.

    ``events`` are the least and the most of a step's, on the geometric mean of a day.
    Peaks are 1.5 to 10 times the trough, weekends half to all of a weekday, trends up to 3 % a week; a level wanders by
    some percent over hours. One day in thirty is a holiday, and like a Sunday; a day takes six hours to become another.
    """
    t = np.arange(steps) * step_ms / 86_400_000
    peak, ratio = rng.uniform(10, 20, n) / 24, np.log(rng.uniform(1.5, 10, n)) / 2
    second = rng.uniform(0, 0.3, n)
    angle = 2 * np.pi * (t[:, None] - peak)
    day = ratio * (np.cos(angle) + second * np.cos(2 * angle))
    holiday = (rng.random((int(t[-1]) + 1, n)) < 1 / 30)[t.astype(int)]
    weekday = (t.astype(int) % 7)[:, None]
    away = np.where((weekday >= 5) | holiday, np.log(rng.uniform(0.5, 1, n)), 0.0)
    # People change their ways in the course of a night, and not at midnight.
    night = 6 * HOUR_MS // step_ms
    total = np.cumsum(np.vstack((np.repeat(away[:1], night, axis=0), away)), axis=0)
    weekend = (total[night:] - total[:-night]) / night
    kicks = rng.normal(0, 1, (steps, n)) * np.sqrt(2 * step_ms / HOUR_MS / 3)
    wander, fade = np.zeros((steps, n)), 1 - step_ms / HOUR_MS / 3
    for i in range(1, steps):
        wander[i] = wander[i - 1] * fade + kicks[i]
    wander *= rng.uniform(0.02, 0.1, n)
    base = rng.uniform(np.log(events[0]), np.log(events[1]), n)
    return base + day + weekend + wander + rng.uniform(-0.03, 0.03, n) * t[:, None] / 7, holiday


def counts(rng: np.random.Generator, truth: Floats) -> Floats:
    """Poisson counts of such rates; an outage of hours, bursts and missing steps in between, NaN where missing."""
    drawn = rng.poisson(np.exp(truth)).astype(np.float64)
    steps, n = drawn.shape
    for place in range(n):
        for begins in rng.integers(0, steps, max(1, steps // 4000)):
            drawn[begins : begins + rng.integers(6, 36), place] *= rng.choice([0.0, 0.3, 4.0])
    drawn[rng.random(drawn.shape) < 0.01] = np.nan
    return drawn


def foretold(seen: Floats, truth: Floats, times: Ints) -> dict[tuple[str, str, int], tuple[float, float, float]]:
    """(forecast, age, lead) → mean absolute error, pinball loss at 5 % and coverage of a 90 % band, on the logarithm.

    The band is as wide as the forecast's own errors of the week before make it; NaN where there
    is no day of them. Outages and bursts are taught like all else: no detector stands between.
    """
    n = seen.shape[1]
    errors = {(name, lead): np.full((len(seen), n), np.nan) for name in RIVALS for lead in LEADS}
    made = {name: make(n) for name, make in RIVALS.items()}
    for i, at in enumerate(times.tolist()):
        for name, forecast in made.items():
            for lead in LEADS:
                if 0 < i < len(seen) - lead:
                    errors[name, lead][i + lead - 1] = forecast.ahead(at, (lead - 1) * STEP_MS) - truth[i + lead - 1]
            forecast.learn(at, seen[i])
    return {
        (name, age, lead): _judged(errors[name, lead], *AGES[age])
        for name, lead in errors
        for age in AGES
        if AGES[age][1] <= len(seen)
    }


def _judged(errors: Floats, first: int, last: int) -> tuple[float, float, float]:
    own = errors[first:last]
    own = own[~np.isnan(own).all(axis=1)]
    if not len(own):
        return np.nan, np.nan, np.nan
    before = errors[max(0, first - 2016) : first]
    before = before[~np.isnan(before).all(axis=1)]
    mae = float(np.nanmean(np.abs(own)))
    if len(before) < A_DAY:
        return mae, np.nan, np.nan
    low, high = np.nanquantile(before, 0.05, axis=0), np.nanquantile(before, 0.95, axis=0)
    off = low - own
    pinball = np.nanmean(np.where(off > 0, 0.95 * off, -0.05 * off))
    return mae, float(pinball), float(np.nanmean((own >= low) & (own <= high)))


def _told(found: Mapping[tuple[str, str, int], tuple[float, float, float]]) -> None:
    for age in AGES:
        for lead in LEADS:
            own = {name: found[name, age, lead] for name in RIVALS if (name, age, lead) in found}
            parts = [f"{name} {mae:.3f} / {pinball:.3f} / {cover:.2f}" for name, (mae, pinball, cover) in own.items()]
            if parts:
                print(f"{age:7} {lead * 5:4} min: {', '.join(parts)}", flush=True)  # noqa: T201 - a script for people


COARSE: Final = {"window_s": 300, "half_life": 6, "max_windows": 12, "patience": 12}
"""The volume detector's defaults, for windows of five minutes."""
KNOWN_DAYS: Final = 21
A_HARM: Final = 36


def volumes(n: int) -> Callable[[int, Floats], WindowBatch]:
    """From a time and counts float64[n] to a window of n scopes of one version each."""
    nan, zero, series = np.full(n, np.nan), np.zeros(n, np.int64), np.arange(n)
    family, key = [Family.PREDICTION] * n, [Scope(Family.PREDICTION, f"m{i}", "1") for i in range(n)]
    none = np.zeros(0, np.int64)
    empty = np.zeros((0, 34), np.int64)
    f = np.zeros(0)
    numeric = NumericColumns(
        none, none, [], none, none, none, f, f, f, f, np.zeros((0, 3)), none > 0, none > 0, empty, empty,
        np.zeros((0, 33)), none, none, f, f, np.zeros((0, 3)),
    )  # fmt: skip
    categories = CategoryColumns(none, none, [], none > 0, [], none, none > 0, empty, empty, none)

    def window(at_ms: int, count: Floats) -> WindowBatch:
        scopes = ScopeColumns(
            series, family, count.astype(np.int64), zero, zero, series + 99, nan, nan, {"rows": series}, key
        )
        return WindowBatch(at_ms, STEP_MS, scopes, numeric, categories, SampleColumns([], [], [], []))

    return window


def findings(drawn: Floats, *, seasonal: bool) -> NDArray[np.bool_]:
    """Whether a finding of volume holds after each step: bool[steps, n]."""
    detector, bank, window = (
        make("volume", {**COARSE, "seasonal": seasonal}),
        DecisionBank(),
        volumes(drawn.shape[1]),
    )
    firing = np.zeros(drawn.shape, np.bool_)
    for i, count in enumerate(drawn):
        at = MONDAY_MS + i * STEP_MS
        firing[i] = bank.decide(detector.step(window(at, count)), at, STEP_MS).firing
    return firing


def _year(n: int, days: int) -> None:
    """Findings while nothing is wrong, holidays apart."""
    rng = np.random.default_rng(3)
    truth, holiday = rhythm(rng, n, days * A_DAY, events=(30, 100_000))
    drawn = rng.poisson(np.exp(truth)).astype(np.float64)
    for seasonal in (False, True):
        firing = findings(drawn, seasonal=seasonal)
        began = firing & ~np.vstack((firing[:1], firing[:-1]))
        years = n * days / 365
        print(  # noqa: T201
            f"seasonal {seasonal}: {began.sum() / years:.2f} a year, on holidays {began[holiday].sum() / years:.2f}"
            f" ({n} series of {days} days, {int(began.sum())} in all, {int(began.any(axis=0).sum())} series)",
            flush=True,
        )


HARMS: Final[Mapping[str, Callable[[Floats], Floats]]] = {
    "two thirds are gone": lambda truth: truth + np.log(0.35),
    "four times as much": lambda truth: truth + np.log(4.5),
    "gone by and by, in three hours": lambda truth: truth + np.linspace(0, np.log(0.25), A_HARM)[:, None],
    "stays as it was": lambda truth: np.broadcast_to(truth[:1], truth.shape),
}
"""Three hours each. What stays as it was is a fault where it should have become half at most, or three times."""


def _power(n: int) -> None:
    """How many of the harms are found, and how soon: one every third day, after three weeks."""
    rng, days = np.random.default_rng(4), 69
    truth, holiday = rhythm(rng, n, days * A_DAY, events=(30, 100_000))
    harmed, struck = truth.copy(), []
    for turn, day in enumerate(range(KNOWN_DAYS, days - 1, 3)):
        begins = day * A_DAY + int(rng.integers(0, A_DAY - A_HARM))
        name = list(HARMS)[turn % len(HARMS)]
        at = slice(begins, begins + A_HARM)
        harmed[at] = HARMS[name](truth[at])
        struck.append((name, begins))
    drawn = rng.poisson(np.exp(harmed)).astype(np.float64)
    for seasonal in (False, True):
        firing = findings(drawn, seasonal=seasonal)
        told: dict[tuple[str, str], list[float]] = {}
        for name, begins in struck:
            at = slice(begins, begins + A_HARM)
            gone = np.abs(harmed[at] - truth[at]).max(axis=0) >= np.log(2.2)
            usual = truth[: KNOWN_DAYS * A_DAY].mean(axis=0)
            for place in np.flatnonzero(gone & ~firing[begins - 1] & ~holiday[begins]).tolist():
                own = np.flatnonzero(firing[at, place])
                night = "night" if truth[begins, place] < usual[place] else "day"
                told.setdefault((name, night), []).append(float(own[0] + 1) if len(own) else np.inf)
        for (name, night), delays in sorted(told.items()):
            found, median = float(np.mean(np.isfinite(delays))), 5 * np.median(delays)
            print(  # noqa: T201
                f"seasonal {seasonal}, {name}, {night}: {found:.0%} of {len(delays)}, median {median:.0f} min",
                flush=True,
            )


def _picture() -> None:
    """Two days of a third week with a fade at their end, and what is expected with and without seasons."""
    rng, days = np.random.default_rng(6), 18
    t = np.arange(days * A_DAY)[:, None]
    truth = 6 + np.cos(2 * np.pi * (t / A_DAY - 0.6)) - 0.4 * (t // A_DAY % 7 >= 5)
    truth[-150:] += np.linspace(0, np.log(0.15), 150)[:, None]
    drawn = rng.poisson(np.exp(truth)).astype(np.float64)
    first, window = len(drawn) - 2 * A_DAY, volumes(1)
    hours = np.arange(2 * A_DAY) / 12
    drawing = {"events in 5 min": (hours, drawn[first:, 0])}
    for name, seasonal in (("expected by the last half hour", False), ("expected by the season", True)):
        detector = make("volume", {**COARSE, "seasonal": seasonal})
        expected = [detector.step(window(MONDAY_MS + i * STEP_MS, count)).reference[0] for i, count in enumerate(drawn)]
        drawing[name] = (hours, np.array(expected[first:]))
    sys.stdout.write(lines(drawing, x="hours", y="events", spans=[Span(48 - 12.5, 48, "fade")]))


def _compare(n: int) -> None:
    rng = np.random.default_rng(1)
    truth, _ = rhythm(rng, n, 6 * 2016)
    times = MONDAY_MS + np.arange(len(truth)) * STEP_MS
    _told(foretold(counts(rng, truth), truth, times))


def _data(folder: Path) -> None:
    for path in sorted(folder.rglob("*.csv")):
        with path.open(encoding="utf-8") as table:
            rows = list(csv.DictReader(table))
        values = np.array([[float(row["value"])] for row in rows])
        first = datetime.fromisoformat(rows[0]["timestamp"]).replace(tzinfo=UTC)
        times = int(first.timestamp() * 1000) + np.arange(len(rows)) * STEP_MS
        print(path.name, len(rows))  # noqa: T201
        _told(foretold(values, np.log(values + 0.5), times))


def main(arguments: Sequence[str]) -> None:
    """Print what was asked for."""
    match list(arguments):
        case ["compare", *given]:
            _compare(int(given[0]) if given else 40)
        case ["year", *given]:
            _year(*(int(number) for number in given[:2] or ("20", "365")))
        case ["power", *given]:
            _power(int(given[0]) if given else 40)
        case ["picture"]:
            _picture()
        case ["data", folder]:
            _data(Path(folder))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
