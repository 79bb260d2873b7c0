"""What a model is given beside what it is served: sides that do not differ in earnest, and sides that do.

Run from the repository's root, for as long as one likes: ``python -m tests.laws.skew_alarms [FEATURES]``.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors import moments
from detectors.decision import evidence
from detectors.protocol import (
    NUMBER,
    CategoryColumns,
    NumericColumns,
    ReadColumns,
    SampleColumns,
    ScopeColumns,
    Scores,
    WindowBatch,
)
from detectors.quality.skew import ASPECTS, FeatureSkew
from schemas.scopes import Family, Scope

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
READS: Final = Scope(Family.READ, "model-0", "", "feature_set=card-history")
ROWS: Final = (50, 200, 2_000, 20_000)
VALUES: Final[Mapping[str, Callable[[np.random.Generator, tuple[int, int]], Floats]]] = {
    "normal": lambda rng, shape: rng.normal(10, 3, shape),
    "lognormal, sigma 1": lambda rng, shape: rng.lognormal(3, 1, shape),
    "lognormal, sigma 2": lambda rng, shape: rng.lognormal(3, 2, shape),
    "Pareto, 1.2": lambda rng, shape: rng.pareto(1.2, shape),
    "flags of 0.5 %": lambda rng, shape: (rng.random(shape) < 0.005).astype(np.float64),
}
SKEWS: Final[Mapping[str, Callable[[np.random.Generator, Floats], Floats]]] = {
    "times 100": lambda _, values: values * 100,
    "by 100": lambda _, values: values / 100,
    "all 0": lambda _, values: np.zeros_like(values),
    "a third is 0": lambda rng, values: np.where(rng.random(values.shape) < 1 / 3, 0.0, values),
    "a fifth is null": lambda rng, values: np.where(rng.random(values.shape) < 0.2, np.nan, values),
    "to two digits": lambda _, values: _rounded(values),
}


def reads(served: Floats, given: Floats) -> ReadColumns:
    """k features of float64[k, n] and float64[k, m] values, NaN for null."""
    k = len(served)
    one, other = ((~np.isnan(side)).sum(axis=1).reshape(-1, 1) for side in (served, given))
    left, right = (np.column_stack((np.full(k, float(side.shape[1])), moments.of(side))) for side in (served, given))
    names = [f"features.f{i}" for i in range(k)]
    sets = [("card-history",)] * k
    return ReadColumns(np.zeros(k, np.int64), np.arange(k), names, sets, left, right, [(NUMBER,)] * k, one, other)


def texts(served: Ints, given: Ints) -> ReadColumns:
    """k features of int64[k, K] counts of K texts; nothing is null."""
    k, width = served.shape
    empty = np.tile(np.array(moments.EMPTY), (k, 1))
    left, right = (np.column_stack((side.sum(axis=1), empty)) for side in (served, given))
    names = [f"features.f{i}" for i in range(k)]
    values = [tuple(map(str, range(width)))] * k
    sets = [("card-history",)] * k
    return ReadColumns(np.zeros(k, np.int64), np.arange(k), names, sets, left, right, values, served, given)


def window(columns: ReadColumns, start_ms: int = 0) -> WindowBatch:
    """A window of one feature set's reads by one model."""
    none, unknown = np.zeros(1, np.int64), np.full(1, np.nan)
    scopes = ScopeColumns(none, [Family.READ], none, none, none, none, unknown, unknown, {}, [READS])
    return WindowBatch(
        start_ms, 300_000, scopes, NumericColumns.none(), CategoryColumns.none(), SampleColumns([], [], [], []),
        reads=columns,
    )  # fmt: skip


def found(columns: ReadColumns) -> tuple[float, Scores]:
    """The share of the features that one window speaks against, and their scores."""
    scores = FeatureSkew().step(window(columns))
    return float(evidence(scores).mean()), scores


def _rounded(values: Floats) -> Floats:
    scale = 10.0 ** (np.floor(np.log10(np.maximum(np.abs(values), 1e-9))) - 1)
    rounded: Floats = np.round(values / scale) * scale
    return rounded


def _cached(rng: np.random.Generator, values: Floats) -> Floats:
    """The reads behind values float64[1, n] where those who ask often, whose values are high, are mostly cached."""
    often = np.argsort(np.argsort(values, axis=1), axis=1) > 0.7 * values.shape[1]
    kept = ~often | (rng.random(values.shape) < 0.1)
    reads_of: Floats = values[kept].reshape(1, -1)
    return reads_of


def _say(what: str, rows: int, columns: ReadColumns) -> None:
    share, scores = found(columns)
    told = {label for label, hit in zip(scores.label or (), evidence(scores).tolist(), strict=True) if hit}
    worst = ", ".join(aspect for aspect in ASPECTS if aspect in told)
    print(f"{what}, {rows:,} values: {share:.4%} {worst}", flush=True)  # noqa: T201


def main() -> None:
    """Print the share of features that a window speaks against, of sides that are alike, and of those that are not."""
    features = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rng = np.random.default_rng(1)
    for name, draw in VALUES.items():
        for rows in ROWS:
            shape = (features, rows)
            values = draw(rng, shape)
            _say(f"{name}, other requests", rows, reads(draw(rng, shape), values))
            _say(f"{name}, a quarter read", rows, reads(draw(rng, (features, max(rows // 4, 50))), values))
            kept = [_cached(rng, row[None])[0] for row in values[:20]]
            shares = [found(reads(one[None], row[None]))[0] for one, row in zip(kept, values, strict=False)]
            print(f"{name}, a cache for those who ask often, {rows:,} values: {np.mean(shares):.1%}")  # noqa: T201
            for skew, strike in SKEWS.items():
                _say(f"  {name}, {skew}", rows, reads(values, strike(rng, values)))
    for width in (2, 10, 90):
        weights = 1 / np.arange(1, width + 1)
        for rows in ROWS:
            drawn = [rng.multinomial(rows, weights / weights.sum(), features) for _ in range(2)]
            _say(f"{width} texts, other requests", rows, texts(*drawn))
            _say(f"  {width} texts, the first is another", rows, texts(drawn[0], np.roll(drawn[0], 1, axis=1)))


if __name__ == "__main__":
    main()
