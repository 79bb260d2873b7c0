"""A score that has collapsed, and scores that have merely changed."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.baseline import from_table
from detectors.decision import SEVERITIES, DecisionBank
from detectors.registry import finding_kind, make
from schemas.findings import Kind, Severity
from schemas.scopes import Family, Scope
from tests.laws.world import Seen, World

Floats = NDArray[np.float64]
ONE = Scope(Family.PREDICTION, "m", "1")


def risk(rng: np.random.Generator, n: int, share: float = 0.05) -> Floats:
    """Most scores are small, and some are near one: the 95th percentile stands at the cliff between."""
    return np.where(rng.random(n) < share, rng.beta(20, 2, n), rng.beta(1, 60, n))


def watch(
    draw: Callable[[np.random.Generator, int], Floats], *, rows: int = 1_000, seed: int = 1, usual: float = 0.05
) -> list[Severity]:
    """How loudly it is said in each of ten windows; nothing for silence. ``usual`` is the baseline's share near one."""
    score = risk(np.random.default_rng(9), 4_000, usual)
    known = from_table(ONE, {"score": score}, built_from="test", effective_from_ms=0)
    world, detector, bank, said = World({ONE: known}), make("collapse"), DecisionBank(), []
    rng = np.random.default_rng(seed)
    for i in range(10):
        batch = world.window({ONE: Seen(rows, {"score": draw(rng, rows)})}, i * 60_000)
        decided = bank.decide(detector.step(batch), batch.start_ms, batch.size_ms)
        said += [SEVERITIES[int(decided.severity[i])] for i in np.flatnonzero(decided.firing).tolist()]
    return said


def nearly(to: float, share: float) -> Callable[[np.random.Generator, int], Floats]:
    return lambda rng, n: to + 0.1 * (risk(rng, n, share) - to)


@pytest.mark.parametrize("to", [0.012, 0.5, 0.97])
@pytest.mark.parametrize("share", [0.01, 0.1])
def test_nearly_the_same_answer_to_all_is_a_ticket_and_soon_a_page(to: float, share: float) -> None:
    said = watch(nearly(to, share), usual=share)
    assert said == [Severity.TICKET] + [Severity.PAGE] * 7
    assert finding_kind("collapse", "score") is Kind.SCORE_DRIFT


@pytest.mark.parametrize(
    "draw",
    [
        risk,
        lambda rng, n: risk(rng, n, 0.0),  # the rare large ones do not come
        lambda rng, n: risk(rng, n, 0.02),
        lambda rng, n: risk(rng, n, 0.3),
        lambda rng, n: np.minimum(1.5 * risk(rng, n), 1.0),
        lambda rng, n: 0.5 * risk(rng, n),
        lambda rng, n: 1 - risk(rng, n),
    ],
)
@pytest.mark.parametrize("rows", [150, 2_000, 100_000])
def test_a_score_that_moves_or_loses_its_tail_has_not_collapsed(
    draw: Callable[[np.random.Generator, int], Floats], rows: int
) -> None:
    assert not [said for seed in range(3) for said in watch(draw, rows=rows, seed=seed)]
