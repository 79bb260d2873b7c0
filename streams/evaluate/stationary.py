"""Series in which nothing ever happens: whatever is raised there is a false alarm."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.series.protocol import alarms
from streams.evaluate.series import LabelledSeries
from streams.evaluate.tally import Tally, tally

Floats = NDArray[np.float64]

STEP_MS: Final = 300_000
"""Between rows: five minutes."""
FIRST: Final = 600
"""Rows before which nothing counts: two days, as a season takes to be known."""


def _autoregressive(rng: np.random.Generator, rows: int) -> Floats:
    noise, value = rng.normal(size=rows), np.zeros(rows)
    for row in range(1, rows):
        value[row] = 0.9 * value[row - 1] + noise[row]
    return value


def _daily(rng: np.random.Generator, rows: int) -> Floats:
    return 5 * np.sin(2 * np.pi * np.arange(rows) * STEP_MS / 86_400_000) + rng.normal(size=rows)


KINDS: Final[Mapping[str, Callable[[np.random.Generator, int], Floats]]] = {
    "gaussian": lambda rng, rows: rng.normal(size=rows),
    "autoregressive": _autoregressive,
    "random_walk": lambda rng, rows: np.cumsum(rng.normal(size=rows)),
    "daily": _daily,
    "lognormal": lambda rng, rows: np.exp(rng.normal(size=rows)),
    "poisson": lambda rng, rows: rng.poisson(0.5, rows).astype(np.float64),
    "student_3": lambda rng, rows: rng.standard_t(3, rows),
}
"""Kind → its values; of a random walk the steps are stationary."""


def stationary(kind: str, rows: int, seeds: Sequence[int]) -> Iterator[LabelledSeries]:
    """A series of a kind for each seed, without a single anomaly."""
    ts_ms = np.arange(rows, dtype=np.int64) * STEP_MS
    for seed in seeds:
        value = KINDS[kind](np.random.default_rng(seed), rows)
        yield LabelledSeries(f"{kind}-{seed}", ts_ms, value, np.empty((0, 2), np.int64))


def false_alarms(score: Floats, threshold: float) -> Tally:
    """What float64[n] scores of such a series raise, repeats within the refractory period not counted."""
    return tally(alarms(score, threshold), np.empty((0, 2), np.int64), len(score), FIRST)
