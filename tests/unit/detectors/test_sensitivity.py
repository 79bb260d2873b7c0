"""Sensitivity: one knob per scope moves floors, noise and false discoveries, and never a limit that somebody set."""

from dataclasses import replace

import numpy as np
import pytest

from detectors.decision import DecisionBank
from detectors.sensitivity import Sensitivities, Sensitivity, adjusted, factors
from schemas.scopes import Family, Scope
from tests.unit.detectors.test_decision import scored

WINDOW_MS = 60_000
SCOPE = Scope(Family.PREDICTION, "fraud-cards", "3")
SEGMENT = Scope(Family.PREDICTION, "fraud-cards", "3", "country=fr")


def evidence(level: str, score: float, *, floor: float = 0.1, noise: float = 0.05, detector: str = "psi") -> bool:
    chosen = factors([SCOPE], Sensitivities(Sensitivity(level)))
    scores = adjusted(scored(score, floor=floor, noise=noise, detector=detector), chosen)
    decided = DecisionBank().decide(scores, 0, WINDOW_MS)
    return bool(decided.evidence[0])


@pytest.mark.parametrize(
    ("score", "floor", "noise", "found"),
    [
        (0.07, 0.1, 0.05, ["high"]),
        (0.12, 0.1, 0.05, ["high", "normal"]),
        (0.25, 0.1, 0.05, ["high", "normal", "low"]),
        (0.09, 0.1, 0.1, ["high"]),
        (0.45, 0.1, 0.4, ["high", "normal"]),
    ],
)
def test_the_knob_moves_floor_and_noise(score: float, floor: float, noise: float, found: list[str]) -> None:
    assert [s for s in ("high", "normal", "low") if evidence(s, score, floor=floor, noise=noise)] == found


@pytest.mark.parametrize("detector", ["score_mean", "collapse", "volume", "latency", "label_delay"])
def test_what_is_an_estimate_moves(detector: str) -> None:
    assert evidence("high", 0.07, detector=detector)
    assert not evidence("normal", 0.07, detector=detector)


def test_the_knob_moves_the_share_of_false_discoveries() -> None:
    p_value = [0.0008] + [0.9] * 49  # 0.01 / 50 is the bound for one of fifty
    told = {}
    for level in Sensitivity:
        scores = adjusted(scored([1.0] * 50, p_value=p_value), factors([SCOPE], Sensitivities(level)))
        told[level.value] = DecisionBank().decide(scores, 0, 1).evidence.sum()
    assert told == {"low": 0, "normal": 0, "high": 1}


def test_a_limit_that_somebody_set_stays() -> None:
    for detector in ("gpu_temperature", "latency_limit", "bad_input"):
        assert not evidence("high", 0.95, floor=1.0, noise=0.0, detector=detector)
        assert evidence("low", 1.05, floor=1.0, noise=0.0, detector=detector)


def test_scopes_have_their_own() -> None:
    chosen = factors([SCOPE, SEGMENT], Sensitivities(low=("fraud-*/country=*",)))
    scores = replace(scored([0.15, 0.15]), scope=np.array([0, 1]))
    assert DecisionBank().decide(adjusted(scores, chosen), 0, 1).evidence.tolist() == [True, False]
    assert factors([SCOPE, SEGMENT], Sensitivities(low=("ranker",))) is None


def test_high_wins_and_a_pattern_without_a_slash_holds_for_segments_too() -> None:
    chosen = Sensitivities(Sensitivity.LOW, low=("*",), high=("fraud-*",))
    assert chosen.of(SCOPE) is chosen.of(SEGMENT) is Sensitivity.HIGH
    assert chosen.of(Scope(Family.PREDICTION, "ranker")) is Sensitivity.LOW
    assert Sensitivities(high=("*/country=fr",)).of(SCOPE) is Sensitivity.NORMAL


def test_the_threshold_shown_moves_along_unless_it_is_in_a_unit_of_its_own() -> None:
    high = factors([SCOPE], Sensitivities(Sensitivity.HIGH))
    shown = adjusted(scored(0.07, floor=0.1, noise=0.05), high).threshold
    assert shown is not None
    assert shown[0] == pytest.approx(0.06)
    own = adjusted(replace(scored(0.07), threshold=np.array([650.0])), high).threshold
    assert own is not None
    assert own[0] == 650.0
