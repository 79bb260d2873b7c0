"""Crowds: few rows in one place, told from all that is no crowd."""

import numpy as np
import pytest

from detectors.baseline import from_table
from detectors.decision import DecisionBank
from detectors.registry import make
from schemas.scopes import Family, Scope
from tests.laws.crowd import Crowd, at
from tests.laws.world import Seen, World

MODEL = Scope(Family.PREDICTION, "payouts", "1")
AMOUNT = "features.amount"


def windows_of(rng: np.random.Generator, rows: int, crowd: int = 0, scale: float = 1.0) -> Seen:
    values = rng.lognormal(5, 1, rows) * scale
    values[:crowd] = rng.normal(301, 1, crowd)
    return Seen(rows, {AMOUNT: values}, sample=((AMOUNT,), values[:256, None]))


def world() -> World:
    past = {AMOUNT: np.random.default_rng(0).lognormal(5, 1, 5_000)}
    return World({MODEL: from_table(MODEL, past, built_from="test", effective_from_ms=0, panes=10)})


def minutes_until(seen: list[Seen]) -> int:
    """Windows until a crowd is found, from 1; 0 for never."""
    detector, bank, here = make("crowd"), DecisionBank(), world()
    for i, one in enumerate(seen):
        batch = here.window({MODEL: one}, i * 60_000)
        if bank.decide(detector.step(batch), i * 60_000, 60_000).firing.any():
            return i + 1
    return 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("rows", "share"), [(600, 0.08), (2_000, 0.05), (20_000, 0.03)])
def test_a_crowd_is_found_as_soon_as_three_windows_agree(seed: int, rows: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    assert 3 <= minutes_until([windows_of(rng, rows, int(rows * share)) for _ in range(6)]) <= 5


@pytest.mark.parametrize("rows", [600, 20_000, 500_000])
def test_a_percent_of_the_rows_is_no_crowd_at_any_volume(rows: int) -> None:
    rng = np.random.default_rng(1)
    assert minutes_until([windows_of(rng, rows, rows // 100) for _ in range(6)]) == 0


@pytest.mark.parametrize("scale", [0.8, 1.3])
@pytest.mark.parametrize("rows", [1_000, 50_000])
def test_a_distribution_that_has_moved_is_no_crowd(rows: int, scale: float) -> None:
    rng = np.random.default_rng(2)
    assert minutes_until([windows_of(rng, rows, scale=scale) for _ in range(6)]) == 0


@pytest.mark.parametrize("rows", [200, 2_000, 200_000])
def test_nothing_is_found_where_nothing_changes(rows: int) -> None:
    crowd, detector, bank = Crowd(np.random.default_rng(3), 20, 45), make("crowd"), DecisionBank()
    for i in range(20):
        scores = detector.step(at(crowd.window(rows), i * 60_000))
        assert scores.ready.any()
        assert not bank.decide(scores, i * 60_000, 60_000).started.any()


def test_it_says_where_the_crowd_is_how_large_and_who_is_in_it() -> None:
    batch = world().window({MODEL: windows_of(np.random.default_rng(4), 4_000, 240)}, 0)
    scores = make("crowd").step(batch)
    assert scores.quantity == [AMOUNT]
    assert scores.value[0] - scores.reference[0] == pytest.approx(0.06, abs=0.01)
    assert scores.label is not None
    low, high = (float(number) for number in scores.label[0].split(" to "))
    assert low < 301 < high
    assert scores.exemplars is not None
    ids = scores.exemplars[0]
    assert 0 < len(ids) <= 5
    values = batch.samples.values[0][:, 0]
    assert all(low <= values[int(event_id[1:])] <= high * 1.01 for event_id in ids)


def test_only_features_have_crowds() -> None:
    batch = Crowd(np.random.default_rng(6), 2, 3).window(1_000)
    assert all(name.startswith("features.") for name in make("crowd").step(batch).quantity)
