"""The design effect: found from window to window, whatever slow drift and jumps do."""

import numpy as np
import pytest

from detectors.drift.dispersion import DesignEffect
from detectors.state import StateError, pack

SERIES = np.arange(200)


def learned(
    rng: np.random.Generator, size: int, windows: int = 120, drift: float = 0.0, jump: float = 0.0
) -> np.ndarray:
    """The design effects after windows of 300 values each that come ``size`` at a time."""
    effect = DesignEffect()
    for t in range(windows):
        values = np.repeat(rng.normal(5 + drift * t + jump * (t >= 60), 1, (200, 300 // size)), size, axis=1)
        mean = values.mean(axis=1)
        effect.learn(SERIES, mean, ((values - mean[:, None]) ** 2).sum(axis=1), np.full(200, values.shape[1]))
    return effect.of(SERIES)


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize(("drift", "jump"), [(0.0, 0.0), (0.01, 0.0), (0.0, 3.0)])
def test_values_that_come_together_count_once(size: int, drift: float, jump: float) -> None:
    found = np.median(learned(np.random.default_rng(size), size, drift=drift, jump=jump))
    assert found == pytest.approx(size, rel=0.35)


def test_independent_values_count_for_themselves() -> None:
    assert np.median(learned(np.random.default_rng(1), 1)) < 1.15


def test_nothing_is_learned_from_what_does_not_vary_or_did_not_come() -> None:
    effect = DesignEffect()
    for mean, m2, count in ((3.0, 0.0, 50), (np.nan, 0.0, 0), (1e200, 1e300, 5), (3.0, 9.0, 1)):
        for _ in range(3):
            effect.learn(SERIES, np.full(200, mean), np.full(200, m2), np.full(200, count))
    assert effect.of(SERIES).tolist() == [2.0] * 200


def test_it_is_saved_and_forgotten() -> None:
    rng, effect = np.random.default_rng(2), DesignEffect()
    for _ in range(10):
        effect.learn(SERIES, rng.normal(0, 0.3, 200), np.full(200, 99.0), np.full(200, 100))
    again = DesignEffect.from_bytes(effect.to_bytes("x", 1), "x", 1)
    assert np.array_equal(again.of(SERIES), effect.of(SERIES))
    assert DesignEffect.from_bytes(pack("x", 1, {}), "x", 1).of(SERIES).tolist() == [2.0] * 200
    with pytest.raises(StateError, match="start without it"):
        DesignEffect.from_bytes(pack("y", 1, {}), "x", 1)
    effect.forget(np.array([3]))
    assert effect.of(np.array([3, 4]))[0] == 2.0
