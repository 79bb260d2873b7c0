"""What fires: next to nothing while nothing changes, whatever the volume; and what should, soon."""

import numpy as np
import pytest

from detectors.decision import DecisionBank
from detectors.drift.psi import psi
from detectors.drift.wasserstein import wasserstein
from detectors.histograms.binned import histogram, quantile_edges
from detectors.registry import make
from tests.laws.crowd import Crowd
from tests.laws.simulate import DRIFT, HARMS, delays, false_alarms


@pytest.mark.parametrize("rows", [200, 2_000, 200_000])
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_fires_while_nothing_changes(seed: int, rows: int) -> None:
    # 600 scope windows of 52 series each and of all detectors: one finding in 10,000 is what is allowed.
    assert not false_alarms(seed, scopes=20, windows=30, rows=rows)


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_fires_in_a_few_events_with_a_small_baseline_either(seed: int) -> None:
    assert not false_alarms(seed, scopes=10, windows=40, rows=20, ref=500)


@pytest.mark.parametrize(
    ("harm", "rows", "most"),
    [
        ("slow drift, 0.02 σ a window", 200, 18),
        ("slow drift, 0.02 σ a window", 20_000, 9),
        ("shift of 0.2 σ", 200, 25),
        ("5 % of a new category", 200, 5),
    ],
)
def test_what_is_small_or_slow_is_found(harm: str, rows: int, most: int) -> None:
    found = [np.median(delays(DRIFT, HARMS[harm], rows=rows, seed=seed)) for seed in range(3)]
    assert np.median(found) <= most


def windows_to_detect(kinds: tuple[str, ...], seed: int, **harm: float) -> int:
    """Windows until a finding fires in scope 0 after the harm begins; 99 for more than ten."""
    crowd = Crowd(np.random.default_rng(seed), 2, 10)
    rows, before = 2_000, 14
    detectors = {kind: make(kind) for kind in kinds}
    bank = DecisionBank()
    volume = harm.pop("volume", 1.0)
    shift = harm.pop("shift", 0.0)
    moved = np.where(np.arange(crowd.n) == 0, shift, 0.0)
    for i in range(before + 10):
        window = crowd.window(rows) if i < before else crowd.window(int(rows * volume), shift=moved, **harm)
        firing = [bank.decide(d.step(window), i * 10_000, 10_000).firing for d in detectors.values()]
        if any(f.any() for f in firing):
            return i - before + 1 if i >= before else -1
    return 99


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("kinds", "harm"),
    [
        (("psi",), {"shift": 0.5}),
        (("wasserstein",), {"shift": 0.5}),
        (("nulls",), {"nulls": 0.2}),
        (("latency",), {"slower": 1.5}),
        (("volume",), {"volume": 0.4}),
    ],
)
def test_harm_is_found_within_five_windows(kinds: tuple[str, ...], harm: dict[str, float], seed: int) -> None:
    assert 1 <= windows_to_detect(kinds, seed, **harm) <= 5


@pytest.mark.parametrize("seed", range(3))
def test_silence_is_found_within_two_windows(seed: int) -> None:
    assert windows_to_detect(("volume",), seed, volume=0.0) == 2


@pytest.mark.parametrize("seed", range(3))
def test_starting_up_is_no_finding(seed: int) -> None:
    crowd = Crowd(np.random.default_rng(seed), 5, 1)
    detector, bank = make("volume"), DecisionBank()
    for i in range(60):
        scores = detector.step(crowd.window(min(2_000, 100 * (i + 1))))
        assert not bank.decide(scores, i * 10_000, 10_000).firing.any()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9, 1e140])
def test_drift_is_the_same_in_any_unit(scale: float) -> None:
    rng = np.random.default_rng(6)
    reference, current = rng.normal(5, 1, 4_000), rng.normal(5.4, 1, 2_000)
    found = []
    for unit in (1.0, scale):
        edges = quantile_edges(reference * unit)
        cur, ref = (histogram(x * unit, edges)[None] for x in (current, reference))
        found.append((psi(cur, ref)[0][0], wasserstein(cur, ref, edges[None])[0][0]))
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert found[0][1] == pytest.approx(0.4, abs=0.06)
