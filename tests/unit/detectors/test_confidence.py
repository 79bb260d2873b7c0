"""Confidence: the same for every detector, lower for what cries often, and never unsure of what is obvious."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.confidence import NullStrength, combined
from detectors.decision import DecisionBank
from detectors.state import StateError
from tests.unit.detectors.test_decision import scored

SERIES = np.arange(50)


def learned(strengths: np.ndarray, over: float = 2.0) -> NullStrength:
    """What has seen windows of 50 series, float64[w, 50]; those at ``over`` or above were over their limit."""
    null = NullStrength()
    for strength in strengths:
        null.learn(SERIES, strength, strength >= over, np.ones(50, np.bool_))
    return null


def sure(null: NullStrength, strength: float, series: int = 0) -> float:
    return float(null.confidence(np.array([series]), np.array([strength]))[0])


def test_before_anything_is_known_a_detector_is_believed_by_design() -> None:
    ladder = [sure(NullStrength(), u) for u in (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.9)]
    assert ladder == sorted(ladder)
    assert ladder[1] < 0.05
    assert ladder[3] > 0.7
    assert ladder[-1] > 0.999


def test_what_cries_often_is_believed_less_at_the_same_strength() -> None:
    rng = np.random.default_rng(1)
    quiet, noisy = rng.exponential(0.01, (400, 50)), np.minimum(rng.exponential(0.08, (400, 50)), 1.0)
    assert sure(learned(quiet), 0.4) > 0.99
    assert sure(learned(noisy), 0.4) < 0.1
    assert sure(learned(noisy), 0.99) > sure(learned(noisy), 0.4)


@pytest.mark.parametrize("scale", [0.01, 0.03, 0.08])
def test_the_tail_it_reckons_with_is_the_tail_there_is(scale: float) -> None:
    rng = np.random.default_rng(2)
    null = learned(np.minimum(rng.exponential(scale, (400, 50)), 1.0))
    for probability in (0.1, 0.01, 1e-3, 1e-4):
        strength = -scale * np.log(probability)
        if strength < 1:
            reckoned = null._tail(np.array([strength]))[0]
            assert probability / 3 <= reckoned <= probability * 6 + 0.02 * (scale == 0.01)


def test_a_series_that_is_often_over_its_limit_without_a_finding_is_believed_less_than_the_others() -> None:
    strengths = np.full((400, 50), 0.02)
    strengths[::5, 7] = 0.15
    null = learned(strengths, over=0.1)
    assert sure(null, 0.3, series=7) < sure(null, 0.3, series=8)
    null.forget(np.array([7]))
    assert sure(null, 0.3, series=7) == sure(null, 0.3, series=8)


def test_findings_do_not_teach_what_is_normal() -> None:
    bank = DecisionBank()
    told = [float(bank.decide(scored([0.4] + [0.01] * 49), i, 1).confidence[0]) for i in range(300)]
    assert told[-1] >= told[4] > 0.9


def test_what_was_learned_is_saved_and_state_without_it_is_read_too() -> None:
    through, saved = DecisionBank(), DecisionBank()
    rng = np.random.default_rng(3)
    for i in range(40):
        scores = scored(np.abs(rng.normal(0.05, 0.04, 50)).tolist())
        if i % 7 == 0:
            saved = DecisionBank.from_bytes(saved.to_bytes())
        a, b = (bank.decide(scores, i, 1) for bank in (through, saved))
        assert np.array_equal(a.confidence, b.confidence, equal_nan=True)
        assert np.array_equal(np.isnan(a.confidence), ~(a.evidence | a.firing | a.cleared))
    assert through.to_bytes() == saved.to_bytes()
    with pytest.raises(StateError, match="start without it"):
        NullStrength.from_bytes(b"nonsense", "psi", 1)


def test_state_is_bounded() -> None:
    null = learned(np.full((10, 50), 0.3), over=0.1)
    small = len(null.to_bytes("psi", 1))
    for _ in range(200):
        null.learn(SERIES, np.full(50, 0.3), np.ones(50, np.bool_), np.ones(50, np.bool_))
    assert len(null.to_bytes("psi", 1)) <= small


def test_what_has_no_strength_is_not_learned_from() -> None:
    null, without = NullStrength(), NullStrength()
    strength, quiet = np.linspace(0, 0.5, 50), np.ones(50, np.bool_)
    quiet[::2] = False
    without.learn(SERIES, strength, strength > 0.4, quiet)
    null.learn(SERIES, np.where(quiet, strength, np.nan), strength > 0.4, np.ones(50, np.bool_))
    assert null.to_bytes("x", 1) == without.to_bytes("x", 1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0, 1))
def test_nobody_is_less_sure_for_being_told_more(sure: list[float], more: float) -> None:
    assert combined([*sure, more]) >= combined(sure) - 1e-12
    assert combined(sure) >= min(max(sure), 1 - 1e-11) - 1e-9
    assert combined(sure) == combined(sure[::-1])


def test_findings_that_err_alike_say_no_more_than_one_and_those_that_do_not_multiply_the_odds() -> None:
    assert combined([0.3, 0.3, 0.3], 1.0) == pytest.approx(0.3)
    odds = 0.3 / 0.7
    assert combined([0.3, 0.3], 0.0) == pytest.approx(1 / (1 + 1 / (odds * odds * 1000)))
    assert combined([]) == pytest.approx(0.001, rel=0.01), "nothing but the prior"
