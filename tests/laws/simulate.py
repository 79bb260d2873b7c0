"""What the detectors say about streams whose truth is known: how often without a cause, and how soon with one.

Run from the repository's root, for as long as one likes: ``python -m tests.laws.simulate stationary [SCOPES WINDOWS]``,
``power [SEEDS]``, or ``picture``, which draws a drift as SVG. What comes with every test run is in ``test_alarms.py``.
"""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from detectors.decision import DecisionBank
from detectors.drift.pooling import POOLED, WindowPool
from detectors.protocol import Detector, Role, WindowBatch
from detectors.registry import make
from loadgen.plots import Span, lines
from tests.laws.crowd import Crowd, at

MINUTE_MS: Final = 60_000
OLD_DRIFT: Final = ("psi", "wasserstein", "categories")
DRIFT: Final = (*OLD_DRIFT, "kolmogorov", "martingale", "new_category", "cardinality")
WATCHED: Final = (*DRIFT, "nulls", "latency", "volume", "errors", "adwin")
VOLUMES: Final = (20, 200, 2_000, 20_000, 200_000)
LONGEST: Final = 100
"""Windows after which a change counts as not found."""


class Watch:
    """Detectors and the decisions behind them, stepped together as the analyse stage does.

    ``pooling`` false shows what windows with too few events would say alone: nothing.
    """

    def __init__(self, kinds: Sequence[str], *, pooling: bool = True) -> None:
        self.pool = WindowPool(200) if pooling else None
        self.detectors: dict[str, Detector] = {kind: make(kind) for kind in kinds}
        self.bank = DecisionBank()

    def step(self, window: WindowBatch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Detector → the series, int64[n], for which a finding holds, and those for which one has started."""
        said = {}
        pooled = self.pool.pool(window) if self.pool else window
        for kind, detector in self.detectors.items():
            scores = detector.step(pooled if kind in POOLED else window)
            decided = self.bank.decide(scores, window.start_ms, window.size_ms)
            said[kind] = scores.series[decided.firing], scores.series[decided.started]
        return said


def false_alarms(
    seed: int, *, scopes: int, windows: int, rows: int, features: int = 45, texts: int = 5, ref: int = 5_000
) -> Counter[str]:
    """Findings that started in ``windows`` windows of ``scopes`` scopes that never change, by detector."""
    crowd = Crowd(np.random.default_rng(seed), scopes, features, ref, texts)
    watch, started = Watch(WATCHED), Counter[str]()
    for i in range(windows):
        for kind, (_, new) in watch.step(at(crowd.window(rows), i * MINUTE_MS)).items():
            started[kind] += len(new)
    return +started


Harm = Callable[[int], Mapping[str, float]]
HARMS: Final[dict[str, Harm]] = {
    "shift of 0.5 σ": lambda t: {"shift": 0.5},  # noqa: ARG005 - sudden: the same in every window
    "shift of 0.2 σ": lambda t: {"shift": 0.2},  # noqa: ARG005
    "slow drift, 0.02 σ a window": lambda t: {"shift": 0.02 * t},
    "5 % of a new category": lambda t: {"new": 0.05},  # noqa: ARG005
}


def delays(
    kinds: Sequence[str], harm: Harm, *, rows: int, seed: int, ref: int = 5_000, before: int = 20, pooling: bool = True
) -> list[int]:
    """Windows until some detector speaks of each feature (each text where it is they that change), from 1.

    ``LONGEST`` for what is never found. What was said before the change does not count, so that a false alarm is no
    discovery.
    """
    crowd, watch = Crowd(np.random.default_rng(seed), 2, 10, ref, texts=10), Watch(kinds, pooling=pooling)
    feature = crowd.role == Role.FEATURE
    for i in range(before):
        watch.step(at(crowd.window(rows), i * MINUTE_MS))
    found: dict[int, int] = {}
    expected: set[int] = set()
    for t in range(1, LONGEST):
        harmed = dict(harm(t))
        shift = np.where(feature, harmed.pop("shift", 0.0), 0.0)
        window = at(crowd.window(rows, shift=shift, **harmed), (before + t) * MINUTE_MS)
        texts = set(window.categories.series.tolist())
        expected = texts if "new" in harm(t) else set(np.flatnonzero(feature).tolist())
        for firing, _ in watch.step(window).values():
            for series in expected.intersection(firing.tolist()):
                found.setdefault(series, t)
        if len(found) == len(expected):
            break
    return [found.get(series, LONGEST) for series in expected]


def _stationary(scopes: int, windows: int) -> None:
    for ref in (2_000, 5_000):
        for rows in VOLUMES:
            found = sum(
                (false_alarms(seed, scopes=scopes, windows=windows, rows=rows, ref=ref) for seed in (1, 2, 3)),
                Counter[str](),
            )
            total = 3 * scopes * windows
            rate = sum(found.values()) / total * 10_000
            print(  # noqa: T201 - a script for people
                f"baseline {ref:,}, {rows:,} rows: {rate:.2f} a 10,000 windows of 50 features "
                f"({total:,} watched) {dict(found)}",
                flush=True,
            )


def _power(seeds: int) -> None:
    for name, harm in HARMS.items():
        for rows in VOLUMES[:4]:
            watched = (OLD_DRIFT, DRIFT, *((kind,) for kind in DRIFT))
            told = [
                np.median(
                    [
                        delay
                        for seed in range(seeds)
                        for delay in delays(kinds, harm, rows=rows, seed=seed, pooling=kinds is not OLD_DRIFT)
                    ]
                )
                for kinds in watched
            ]
            cells = ["–" if delay >= LONGEST else f"{delay:.0f}" for delay in told]
            by = ", ".join(f"{kind} {cell}" for kind, cell in zip(DRIFT, cells[2:], strict=True))
            print(f"{name}, {rows:,} rows: {cells[0]} → {cells[1]}   ({by})", flush=True)  # noqa: T201


def _picture() -> None:
    """A slow drift at 200 rows, and how far each detector's score is over its limit."""
    rng, kinds = np.random.default_rng(2), ("psi", "wasserstein", "martingale")
    crowd, pool = Crowd(rng, 1, 1), WindowPool(200)
    detectors = {kind: make(kind) for kind in kinds}
    begins, windows = 20, 60
    over: dict[str, tuple[list[float], list[float]]] = {kind: ([], []) for kind in kinds}
    for i in range(windows):
        window = at(crowd.window(200, shift=np.where(crowd.role == Role.FEATURE, max(i - begins, 0) * 0.02, 0)), i)
        pooled = pool.pool(window)
        for kind, detector in detectors.items():
            scores = detector.step(pooled if kind in POOLED else window)
            if scores.ready[0]:
                over[kind][0].append(float(i))
                over[kind][1].append(float(scores.score[0] / max(scores.floor[0], scores.noise[0])))
    span = Span(begins, windows - 1, "drift")
    sys.stdout.write(lines(over, x="windows of 200 rows", y="score over its limit", spans=[span], bound=1.0))


def main() -> None:
    """Print what was asked for."""
    given = sys.argv[1:]
    if given and given[0] == "stationary":
        _stationary(*(int(number) for number in given[1:3] or ("20", "200")))
    elif given and given[0] == "power":
        _power(int(given[1]) if given[1:] else 3)
    elif given == ["picture"]:
        _picture()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
