"""How often GPUs that are well are called ill: ``python -m tests.laws.gpu_alarms [--gpus N] [--seed S]``.

Fleets whose telemetry is stationary, or changes for reasons that are nobody's fault, through the detectors that judge
it by statistics and through the decision; prints findings that began, by kind of fleet and number of GPUs in a host.
"""

import argparse
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.decision import DecisionBank
from detectors.protocol import (
    CategoryColumns,
    NumericColumns,
    Role,
    SampleColumns,
    ScopeColumns,
    WindowBatch,
)
from detectors.registry import make
from schemas.scopes import Family, Scope

Floats = NDArray[np.float64]
Gauges = Mapping[str, Floats]
"""Quantity → the window's value of every GPU, float64[n]."""
TOTAL: Final = 80e9
SAMPLES: Final = 30
DAY: Final = 288


class Fleet:
    """``gpus`` GPUs, ``per_host`` to a host, as windows of ``size_ms``."""

    def __init__(self, gpus: int, per_host: int, size_ms: int) -> None:
        self.keys = [Scope(Family.GPU, f"node-{i // per_host}", f"GPU-{i}") for i in range(gpus)]
        self.size_ms = size_ms

    def window(self, number: int, gauges: Gauges) -> WindowBatch:
        """Every gauge is one value throughout the window."""
        n, names = len(self.keys), list(gauges)
        values = np.concatenate(list(gauges.values()))
        scope = np.tile(np.arange(n), len(names))
        blank = np.full(len(values), np.nan)
        none, count = np.zeros(len(values), np.int64), np.full(len(values), SAMPLES)
        numeric = NumericColumns(
            series=np.arange(len(values)), scope=scope, name=np.repeat(names, n).tolist(),
            role=np.full(len(values), int(Role.GAUGE)), rows=count, count=count, mean=values, m2=np.zeros(len(values)),
            min=values, max=values, quantiles=np.stack([values] * 3, axis=1), has_baseline=none > 0,
            has_edges=none > 0, cur=np.zeros((len(values), 34), np.int64), ref=np.zeros((len(values), 34), np.int64),
            edges=np.full((len(values), 33), np.nan), ref_count=none, ref_rows=none, ref_mean=blank, ref_std=blank,
            ref_quantiles=np.full((len(values), 3), np.nan),
        )  # fmt: skip
        empty, table = np.zeros(0, np.int64), np.zeros((0, 0), np.int64)
        categories = CategoryColumns(
            empty, empty, [], empty > 0, [], empty, empty > 0, table, table, empty
        )  # fmt: skip
        scopes = ScopeColumns(
            np.arange(n), [Family.GPU] * n, np.full(n, SAMPLES), np.zeros(n, np.int64), np.zeros(n, np.int64),
            np.full(n, 1_000), np.full(n, np.nan), np.full(n, np.nan), {}, self.keys,
        )  # fmt: skip
        start_ms = number * self.size_ms
        return WindowBatch(start_ms, self.size_ms, scopes, numeric, categories, SampleColumns([], [], [], []))


def held(used: Floats, busy: Floats | float) -> Gauges:
    at = np.broadcast_to(busy, used.shape)
    return {
        "memory_used_bytes": np.clip(used, 0, TOTAL),
        "memory_total_bytes": np.full(len(used), TOTAL),
        "utilization_ratio": np.asarray(at, np.float64),
    }


def even(rng: np.random.Generator, n: int) -> Iterator[Gauges]:
    """Memory that stays as it is, but for noise."""
    while True:
        yield held(45e9 + rng.normal(0, 1e8, n), rng.uniform(0.4, 0.6, n))


def sluggish(rng: np.random.Generator, n: int) -> Iterator[Gauges]:
    """A cache that fills and empties over an hour (autoregressive)."""
    used = np.zeros(n)
    while True:
        used = 0.92 * used + rng.normal(0, 4e8, n)
        yield held(50e9 + used, 0.5)


def wandering(rng: np.random.Generator, n: int) -> Iterator[Gauges]:
    """A random walk, which no memory is: the worst that chance can do."""
    used = np.full(n, 40e9)
    while True:
        used = np.clip(used + rng.normal(0, 2e8, n), 20e9, 60e9)
        yield held(used, 0.5)


