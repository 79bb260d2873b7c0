"""What all numeric detectors of one window cost: ten thousand scopes of fifty quantities, beside a pass of numpy.

Run from the repository's root: ``python -m tests.bench.bench_detectors [scopes]``. A pass is one ``np.log`` over the
window's bin counts, the least that anything could do with them. Ratios travel between machines; times do not.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from detectors.decision import DecisionBank
from detectors.histograms import binned, log
from detectors.registry import make
from tests.laws.crowd import Crowd
from tests.laws.latency_alarms import KINDS as LATENCY_KINDS
from tests.laws.latency_alarms import Requests

SCOPES: Final = 10_000
FEATURES: Final = 44
TEXTS: Final = 4
KINDS: Final = (
    "psi", "wasserstein", "kolmogorov", "martingale", "categories", "new_category", "cardinality", "nulls", "latency",
    "volume", "errors", "adwin", "gpu_temperature", "gpu_memory",
)  # fmt: skip
ROUNDS: Final = 3
MAX_PASSES: Final = 80.0


def fastest_s(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Seconds of the fastest of some rounds."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def detectors_s(scopes: int) -> tuple[float, dict[str, float]]:
    """Seconds of one pass over the window's counts, and of each detector with its decisions."""
    window = Crowd(np.random.default_rng(7), scopes, FEATURES, texts=TEXTS).window(2_000)
    counts = window.numeric.cur
    one_pass = fastest_s(lambda: np.log(counts + 1.0))
    bank, costs = DecisionBank(), {}
    for kind in KINDS:
        detector = make(kind)
        detector.step(window)

        def work(detector: object = detector) -> None:
            bank.decide(detector.step(window), 0, 60_000)  # type: ignore[attr-defined]

        costs[kind] = fastest_s(work)
    return one_pass, costs


def latencies_s(scopes: int) -> dict[str, float]:
    """Seconds of each detector that reads histograms of latencies, one a scope, and of one objective for each."""
    crowd = Requests(7, "lognormal", scopes, 5_000)
    window, series = crowd.window(2_000), {"slo.fast": np.arange(scopes)}
    window = replace(window, scopes=replace(window.scopes, series=series))
    slo = {"slos": [{"name": "fast", "kind": "latency", "threshold_ms": 60.0}]}
    costs = {}
    for kind in (*LATENCY_KINDS, "slo"):
        detector = make(kind, slo if kind == "slo" else None)
        detector.step(window)

        def work(detector: object = detector) -> None:
            detector.step(window)  # type: ignore[attr-defined]

        costs[kind] = fastest_s(work)
    return costs


def histograms_ns(values: int = 100_000) -> dict[str, float]:
    """Nanoseconds a value of each way to a bin."""
    rng = np.random.default_rng(7)
    x = rng.lognormal(3, 1, values)
    edges = np.stack([binned.quantile_edges(rng.lognormal(3, 1, 5_000)) for _ in range(50)])
    which = rng.integers(0, 50, values)
    ways: dict[str, Callable[[], object]] = {
        "log.bins_of": lambda: log.bins_of(x),
        "binned.bins_of": lambda: binned.bins_of(x, edges[0]),
        "binned.bins_of_many": lambda: binned.bins_of_many(x, edges, which),
    }
    return {name: fastest_s(work, 10) / values * 1e9 for name, work in ways.items()}


def test_all_numeric_detectors_cost_a_few_passes_of_numpy() -> None:
    one_pass, costs = detectors_s(1_000)
    costs |= latencies_s(1_000)
    assert sum(costs.values()) <= MAX_PASSES * one_pass


def main() -> None:
    """Print the figures."""
    scopes = int(sys.argv[1]) if len(sys.argv) > 1 else SCOPES
    for name, cost in histograms_ns().items():
        print(f"{name:24} {cost:8.1f} ns a value")  # noqa: T201 - a script for people
    one_pass, costs = detectors_s(scopes)
    costs |= {kind: cost for kind, cost in latencies_s(scopes).items() if kind not in costs}
    print(f"{scopes:,} scopes of {FEATURES + TEXTS + 2} quantities; one pass: {one_pass * 1e3:.1f} ms")  # noqa: T201
    for kind, cost in (costs | {"all": sum(costs.values())}).items():
        print(f"{kind:24} {cost * 1e3:8.1f} ms {cost / one_pass:8.1f} passes")  # noqa: T201


if __name__ == "__main__":
    main()
