"""Versions side by side: what a canary does wrong, and what both do."""

import numpy as np
import pytest

from detectors.decision import DecisionBank
from detectors.explain import explain
from detectors.peers import share_of_model
from detectors.protocol import Scores, WindowBatch
from detectors.registry import make
from schemas.scopes import Family, Scope
from tests.laws.world import Seen, World

MINUTE_MS = 60_000
STABLE, CANARY = (Scope(Family.PREDICTION, "m", version) for version in ("1", "2"))


def window(world: World, i: int, *seen: tuple[Scope, int, int]) -> WindowBatch:
    return world.window({scope: Seen(rows, errors=errors) for scope, rows, errors in seen}, i * MINUTE_MS)


def play(
    stable: tuple[int, float], canary: tuple[int, float], *, windows: int = 20, since: int = 10, seed: int = 1
) -> tuple[str, list[Scores]]:
    """``F`` for windows in which a finding holds; events a minute and share of errors, the canary's ``since`` then."""
    rng, world = np.random.default_rng(seed), World({STABLE: None, CANARY: None})
    detector, bank, marks, steps = make("versions"), DecisionBank(), "", []
    for i in range(windows):
        ratio = canary[1] if i >= since else stable[1]
        drawn = [(STABLE, stable[0], stable[1]), (CANARY, canary[0], ratio)]
        batch = window(world, i, *((scope, rows, int(rng.binomial(rows, share))) for scope, rows, share in drawn))
        steps.append(detector.step(batch))
        marks += "F" if bank.decide(steps[-1], batch.start_ms, batch.size_ms).firing.any() else "."
    return marks, steps


@pytest.mark.parametrize("seed", range(5))
def test_a_canary_that_fails_is_found_within_minutes_though_it_gets_a_tenth_of_the_traffic(seed: int) -> None:
    marks, steps = play((2_400, 0.003), (300, 0.07), seed=seed)
    assert "F" not in marks[:12], "three windows at least"
    assert "F" in marks[12:16]
    assert steps[-1].ready.tolist() == [False, True]


@pytest.mark.parametrize("seed", range(5))
def test_a_canary_that_fails_from_its_first_event_is_found_without_any_baseline(seed: int) -> None:
    marks, _ = play((2_400, 0.003), (300, 0.07), since=0, seed=seed)
    assert "F" in marks[:6]


@pytest.mark.parametrize("seed", range(5))
def test_what_makes_all_versions_fail_is_no_matter_of_one(seed: int) -> None:
    marks, _ = play((2_400, 0.15), (300, 0.15), windows=60, seed=seed)
    assert "F" not in marks


def test_twice_as_often_of_next_to_nothing_is_nobodys_concern() -> None:
    marks, _ = play((200_000, 0.001), (20_000, 0.004), windows=40)
    assert "F" not in marks


@pytest.mark.parametrize(("rows", "share"), [(30, 0.02), (300, 0.02), (3_000, 0.1)])
def test_versions_that_are_alike_raise_nothing_at_any_volume(rows: int, share: float) -> None:
    for seed in range(10):
        assert "F" not in play((8 * rows, share), (rows, share), windows=60, since=60, seed=seed)[0]


def test_the_sentence_names_the_version_beside_it() -> None:
    _, steps = play((2_400, 0.003), (300, 0.07))
    said = explain(steps[-1], 1, CANARY, 0)
    assert said.startswith("errors of m 2: error ratio 0.0")
    assert said.endswith("beside version 1, in the same minutes")


def test_one_version_alone_has_nothing_beside_it() -> None:
    world = World({STABLE: None})
    assert not make("versions").step(window(world, 0, (STABLE, 1_000, 900))).ready.any()


def test_the_older_of_two_that_serve_as_many_stays_the_standard() -> None:
    world, detector = World({STABLE: None, CANARY: None}), make("versions")
    for i, more in enumerate((0, 50, -50)):
        scores = detector.step(window(world, i, (STABLE, 1_000, 1), (CANARY, 1_000 + more, 1)))
        assert scores.ready.tolist() == [False, True]


def test_shares_are_of_the_model_and_of_wholes_alone() -> None:
    segment = Scope(Family.PREDICTION, "m", "1", "tier=free")
    world = World({STABLE: None, CANARY: None, segment: None})
    batch = window(world, 0, (STABLE, 900, 0), (CANARY, 100, 0), (segment, 500, 0))
    assert share_of_model(batch.scopes).tolist() == [0.9, 0.1, 0.0]