def records(rng: np.random.Generator, n: int) -> Iterator[Gauges]:
    """A caching allocator that keeps room for the largest request so far."""
    used = np.zeros(n)
    while True:
        used = np.maximum(used, 30e9 + 3e9 * rng.gumbel(0, 1, n))
        yield held(used + rng.normal(0, 2e7, n), 0.5)


def days(rng: np.random.Generator, n: int) -> Iterator[Gauges]:
    """Memory that follows the load of the day, in proportion at the most."""
    fixed, phase, window = rng.uniform(5e9, 40e9, n), rng.integers(0, DAY, n), 0
    while True:
        load = 0.5 + 0.35 * np.sin(2 * np.pi * (window + phase) / DAY)
        yield held(fixed + 30e9 * load + rng.normal(0, 1e8, n), load * (1 + rng.normal(0, 0.02, n)))
        window += 1


def collected(rng: np.random.Generator, n: int) -> Iterator[Gauges]:
    """Memory that is given back every so often, after half an hour to four."""
    every, age = rng.integers(6, 48, n), rng.integers(0, 48, n)
    while True:
        age = np.where(age >= every, 0, age + 1)
        yield held(40e9 + 8e9 * age / every + rng.normal(0, 1e8, n), 0.5)


def restarted(rng: np.random.Generator, n: int) -> Iterator[Gauges]:
    """Servers that restart every six hours or so and warm up over minutes to hours."""
    age, slow = rng.uniform(0, 72, n), rng.uniform(1, 36, n)
    while True:
        age = np.where(rng.random(n) < 1 / 72, 0.0, age + 1)
        yield held(65e9 - 35e9 * np.exp(-age / slow) + rng.normal(0, 1e8, n), 0.5)


def worn(rng: np.random.Generator, n: int) -> Iterator[Gauges]:
    """Corrected errors at the rates that cards have, one in a month to three a minute, some of them in bursts."""
    rate, burst = 10 ** rng.uniform(-4.5, 0.5, n), rng.random(n) < 0.3
    total = np.zeros(n)
    while True:
        total += rng.poisson(rate) * np.where(burst, rng.geometric(0.02, n), 1)
        yield {"ecc_corrected_total": total.copy()}


def clocked(rng: np.random.Generator, n: int) -> Iterator[Gauges]:
    """Cards that differ by 2 % of their clock for good and by 2 % from minute to minute."""
    own = rng.normal(1, 0.02, n)
    while True:
        yield {
            "sm_clock_hz": 1.8e9 * own * rng.normal(1, 0.02, n),
            "sm_clock_max_hz": np.full(n, 2e9),
            "utilization_ratio": rng.uniform(0.3, 1, n),
        }


PLAYS: Final = (
    *(("gpu_leak", play, 8, 300_000) for play in (even, sluggish, wandering, records, days, collected, restarted)),
    ("gpu_ecc_rate", worn, 8, 60_000),
    *(("gpu_slow", clocked, per_host, 60_000) for per_host in (3, 4, 8, 16)),
)


def main() -> None:
    """Play all of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.laws.gpu_alarms", description=__doc__)
    parser.add_argument("--gpus", type=int, default=480)
    parser.add_argument("--windows", type=int, default=3 * DAY)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    for kind, play, per_host, size_ms in PLAYS:
        fleet, detector, bank = Fleet(asked.gpus, per_host, size_ms), make(kind), DecisionBank()
        began, later, against = 0, 0, 0
        states = play(np.random.default_rng(asked.seed), asked.gpus)
        for number, gauges in enumerate(islice(states, asked.windows)):
            decided = bank.decide(detector.step(fleet.window(number, gauges)), number * size_ms, size_ms)
            began += int(decided.started.sum())
            later += int(decided.started.sum()) if number >= asked.windows // 3 else 0
            against += int(decided.evidence.sum())
        gpu_days = asked.gpus * asked.windows * size_ms / 86_400_000
        print(  # noqa: T201 - a report
            f"{kind:13} {play.__name__:10} {per_host:2} per host: {began} findings in {gpu_days:,.0f} GPU-days, "
            f"{later} of them after a third; {against} of {asked.gpus * asked.windows:,} windows evidence"
        )


if __name__ == "__main__":
    main()
