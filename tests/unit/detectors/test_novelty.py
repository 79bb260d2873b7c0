"""New categories, their number, and Kolmogorov-Smirnov's distance: where they must speak and where they must not."""

import numpy as np
import pytest

from detectors.baseline import from_table
from detectors.decision import DecisionBank
from detectors.drift.kolmogorov import kolmogorov
from detectors.protocol import Scores
from detectors.registry import make
from tests.laws.world import Seen, World, model

NAMES = np.array([f"c{i}" for i in range(12)])
SHARES = np.array([0.3, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05, 0.04, 0.03, 0.02, 0.005, 0.005])
SCOPE = model()


def world(names: np.ndarray = NAMES, shares: np.ndarray = SHARES, rows: int = 5_000, seed: int = 1) -> World:
    column = np.random.default_rng(seed).choice(names, rows, p=shares)
    return World({SCOPE: from_table(SCOPE, {"features.c": column}, built_from="test", effective_from_ms=0)})


def drawn(rng: np.random.Generator, rows: int, new: float = 0.0) -> Seen:
    fresh = int(rng.binomial(rows, new))
    counts = dict(zip(NAMES.tolist(), rng.multinomial(rows - fresh, SHARES).tolist(), strict=True))
    return Seen(rows, categories={"features.c": {**counts, "xx": fresh} if fresh else counts})


def scored(kind: str, seen: list[Seen], here: World) -> list[Scores]:
    detector = make(kind)
    return [detector.step(here.window({SCOPE: s}, i * 60_000)) for i, s in enumerate(seen)]


def first_firing(scores: list[Scores]) -> int | None:
    bank = DecisionBank()
    fired = [bool(bank.decide(s, i * 60_000, 60_000).firing.any()) for i, s in enumerate(scores)]
    return fired.index(True) if any(fired) else None


@pytest.mark.parametrize("rows", [200, 2_000, 20_000])
@pytest.mark.parametrize("seed", range(5))
def test_a_twentieth_of_new_values_is_found_at_any_volume(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = first_firing(scored("new_category", [drawn(rng, rows, 0.05) for _ in range(6)], world(seed=seed)))
    assert found is not None
    assert found <= 4


@pytest.mark.parametrize("kind", ["new_category", "cardinality", "categories"])
@pytest.mark.parametrize("rows", [30, 200, 2_000, 200_000])
def test_nothing_new_is_said_while_nothing_is(kind: str, rows: int) -> None:
    rng = np.random.default_rng(9)
    for seed in range(5):
        assert first_firing(scored(kind, [drawn(rng, rows) for _ in range(60)], world(seed=seed))) is None


def test_identifiers_are_always_new_and_never_news() -> None:
    names = np.array([f"id{i}" for i in range(40_000)])
    here = world(names, np.full(40_000, 1 / 40_000), rows=4_000)
    rng = np.random.default_rng(3)
    seen = [
        Seen(500, categories={"features.c": dict.fromkeys(rng.choice(names, 500, replace=False).tolist(), 1)})
        for _ in range(10)
    ]
    for kind in ("new_category", "cardinality", "categories"):
        assert first_firing(scored(kind, seen, here)) is None


def test_the_most_frequent_new_values_are_named() -> None:
    rng = np.random.default_rng(2)
    counts = {**drawn(rng, 500).categories["features.c"], "aa": 5, "bb": 9, "cc": 1, "dd": 30}
    (scores,) = scored("new_category", [Seen(545, categories={"features.c": counts})], world())
    assert scores.label == ["dd, bb, aa and 1 more"]
    assert scores.value[0] == pytest.approx(45 / 545)


def test_a_collapse_of_categories_is_fewer_and_a_crowd_of_rare_ones_more() -> None:
    few = {"c0": 300, "c1": 200}
    crowd = {**dict(zip(NAMES.tolist(), (SHARES * 2_000).astype(int).tolist(), strict=True))}
    crowd |= {f"x{i}": 1 for i in range(15)}
    scores = scored(
        "cardinality",
        [Seen(500, categories={"features.c": few}), Seen(2_015, categories={"features.c": crowd})],
        world(),
    )
    assert [s.label for s in scores] == [["fewer"], ["more"]]
    assert [float(s.value[0]) for s in scores] == [2, 27]
    assert all(s.score[0] > max(s.floor[0], s.noise[0]) for s in scores)
    # 15 of 2,015 are too few to be news by their share.
    assert scored("new_category", [Seen(2_015, categories={"features.c": crowd})], world())[0].score[0] < 0.02


def test_the_distance_is_that_of_the_values_where_edges_are_between_them() -> None:
    rng = np.random.default_rng(5)
    reference, current = rng.normal(size=3_000), rng.normal(0.3, 1.2, size=2_000)
    edges = np.sort(reference)[np.linspace(0, 2_999, 33).astype(int)]
    cur, ref = (np.bincount(np.searchsorted(edges, x, "right"), minlength=34)[None] for x in (current, reference))
    distance, cell = kolmogorov(cur, ref)
    gaps = [(current < e).mean() - (reference < e).mean() for e in edges]
    assert distance[0] == pytest.approx(np.abs(gaps).max())
    assert cell[0] == np.abs(gaps).argmax()


def test_the_bound_is_crossed_no_more_often_than_said() -> None:
    rng = np.random.default_rng(6)
    share = np.full(34, 1 / 34)
    ref, cur = rng.multinomial(2_000, share, size=20_000), rng.multinomial(500, share, size=20_000)
    distance, _ = kolmogorov(cur, ref)
    bound = np.sqrt(-np.log(0.01 / 2) / 2 * (1 / 500 + 1 / 2_000))
    assert (distance > bound).mean() <= 0.011
