"""A change of level is told once: when it goes away from what is usual, not when it comes back."""

import numpy as np
import pytest

from detectors.baseline import from_table
from detectors.registry import make
from schemas.scopes import Family, Scope
from tests.laws.world import Seen, World

ONE = Scope(Family.PREDICTION, "m", "1")


def told(levels: list[tuple[int, float]], *, baseline: bool, seed: int = 1) -> list[tuple[int, float]]:
    """(window, level after) of each change that is told; ``levels`` are windows and their median, in ms."""
    rng = np.random.default_rng(seed)
    table = {"latency_ms": rng.lognormal(np.log(100), 0.4, 4_000)}
    known = from_table(ONE, table, built_from="test", effective_from_ms=0) if baseline else None
    world, detector, found, i = World({ONE: known}), make("adwin"), [], 0
    for windows, level in levels:
        for _ in range(windows):
            seen = Seen(500, {"latency_ms": rng.lognormal(np.log(level), 0.4, 500)})
            scores = detector.step(world.window({ONE: seen}, i * 60_000))
            if scores.ready.any() and scores.score[0] > 0:
                found.append((i, float(scores.value[0])))
            i += 1
    return found


@pytest.mark.parametrize("baseline", [True, False])
@pytest.mark.parametrize("times", [2.0, 0.5])
def test_the_way_out_is_told_and_the_way_back_is_not(times: float, baseline: bool) -> None:
    found = told([(60, 100), (60, 100 * times), (120, 100)], baseline=baseline)
    assert found
    assert all(60 <= i < 120 for i, _ in found)


@pytest.mark.parametrize("baseline", [True, False])
def test_past_what_is_usual_to_the_other_side_is_news(baseline: bool) -> None:
    found = told([(60, 100), (60, 200), (120, 40)], baseline=baseline)
    assert [after for i, after in found if i >= 120][-1] < 60


def test_usual_is_the_baselines_level_not_that_of_a_fault_in_the_warm_up() -> None:
    assert not told([(60, 200), (120, 100)], baseline=True)
    assert told([(60, 200), (120, 100)], baseline=False)
