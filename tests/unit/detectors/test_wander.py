"""Features that stray from themselves: what that is, and what is no finding because of it."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.baseline import from_cells, from_table
from detectors.drift.compared import DISTANCES
from detectors.drift.wander import wander
from detectors.histograms.binned import quantile_edges
from detectors.registry import make
from schemas.baselines import decode, encode
from schemas.scopes import Family, Scope
from tests.laws.world import Seen, World

Floats = NDArray[np.float64]
MODEL = Scope(Family.PREDICTION, "loans", "1")
AGE = "features.age"


SHAPES: Mapping[str, Callable[[np.random.Generator, int], Floats]] = {
    "normal": lambda rng, rows: rng.normal(size=rows),
    "lognormal": lambda rng, rows: rng.lognormal(size=rows),
    "flag": lambda rng, rows: (rng.random(rows) < 0.05).astype(np.float64),
    "constant": lambda _, rows: np.ones(rows),
    "counts": lambda rng, rows: rng.poisson(2, rows).astype(np.float64),
    "bursts": lambda rng, rows: np.repeat(rng.normal(size=rows // 4), 4),
}


def straying(seed: int, rows: int, sigmas: float) -> Floats:
    """Normal values whose mean goes up and down twice."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=rows) + sigmas * np.sin(np.linspace(0, 4 * np.pi, rows))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rows", [2_000, 50_000])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_stays_as_it_is_does_not_stray(seed: int, rows: int, shape: str) -> None:
    values = SHAPES[shape](np.random.default_rng(seed), rows)
    assert wander(values, quantile_edges(values)) == ()


@pytest.mark.parametrize("seed", range(4))
def test_what_strays_does_so_by_every_distance_and_the_further_the_more(seed: int) -> None:
    near, far = (
        np.array(wander(values, quantile_edges(values)))
        for values in (straying(seed, 20_000, 0.4), straying(seed, 20_000, 0.8))
    )
    assert len(near) == len(DISTANCES)
    assert (near > 0).all()
    assert (far > near).all()


def test_too_few_values_say_nothing() -> None:
    values = straying(1, 900, 2.0)
    assert wander(values, quantile_edges(values)) == ()


def test_the_order_of_rows_is_what_tells() -> None:
    values = straying(1, 5_000, 0.6)
    mixed = np.random.default_rng(2).permutation(values)
    assert wander(values, quantile_edges(values))
    assert wander(mixed, quantile_edges(mixed)) == ()


def test_a_baseline_carries_it_and_gives_it_to_its_parts() -> None:
    baseline = from_table(MODEL, {AGE: straying(3, 5_000, 0.6)}, built_from="test", effective_from_ms=0)
    (part,) = decode(encode(baseline)).numeric
    assert len(part.wander) == len(DISTANCES)
    edges, counts = np.frombuffer(part.edges, "<f8"), np.frombuffer(part.counts, "<u4").astype(np.int64)
    assert from_cells(AGE, np.array([5_000.0, 0, 1, -3, 3]), edges, counts, part.wander).wander == part.wander


def evidence(kind: str, reference: Floats, shift: float, windows: int = 15) -> int:
    """Windows of 5,000 rows that are evidence."""
    table = {AGE: reference}
    world = World({MODEL: from_table(MODEL, table, built_from="test", effective_from_ms=0, panes=10)})
    detector, rng = make(kind), np.random.default_rng(9)
    over = 0
    for i in range(windows):
        values = rng.normal(shift, 1, 5_000)
        scores = detector.step(world.window({MODEL: Seen(5_000, {AGE: values})}, i * 60_000))
        over += int((scores.ready & (scores.score >= scores.floor) & (scores.score > scores.noise)).sum())
    return over


@pytest.mark.parametrize("kind", DISTANCES)
def test_a_shift_as_usual_as_the_reference_is_no_evidence_and_more_than_that_is(kind: str) -> None:
    steady = np.random.default_rng(4).normal(size=20_000)
    wandering = straying(4, 20_000, 0.4)
    assert evidence(kind, steady, 0.4) > 0
    assert evidence(kind, wandering, 0.4) == 0
    assert evidence(kind, wandering, 1.5) > 0
