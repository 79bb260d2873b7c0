"""Whether an installation stood the load: by slopes after the warm-up, never by a single reading."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.columns import Floats
from loadgen.soak.recording import Reading, Recording, column

HOUR_S: Final = 3600.0
_POINTS: Final = 240
"""Medians that a slope is drawn through: pairs of them are compared, each with each."""
_FEWEST: Final = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """What is still good.

    Attributes
    ----------
    memory_ratio_per_h
        Growth of a worker's resident memory in an hour, as a share of what it has.
    handles_ratio
        Growth of open files, threads and open windows between the first and the last quarter.
    recovery_s
        After a fault's end, by when the lag must be back.
    behind_s
        How late the generator may be before the run says nothing.
    answered_ratio
        Share of a worker's readings that must have come.
    """

    memory_ratio_per_h: float = 0.01
    handles_ratio: float = 0.10
    recovery_s: float = 60.0
    behind_s: float = 1.0
    answered_ratio: float = 0.98


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was judged: its value against its bound (at most), in words that carry both."""

    name: str
    ok: bool
    value: float
    bound: float
    words: str


def judge(recording: Recording, limits: Limits | None = None) -> list[Check]:
    """All checks of a recording; the soak has passed when each is ok.

    Raises
    ------
    ValueError
        If it is too short to say anything: fewer than eight readings of a worker after the warm-up.
    """
    limits = limits or Limits()
    checks = [_kept_up(recording, limits)]
    for worker, readings in sorted(recording.readings.items()):
        warm = after(readings, recording.begun.at_s + recording.begun.warm_up_s)
        if len(warm) < _FEWEST:
            raise ValueError(
                f"{len(warm)} readings of {worker} after {recording.begun.warm_up_s:.0f} s of warm-up are too few "
                f"to judge by ({_FEWEST} at least): let it run longer"
            )
        checks += [
            _memory(worker, warm, limits),
            *(_steady(worker, warm, what, limits) for what in ("open_files", "threads", "open_windows")),
            _answered(worker, readings, recording, limits),
            _one_life(worker, readings),
        ]
    return [*checks, *_lags(recording, limits)]


def after(readings: Sequence[Reading], at_s: float) -> list[Reading]:
    """The readings from a moment on."""
    return [reading for reading in readings if reading.at_s >= at_s]


