"""How often the detectors of data quality speak while nothing changes, and how soon when something does.

From the repository's root: ``python -m tests.laws.quality_alarms [WINDOWS]``. What comes with every test run is in
``tests/unit/detectors/test_quality.py``.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from detectors.baseline import from_table
from detectors.decision import DecisionBank
from detectors.registry import make
from schemas.scopes import Family, Scope
from tests.laws.world import Seen, World

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]
MODEL = Scope(Family.PREDICTION, "m", "1")
STORE = Scope(Family.FEATURE, "history")
MINUTE_MS = 60_000
KINDS = ("schema", "new_field", "range", "duplicates", "freshness", "frozen")


def bursts(draw: Draw, size: int) -> Draw:
    """Values that come ``size`` of a kind in a row, as those of a session do."""

    def drawn(rng: np.random.Generator, n: int) -> Floats:
        return np.repeat(draw(rng, -(-n // size)), size)[:n]

    return drawn


def some(draw: Draw, share: float) -> Draw:
    """Values of which only a share is there."""

    def drawn(rng: np.random.Generator, n: int) -> Floats:
        return np.where(rng.random(n) < share, draw(rng, n), np.nan)

    return drawn


FEATURES: Mapping[str, Draw] = {
    "features.normal": lambda rng, n: rng.normal(size=n),
    "features.heavy": lambda rng, n: rng.lognormal(3, 2, n),
    "features.pareto": lambda rng, n: rng.pareto(1.5, n),
    "features.counts": lambda rng, n: rng.poisson(3, n).astype(np.float64),
    "features.flag": lambda rng, n: (rng.random(n) < 0.15).astype(np.float64),
    "features.sessions": bursts(lambda rng, n: rng.lognormal(3, 2, n), 10),
    "features.optional": some(lambda rng, n: rng.normal(size=n), 0.6),
    "features.rare": some(lambda rng, n: rng.normal(size=n), 0.02),
    "features.never": some(lambda rng, n: rng.normal(size=n), 0.001),
}


class Stream:
    """Windows of a model, from a baseline of ``ref`` events of its own; and the findings they start."""

    def __init__(
        self, seed: int, rows: int, ref: int, scope: Scope = MODEL, columns: Mapping[str, Draw] = FEATURES
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.columns, self.rows, self.scope = columns, rows, scope
        table = {name: draw(self.rng, ref) for name, draw in self.columns.items()}
        base = from_table(scope, table, built_from="test", effective_from_ms=0, panes=12)
        self.world = World({scope: base})
        self.detectors = {kind: make(kind) for kind in KINDS}
        self.bank = DecisionBank()
        self.at = 0

    def seen(self, ids: int = 200, repeated: float = 0.0) -> Seen:
        """A window as usual; ids that repeat independently."""
        rows = int(self.rng.poisson(self.rows))
        numeric = {name: draw(self.rng, rows) for name, draw in self.columns.items()}
        return Seen(rows, numeric, ids=(ids, int(self.rng.binomial(ids, repeated))))

    def step(self, seen: Seen) -> list[tuple[str, str]]:
        """(detector, quantity) of the findings that start with this window."""
        window = self.world.window({self.scope: seen}, self.at * MINUTE_MS)
        self.at += 1
        found = []
        for kind, detector in self.detectors.items():
            scores = detector.step(window)
            decided = self.bank.decide(scores, window.start_ms, window.size_ms)
            found += [(kind, scores.quantity[i]) for i in np.flatnonzero(decided.started).tolist()]
        return found


def sawtooth(period: int, jitter: float = 0.05) -> Iterator[Draw]:
    """Ages of values that are refreshed every so many windows, all at once: one way to draw them for each window."""
    at = 0
    while True:
        since = at % period * MINUTE_MS

        def drawn(rng: np.random.Generator, n: int, since: int = since) -> Floats:
            return (since + rng.uniform(0, MINUTE_MS, n)) * (1 + jitter * rng.normal(size=n))

        yield drawn
        at += 1


def stationary(seed: int, rows: int, ref: int, windows: int, repeated: float = 0.0) -> Counter[tuple[str, str]]:
    """Findings that started in as many windows."""
    stream = Stream(seed, rows, ref)
    return Counter(found for _ in range(windows) for found in stream.step(stream.seen(min(rows, 200), repeated)))


def ages(seed: int, rows: int, period: int, windows: int) -> int:
    """Findings of freshness in ages that rise for ``period`` windows and fall, 0 for such as only vary."""
    teeth = sawtooth(max(period, 1))

    def constant(rng: np.random.Generator, n: int) -> Floats:
        return rng.lognormal(10, 0.6, n)

    stream = Stream(seed, rows, 2_000, STORE, {"freshness_ms": next(teeth) if period else constant})
    found = 0
    for _ in range(windows):
        if period:
            stream.columns = {"freshness_ms": next(teeth)}
        found += len(stream.step(stream.seen()))
    return found


def main() -> None:
    """Print all of it."""
    windows = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    for rows, ref in ((60, 500), (200, 2_000), (2_000, 2_000), (20_000, 5_000)):
        for repeated in (0.0, 0.02, 0.2):
            found = stationary(1, rows, ref, windows, repeated)
            print(f"{rows} rows, {ref} of baseline, {repeated:.0%} repeated: {dict(found) or 'nothing'}", flush=True)  # noqa: T201
    for rows in (30, 300, 3_000):
        for period in (0, 5, 20, 25, 60):
            print(f"{rows} ages, refreshed every {period} min: {ages(1, rows, period, windows)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
