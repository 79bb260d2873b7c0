"""Detectors of limits: sustained heat, throttling, full memory, XIDs, milliseconds, undecodable events."""

from collections.abc import Mapping

import numpy as np
import pytest

from detectors.decision import DecisionBank
from detectors.parameters import ParameterError
from detectors.protocol import Scores
from detectors.registry import REGISTRY, finding_kind, make
from schemas.findings import Kind
from schemas.scopes import Family, Scope
from tests.laws.world import Seen, World, model

GPU = Scope(Family.GPU, "host-1", "GPU-1")
MODEL = model("fraud-cards")


def step(kind: str, seen: list[Seen], scope: Scope = GPU, params: Mapping[str, object] | None = None) -> list[Scores]:
    world, detector = World({scope: None}), make(kind, params)
    return [detector.step(world.window({scope: s}, i * 10_000, 10_000)) for i, s in enumerate(seen)]


def gauge(name: str, value: float) -> Seen:
    return Seen(5, {name: np.full(5, value)})


def fires(scores: list[Scores]) -> str:
    bank = DecisionBank()
    marks = ""
    for i, s in enumerate(scores):
        firing = bank.decide(s, i * 10_000, 10_000).firing
        marks += "F" if firing.any() else "."
    return marks


def test_heat_must_last_and_one_cool_window_ends_it() -> None:
    temperatures = [90.0] * 4 + [84.0] + [90.0] * 3
    scores = step("gpu_temperature", [gauge("temperature_c", t) for t in temperatures], params={"sustained_s": 30})
    assert fires(scores) == "..FF...F"
    assert not scores[1].ready[0]
    assert scores[2].value[0] == 90


def test_memory_over_its_limit_for_three_windows() -> None:
    assert fires(step("gpu_memory", [gauge("memory_used_ratio", r) for r in (0.96, 0.97, 0.98, 0.5)])) == "..FF"


def test_throttling_counts_harmful_reasons_alone_and_ends_when_reasons_stop_coming() -> None:
    capped = Seen(10, counters={"clocks_event_reason": {"sw_power_cap": 10, "gpu_idle": 4}})
    hot = Seen(10, counters={"clocks_event_reason": {"hw_thermal_slowdown": 6, "sw_thermal_slowdown": 3}})
    scores = step("gpu_throttle", [capped, hot, hot, hot, *[Seen(10)] * 4])
    assert [float(s.score[0]) for s in scores[:2]] == [0.0, 0.6]
    assert scores[1].label == ["hw_thermal_slowdown"]
    assert fires(scores) == "...FFFF."


def test_an_xid_fires_at_once_and_names_its_codes() -> None:
    broken = Seen(10, counters={"xid": {"79": 1, "31": 2}})
    scores = step("gpu_xid", [Seen(10), broken, Seen(0), Seen(10)], params={"hold_s": 10})
    assert fires(scores) == ".FF."
    assert (scores[1].score[0], scores[1].value[0], scores[1].label) == (102.0, 3.0, ["79, 31 × 2"])
    assert not scores[2].ready[0]


def test_a_latency_limit_holds_for_the_models_it_names() -> None:
    slow = Seen(100, {"latency_ms": np.full(100, 250.0)})
    limits = {"minutes": 2, "limits": [{"model": "fraud-*", "limit_ms": 200.0}, {"model": "*", "limit_ms": 900.0}]}
    scores = step("latency_limit", [slow] * 3, MODEL, limits)
    assert fires(scores) == ".FF"
    assert scores[-1].score[0] == pytest.approx(1.25, rel=0.01)
    assert scores[-1].threshold is not None
    assert scores[-1].threshold[0] == 200.0
    assert fires(step("latency_limit", [slow] * 3, model("other"), limits)) == "..."
    assert not step("latency_limit", [slow] * 3, MODEL)[-1].ready.any()


def test_bad_input_waits_for_a_thousand_events_however_quiet_the_topic() -> None:
    bad = Seen(400, counters={"reason": {"invalid_json": 250, "schema_mismatch": 50}})
    scores = step("bad_input", [bad, bad, bad, Seen(1_200)], MODEL)
    assert [bool(s.ready.any()) for s in scores] == [False, False, True, True]
    assert (scores[2].score[0], scores[2].rows[0]) == (0.75, 1_200)
    assert fires(scores) == "..F."


def test_quiet_scopes_are_judged_over_several_windows() -> None:
    rng = np.random.default_rng(2)
    usual = [Seen(int(n), age=i) for i, n in enumerate(rng.poisson(2, 60))]
    silent = [Seen(0, age=60 + i) for i in range(40)]
    scores = step("volume", usual + silent, MODEL)
    ready = [bool(s.ready[0]) for s in scores[20:60]]
    assert 3 <= sum(ready) <= 12
    marks = fires(scores)
    assert "F" not in marks[:60]
    assert marks.endswith("F")


def test_intermittent_traffic_is_not_news_when_silent() -> None:
    seen = [Seen(500 if i % 4 == 0 else 0, age=i) for i in range(80)]
    assert "F" not in fires(step("volume", seen, MODEL))


def test_a_new_level_is_learned_after_patience() -> None:
    seen = [Seen(1_000, age=i) for i in range(30)] + [Seen(300, age=30 + i) for i in range(60)]
    marks = fires(step("volume", seen, MODEL, {"patience": 20}))
    assert marks[32:48] == "F" * 16
    assert marks.endswith("." * 10)


@pytest.mark.parametrize("kind", sorted(REGISTRY))
def test_parameters_are_checked_where_they_are_made(kind: str) -> None:
    assert make(kind).window_s in {10, 60, 300}
    with pytest.raises(ParameterError, match="window_s"):
        make(kind, {"window_s": 0})
    with pytest.raises(ParameterError, match="unheard_of"):
        make(kind, {"unheard_of": 1})


def test_unknown_kinds_are_answered_with_the_known_ones() -> None:
    with pytest.raises(ParameterError, match="psi"):
        make("p_s_i")
    assert finding_kind("psi", "score") is Kind.SCORE_DRIFT
    assert finding_kind("psi", "features.amount") is Kind.DRIFT