def slope(at_s: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between all pairs, per second (Theil 1950, Sen 1968): one burst does not bend it."""
    x, y = _medians(np.asarray(at_s, dtype=np.float64), np.asarray(values, dtype=np.float64))
    first, second = np.triu_indices(len(x), k=1)
    return float(np.median((y[second] - y[first]) / (x[second] - x[first])))


def total_lag(recording: Recording) -> tuple[Floats, Floats]:
    """Lag of all workers together: times (s) and messages, float64[n] each; a reading stands until the next."""
    series = [(column(r, "at_s"), column(r, "lag_events")) for r in recording.readings.values() if r]
    if not series:
        return np.empty(0), np.empty(0)
    times = np.unique(np.concatenate([np.asarray(at_s) for at_s, _ in series]))
    total = np.zeros(len(times))
    for at_s, lags in series:
        place = np.searchsorted(np.asarray(at_s), times, side="right") - 1
        total += np.where(place >= 0, np.asarray(lags)[np.maximum(place, 0)], 0.0)
    return times, total


def _medians(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    if len(x) <= _POINTS:
        return x, y
    parts = zip(np.array_split(x, _POINTS), np.array_split(y, _POINTS), strict=True)
    pairs = np.array([(np.median(at), np.median(values)) for at, values in parts])
    return pairs[:, 0], pairs[:, 1]


def _kept_up(recording: Recording, limits: Limits) -> Check:
    worst = max((load.behind_s for load in recording.loads), default=0.0)
    words = f"the generator was {worst:.2f} s behind its schedule at worst (at most {limits.behind_s:g} s)"
    return Check("generator", worst <= limits.behind_s, worst, limits.behind_s, words)


def _memory(worker: str, warm: Sequence[Reading], limits: Limits) -> Check:
    rss = column(warm, "rss_bytes")
    growth = slope(column(warm, "at_s"), rss) * HOUR_S / float(np.median(rss))
    words = (
        f"{worker}: resident memory grows {growth:+.2%} an hour at {np.median(rss) / 1e6:.0f} MB "
        f"(at most {limits.memory_ratio_per_h:.0%})"
    )
    return Check(f"{worker} memory", growth <= limits.memory_ratio_per_h, growth, limits.memory_ratio_per_h, words)


def _steady(worker: str, warm: Sequence[Reading], what: str, limits: Limits) -> Check:
    values = column(warm, what)
    quarter = max(len(values) // 4, 1)
    first, last = float(np.median(values[:quarter])), float(np.median(values[-quarter:]))
    # One handle more is no leak: small counts move by whole numbers.
    bound = first * (1 + limits.handles_ratio) + 2
    words = f"{worker}: {what.replace('_', ' ')} {first:.0f} in the first quarter, {last:.0f} in the last"
    return Check(f"{worker} {what.replace('_', ' ')}", last <= bound, last, bound, words)


def _answered(worker: str, readings: Sequence[Reading], recording: Recording, limits: Limits) -> Check:
    missed = sum(gap.worker == worker for gap in recording.gaps)
    share = len(readings) / (len(readings) + missed)
    words = f"{worker}: answered {share:.1%} of {len(readings) + missed} times (at least {limits.answered_ratio:.0%})"
    return Check(f"{worker} answers", share >= limits.answered_ratio, share, limits.answered_ratio, words)


def _one_life(worker: str, readings: Sequence[Reading]) -> Check:
    restarts = len({reading.started_s for reading in readings}) - 1
    return Check(f"{worker} restarts", restarts == 0, restarts, 0, f"{worker}: started again {restarts} times")


def _lags(recording: Recording, limits: Limits) -> list[Check]:
    """The lag does not grow while nothing is injected, and is back after each fault."""
    times, lag = total_lag(recording)
    warm = times >= recording.begun.at_s + recording.begun.warm_up_s
    quiet = warm & ~_near_faults(recording, times, limits)
    if quiet.sum() < _FEWEST:
        return [Check("lag", ok=False, value=float("nan"), bound=0.0, words="no time without a fault to compare with")]
    growth, bound = slope(times[quiet].tolist(), lag[quiet].tolist()) * HOUR_S, recording.begun.rate_per_s
    words = f"lag grows {growth:+,.0f} messages an hour while nothing is injected (at most one second's: {bound:,.0f})"
    checks = [Check("lag", growth <= bound, growth, bound, words)]
    for truth in recording.truths:
        end_s = truth.end_ms / 1000
        back = (times >= end_s + limits.recovery_s) & (times < end_s + 2 * limits.recovery_s)
        before = quiet & (times < truth.onset_ms / 1000)
        if back.any() and before.sum() >= _FEWEST:
            checks.append(_is_back(truth.name, lag[back], lag[before], limits))
    return checks


def _is_back(name: str, after_fault: Floats, before: Floats, limits: Limits) -> Check:
    """Back is where it was before, all faults left out: at most the largest such lag but for the highest hundredth."""
    value, usual = float(np.median(after_fault)), float(np.quantile(before, 0.99))
    words = f"{name}: lag {value:,.0f} messages {limits.recovery_s:.0f} s after its end (up to {usual:,.0f} before it)"
    return Check(f"lag after {name}", value <= usual, value, usual, words)


def _near_faults(recording: Recording, times: Floats, limits: Limits) -> NDArray[np.bool_]:
    near = np.zeros(len(times), dtype=bool)
    for truth in recording.truths:
        near |= (times >= truth.onset_ms / 1000) & (times < truth.end_ms / 1000 + limits.recovery_s)
    return near
