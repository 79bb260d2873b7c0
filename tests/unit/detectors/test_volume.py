"""Volume by version: a rollout moves traffic and is no news; traffic that is gone, is."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from detectors.decision import DecisionBank
from detectors.registry import make
from schemas.scopes import Family, Scope
from tests.laws.world import Seen, World

OLD, NEW = Scope(Family.PREDICTION, "ranker", "1"), Scope(Family.PREDICTION, "ranker", "2")
GPUS = Scope(Family.GPU, "host-1", "GPU-1"), Scope(Family.GPU, "host-1", "GPU-2")
QUIET = 60


def played(rates: Mapping[Scope, Sequence[float]], seed: int) -> set[str]:
    """Play Poisson counts of these means; ``version label`` of all that was found."""
    rng = np.random.default_rng(seed)
    world, detector, bank, found = World(dict.fromkeys(rates)), make("volume"), DecisionBank(), set[str]()
    for i, means in enumerate(zip(*rates.values(), strict=True)):
        seen = {scope: Seen(int(rng.poisson(mean))) for scope, mean in zip(rates, means, strict=True) if mean >= 0}
        scores = detector.step(world.window(seen, i * 10_000, 10_000))
        firing = bank.decide(scores, i * 10_000, 10_000).firing
        labels = scores.label or ()
        found |= {f"{list(seen)[scores.scope[p]].model_version} {labels[p]}" for p in np.flatnonzero(firing).tolist()}
    return found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [30.0, 3_000.0])
def test_a_rollout_is_no_news_at_once_or_in_steps_and_neither_is_its_rollback(rate: float, seed: int) -> None:
    at_once = [1.0] * QUIET + [0.0] * QUIET + [1.0] * QUIET
    steps = [1.0] * QUIET + [0.9] * 20 + [0.5] * 20 + [0.0] * (QUIET + 20) + [1.0] * 60
    for shares in (at_once, steps):
        old, new = [rate * share for share in shares], [rate * (1 - share) for share in shares]
        assert played({OLD: old, NEW: new}, seed) == set()


@pytest.mark.parametrize("seed", range(5))
def test_a_version_whose_traffic_nobody_takes_over_is_news(seed: int) -> None:
    old = [500.0] * QUIET + [0.0] * 12
    assert played({OLD: old, NEW: [300.0] * len(old)}, seed) == {"1 no events"}
    assert played({OLD: old}, seed) == {"1 no events"}


@pytest.mark.parametrize("seed", range(5))
def test_a_loss_in_the_middle_of_a_rollout_is_news(seed: int) -> None:
    old = [800.0] * QUIET + [400.0] * QUIET + [60.0] * 12
    new = [0.0] * QUIET + [400.0] * QUIET + [60.0] * 12
    assert played({OLD: old, NEW: new}, seed) == {"1 drop", "2 drop"}


def test_another_gpu_that_works_more_is_no_excuse_for_one_that_is_silent() -> None:
    assert played({GPUS[0]: [50.0] * QUIET + [0.0] * 12, GPUS[1]: [50.0] * QUIET + [100.0] * 12}, 1) >= {
        "GPU-1 no events"
    }
