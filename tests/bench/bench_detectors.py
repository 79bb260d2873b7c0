"""What all detectors of one window of predictions cost: ten thousand scopes of fifty quantities, beside numpy.

Run from the repository's root: ``python -m tests.bench.bench_detectors [scopes]``. A pass is one ``np.log`` over the
window's bin counts, the least that anything could do with them. Ratios travel between machines; times do not. It is
CPU time; what detectors share of a window is made by the first that asks for it, and counts as its cost.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from detectors.decision import DecisionBank
from detectors.histograms import binned, log
from detectors.protocol import Detector, IdColumns, WindowBatch
from detectors.registry import make
from tests.laws.crowd import Crowd
from tests.laws.latency_alarms import KINDS as LATENCY_KINDS
from tests.laws.latency_alarms import Requests

SCOPES: Final = 10_000
FEATURES: Final = 44
TEXTS: Final = 4
KINDS: Final = (
    "psi", "wasserstein", "kolmogorov", "martingale", "categories", "new_category", "cardinality", "nulls", "latency",
    "volume", "errors", "adwin", "schema", "new_field", "range", "duplicates", "freshness", "frozen", "crowd",
    "score_mean",
)  # fmt: skip
ROUNDS: Final = 3
MAX_PASSES: Final = 60.0
MAX_STATE_BYTES: Final = 4_096
"""Of a quantity, all detectors together."""


def fastest_s(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """CPU seconds of the fastest of some rounds."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


@dataclass(slots=True)
class Costs:
    """CPU seconds of one pass over the window's counts and of each detector with its decisions; bytes of a quantity."""

    one_pass_s: float
    by_kind_s: dict[str, float]
    state_bytes: float


def detectors_cost(scopes: int) -> Costs:
    """What the detectors of one window cost, and what they keep."""
    window = Crowd(np.random.default_rng(7), scopes, FEATURES, texts=TEXTS).window(2_000)
    events, place = window.scopes.rows, np.arange(scopes)
    series = int(window.categories.series.max()) + 1 + place
    ids = IdColumns(place, series, events, np.minimum(events, 256), place * 0, np.minimum(events, 256))
    window = replace(window, ids=ids)
    counts = window.numeric.cur
    one_pass = fastest_s(lambda: np.log(counts + 1.0))
    bank, costs = DecisionBank(), dict.fromkeys(KINDS, math.inf)
    banks = {kind: make(kind) for kind in KINDS}
    for _ in range(ROUNDS + 1):  # the first makes the state
        fresh = replace(window, numeric=replace(window.numeric))  # with nothing made of it yet
        for kind, detector in banks.items():

            def work(detector: Detector = detector, fresh: WindowBatch = fresh) -> None:
                bank.decide(detector.step(fresh), 0, 60_000)

            costs[kind] = min(costs[kind], fastest_s(work, 1))
    kept = sum(len(detector.to_bytes()) for detector in banks.values()) + len(bank.to_bytes())
    return Costs(one_pass, costs, kept / (scopes * (FEATURES + TEXTS + 2)))


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
    found = detectors_cost(1_000)
    costs = found.by_kind_s | latencies_s(1_000)
    assert sum(costs.values()) <= MAX_PASSES * found.one_pass_s
    assert found.state_bytes <= MAX_STATE_BYTES


def main() -> None:
    """Print the figures."""
    scopes = int(sys.argv[1]) if len(sys.argv) > 1 else SCOPES
    for name, cost in histograms_ns().items():
        print(f"{name:24} {cost:8.1f} ns a value")  # noqa: T201 - a script for people
    found = detectors_cost(scopes)
    one_pass, costs = found.one_pass_s, found.by_kind_s
    costs |= {kind: cost for kind, cost in latencies_s(scopes).items() if kind not in costs}
    print(f"{scopes:,} scopes of {FEATURES + TEXTS + 2} quantities; one pass: {one_pass * 1e3:.1f} ms")  # noqa: T201
    for kind, cost in (costs | {"all": sum(costs.values())}).items():
        print(f"{kind:24} {cost * 1e3:8.1f} ms {cost / one_pass:8.1f} passes")  # noqa: T201
    print(f"{'state of a quantity':24} {found.state_bytes:8.1f} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
