"""What each effect does to the entity it strikes, and to how much of it."""

from typing import Any

import numpy as np
import pytest

from loadgen.columns import FeatureReads, GpuSamples, Labels, Predictions
from loadgen.scenarios import Scenario
from tests.unit.loadgen.scenes import features, injection, of, scene

CLEAN = scene()
LONG: dict[str, Any] = {"onset_s": 600, "end_s": 1500}


def struck(effect: dict[str, Any], entity: str = "cards", **more: Any) -> Scenario:
    return scene(injection(entity, effect, **{**LONG, **more}))


def predictions(scenario: Scenario, first: int = 600, last: int = 1500, **fields: str) -> list[Predictions]:
    return of(Predictions, scenario, first, last, model="cards", **fields)


def answers(scenario: Scenario, name: str, **fields: Any) -> np.ndarray:
    return np.concatenate([getattr(block.response, name) for block in predictions(scenario, **fields)])


def hosts(scenario: Scenario) -> np.ndarray:
    return np.concatenate([block.host for block in predictions(scenario) if block.host is not None])


def gauges(scenario: Scenario, name: str, gpu_index: int = 1, first: int = 600, last: int = 1500) -> np.ndarray:
    blocks = of(GpuSamples, scenario, first, last, host="gpu-1")
    return np.concatenate([b.gauges[name][b.gpu_index == gpu_index] for b in blocks])


def near(ratio: float, n: int) -> Any:
    """Five standard deviations of a share of n."""
    return 5 * np.sqrt(ratio * (1 - ratio) / n)


def test_a_scaled_feature_is_scaled_and_moves_the_score() -> None:
    scaled = struck({"effect": "scale", "feature": "amount", "factor": 3})
    np.testing.assert_allclose(features(scaled, "amount"), 3 * features(CLEAN, "amount"))
    assert (answers(scaled, "score") > answers(CLEAN, "score")).all()


def test_a_shift_is_in_the_features_own_deviations() -> None:
    moved = features(struck({"effect": "shift", "feature": "velocity", "sigmas": 2}), "velocity", 600, 1500)
    usual = features(CLEAN, "velocity", 600, 1500)
    np.testing.assert_allclose(moved - usual, 2 * np.sqrt(2), rtol=0.01)


def test_nulls_come_at_their_share_and_the_model_fills_them() -> None:
    blind = struck({"effect": "nulls", "feature": "amount", "ratio": 0.3})
    null = np.isnan(features(blind, "amount", 600, 1500))
    assert abs(null.mean() - 0.3) < near(0.3, len(null))
    assert np.isfinite(answers(blind, "score")).all()


def test_a_category_comes_at_its_share() -> None:
    shops = features(
        struck({"effect": "category", "feature": "shop", "text": "crypto", "ratio": 0.2}), "shop", 600, 1500
    )
    assert abs((shops == "crypto").mean() - 0.2) < near(0.2, len(shops))


def test_one_segment_alone_drifts() -> None:
    effect = {"effect": "scale", "feature": "amount", "factor": 2}
    french = struck(effect, where={"segment": {"country": "FR"}})
    country = np.concatenate([block.segment["country"] for block in predictions(french)])
    ratio = features(french, "amount", 600, 1500) / features(CLEAN, "amount", 600, 1500)
    np.testing.assert_allclose(ratio, np.where(country == "FR", 2, 1))


@pytest.mark.parametrize(("second", "factor"), [(600, 1.0), (825, 2.0), (1050, 4.0), (1400, 4.0)])
def test_a_gradual_drift_grows(second: int, factor: float) -> None:
    effect = {"effect": "scale", "feature": "amount", "factor": 4}
    growing = struck(effect, profile={"kind": "ramp", "up_s": 450})
    ratio = features(growing, "amount", second, second + 2) / features(CLEAN, "amount", second, second + 2)
    np.testing.assert_allclose(ratio, factor, rtol=0.01)


def test_a_recurring_drift_comes_and_goes() -> None:
    effect = {"effect": "scale", "feature": "amount", "factor": 2}
    recurring = struck(effect, profile={"kind": "recurring", "every_s": 200, "on_s": 50})
    on = [
        s
        for s in range(600, 1000, 10)
        if features(recurring, "amount", s, s + 5).mean() > 1.9 * features(CLEAN, "amount", s, s + 5).mean()
    ]
    assert on == [*range(600, 650, 10), *range(800, 850, 10)]


def test_an_attack_looks_other_and_is_fraud() -> None:
    odd = {"amount": {"kind": "normal", "mean": 1.5, "sigma": 0.01}}
    attacked = struck({"effect": "crowd", "ratio": 0.1, "label": True, "features": odd})
    ids = {
        one
        for b in predictions(attacked)
        for one, a in zip(b.event_id, b.features["amount"], strict=True)
        if 1.4 < a < 1.6
    }
    labels = {
        one: label for b in of(Labels, attacked, 600, 2200) for one, label in zip(b.event_id, b.label, strict=True)
    }
    known = [labels[one] for one in ids if one in labels]
    assert abs(len(ids) / len(features(attacked, "amount", 600, 1500)) - 0.1) < 0.02
    assert np.mean(known) > 0.95


def test_a_misread_feature_leaves_the_truth_alone() -> None:
    scaled = struck({"effect": "scale", "feature": "amount", "factor": 30})
    for one, two in zip(of(Labels, scaled, 600, 1500), of(Labels, CLEAN, 600, 1500), strict=True):
        np.testing.assert_array_equal(one.label, two.label)


@pytest.mark.parametrize("change", ["appears", "disappears", "turns_text"])
def test_fields_appear_disappear_and_turn_text(change: str) -> None:
    feature = "arm" if change == "appears" else "amount"
    for block in predictions(struck({"effect": "field", "feature": feature, "change": change})):
        assert (feature in block.features) == (change != "disappears")
        if change == "turns_text":
            assert block.features["amount"].dtype.kind == "U"
            assert float(block.features["amount"][0]) > 0


@pytest.mark.parametrize("factor", [0.0, 0.3, 3.0])
def test_traffic_comes_at_its_factor(factor: float) -> None:
    changed = (
        len(features(struck({"effect": "traffic", "factor": factor}), "amount", 600, 1500))
        if factor
        else sum(map(len, predictions(struck({"effect": "traffic", "factor": 0}))))
    )
    usual = len(features(CLEAN, "amount", 600, 1500))
    assert abs(changed - factor * usual) <= 6 * np.sqrt(factor * usual) + 6 * factor * np.sqrt(usual)


def test_duplicates_say_the_same_again() -> None:
    ids = [one for b in predictions(struck({"effect": "duplicates", "ratio": 0.5, "copies": 2})) for one in b.event_id]
    usual = [one for block in predictions(CLEAN) for one in block.event_id]
    assert sorted(set(ids)) == sorted(usual)
    assert abs((len(ids) / len(usual) - 1) / 2 - 0.5) < near(0.5, len(usual))


def test_a_collapsed_score_has_lost_its_spread_and_decides_so() -> None:
    flat = struck({"effect": "collapse", "to": 0.1, "spread_ratio": 0.1})
    np.testing.assert_allclose(answers(flat, "score") - 0.1, 0.1 * (answers(CLEAN, "score") - 0.1))
    assert set(answers(flat, "decision")) == {"approve"}
    assert len(set(answers(CLEAN, "decision"))) > 1


def test_a_miscalibrated_score_keeps_its_order_and_its_labels() -> None:
    off = struck({"effect": "calibration", "slope": 0.5, "shift": 1})
    usual, moved = answers(CLEAN, "score"), answers(off, "score")
    np.testing.assert_allclose(np.log(moved / (1 - moved)), 0.5 * np.log(usual / (1 - usual)) + 1, atol=1e-9)


def test_scores_are_calibrated_until_they_are_struck() -> None:
    score = {one: s for b in predictions(CLEAN, 0, 3000) for one, s in zip(b.event_id, b.response.score, strict=True)}  # type: ignore[arg-type]
    labels = [
        (score[one], label)
        for b in of(Labels, CLEAN, 0, 3600)
        for one, label in zip(b.event_id, b.label, strict=True)
        if one in score
    ]
    scores, told = (np.array(column, np.float64) for column in zip(*labels, strict=True))
    for low, high in ((0.0, 0.15), (0.15, 0.3), (0.3, 0.6)):
        chosen = (scores >= low) & (scores < high)
        # The score is the truth with some noise: within its bins it is off by little.
        assert abs(told[chosen].mean() - scores[chosen].mean()) < near(0.25, int(chosen.sum())) + 0.02


def test_only_the_tail_slows_down() -> None:
    slowed = answers(struck({"effect": "latency", "factor": 1.8, "over_ms": 12}), "latency_ms")
    usual = answers(CLEAN, "latency_ms")
    np.testing.assert_allclose(slowed, np.where(usual > 12, usual * 1.8, usual))
    assert 0 < (usual > 12).mean() < 1


def test_one_host_alone_slows_down() -> None:
    slow = struck({"effect": "latency", "factor": 2, "add_ms": 5}, where={"host": "serve-1"})
    usual = answers(CLEAN, "latency_ms")
    np.testing.assert_allclose(answers(slow, "latency_ms"), np.where(hosts(slow) == "serve-1", 2 * usual + 5, usual))
    assert set(hosts(slow)) == {"serve-0", "serve-1", "serve-2"}


def test_times_of_a_generative_model_stretch_together() -> None:
    slow = scene(injection("chat", {"effect": "latency", "factor": 2}, **LONG))
    for one, two in zip(
        of(Predictions, slow, 600, 900, model="chat"), of(Predictions, CLEAN, 600, 900, model="chat"), strict=True
    ):
        for name in ("time_to_first_token_ms", "time_per_output_token_ms"):
            np.testing.assert_allclose(one.response.gen_ai[name], 2 * two.response.gen_ai[name])
        np.testing.assert_array_equal(one.response.gen_ai["output_tokens"], two.response.gen_ai["output_tokens"])


def test_one_version_alone_fails() -> None:
    worse = struck({"effect": "errors", "ratio": 0.3, "status": "broken"}, where={"version": "b"})
    failed = answers(worse, "status", model_version="b") == "broken"
    assert abs(failed.mean() - 0.3) < near(0.3, len(failed))
    assert "broken" not in answers(worse, "status", model_version="a")


def test_a_concept_drifts_in_labels_alone() -> None:
    drifted = struck({"effect": "concept", "shift": 2})
    np.testing.assert_array_equal(answers(drifted, "score"), answers(CLEAN, "score"))
    now, before = (np.concatenate([b.label for b in of(Labels, s, 800, 1500)]).mean() for s in (drifted, CLEAN))
    assert now > 2 * before


def test_flipped_labels_come_at_their_share() -> None:
    def labels(scenario: Scenario) -> dict[str, bool]:
        blocks = of(Labels, scenario, 600, 2200)
        return {one: bool(label) for b in blocks for one, label in zip(b.event_id, b.label, strict=True)}

    lied, told = labels(struck({"effect": "flip_labels", "ratio": 0.2})), labels(CLEAN)
    asked = [one for block in predictions(CLEAN) for one in block.event_id if one in told]
    flipped = np.mean([lied[one] != told[one] for one in asked])
    assert abs(flipped - 0.2) < near(0.2, len(asked))


def test_labels_are_held_back_until_the_end_and_none_is_lost() -> None:
    late = struck({"effect": "label_delay", "added_s": 5000})
    assert sum(map(len, of(Labels, late, 600, 1400))) == 0
    assert sum(map(len, of(Labels, late, 1400, 1500))) == sum(map(len, of(Labels, CLEAN, 600, 1500)))


def test_stale_values_get_older_by_the_second() -> None:
    stale = struck({"effect": "stale"}, "history")
    blocks = of(FeatureReads, stale, 600, 1500)
    source = np.concatenate([block.source_ts_ms for block in blocks])
    assert source.max() <= blocks[0].ts_ms[0] + 1000
    ages = [np.median(b.ts_ms - b.source_ts_ms) / 1000 for b in of(FeatureReads, CLEAN, 600, 1500)]
    assert 40 < np.median(ages) < 90


def test_a_hot_gpu_throttles_and_its_neighbour_does_not() -> None:
    hot = struck({"effect": "throttle", "warmer_c": 40, "clock_ratio": 0.6}, "gpu-1", where={"gpu_index": 1})
    temperature, clock = gauges(hot, "temperature_c"), gauges(hot, "sm_clock_hz") / gauges(CLEAN, "sm_clock_hz")
    np.testing.assert_allclose(clock, np.where(temperature > 87, 0.6, 1))
    assert (temperature > 87).any()
    assert (temperature <= 87).any()
    reasons = np.concatenate(
        [b.clocks_event_reasons[b.gpu_index == 1] for b in of(GpuSamples, hot, 600, 1500, host="gpu-1")]
    )
    np.testing.assert_array_equal(reasons & 0x40 > 0, temperature > 87)
    np.testing.assert_array_equal(gauges(hot, "temperature_c", 0), gauges(CLEAN, "temperature_c", 0))


def test_xids_are_events_not_states() -> None:
    failing = struck({"effect": "xid", "code": 79, "every_s": 300}, "gpu-1", where={"gpu_index": 0})
    seen = [
        (b.ts_ms[p] - b.ts_ms[0], xid)
        for b in of(GpuSamples, failing, 600, 1500, host="gpu-1")
        for p, xid in enumerate(b.xid)
        if xid
    ]
    assert [xid for _, xid in seen] == [(79,)] * 3


def test_memory_errors_only_grow_until_the_reset() -> None:
    failing = struck({"effect": "ecc", "uncorrected_per_h": 40, "corrected_per_h": 400}, "gpu-1")
    for name, last in (("ecc_uncorrected_total", 10), ("ecc_corrected_total", 99)):
        counted = gauges(failing, name) - gauges(CLEAN, name)
        assert (np.diff(counted) >= 0).all()
        assert counted[-1] == last
    np.testing.assert_array_equal(gauges(failing, "ecc_uncorrected_total", 1, 1500, 1600), 0)


def test_a_leak_grows_at_its_rate_up_to_all_memory() -> None:
    leaking = struck({"effect": "memory_leak", "bytes_per_s": 2e6}, "gpu-1")
    leaked = gauges(leaking, "memory_used_bytes") - gauges(CLEAN, "memory_used_bytes")
    np.testing.assert_allclose(leaked, 2e6 * 10 * np.arange(len(leaked)))
    full = struck({"effect": "memory_leak", "bytes_per_s": 1e9}, "gpu-1")
    assert (gauges(full, "memory_used_bytes") <= gauges(full, "memory_total_bytes")).all()


def test_an_idle_gpu_keeps_its_memory() -> None:
    idle = struck({"effect": "idle", "utilization_ratio": 0.01}, "gpu-1")
    assert gauges(idle, "utilization_ratio").max() < 0.02
    np.testing.assert_array_equal(gauges(idle, "memory_used_bytes"), gauges(CLEAN, "memory_used_bytes"))
    assert gauges(idle, "power_w").mean() < 0.3 * gauges(CLEAN, "power_w").mean()


def test_a_slow_gpu_works_longer_at_a_lower_clock_and_says_no_reason() -> None:
    slow = struck({"effect": "slow_gpu", "clock_ratio": 0.7}, "gpu-1", where={"gpu_index": 1})
    np.testing.assert_allclose(gauges(slow, "sm_clock_hz"), 0.7 * gauges(CLEAN, "sm_clock_hz"))
    assert (gauges(slow, "utilization_ratio") >= gauges(CLEAN, "utilization_ratio")).all()


def test_gpus_follow_the_traffic_of_the_model_they_serve() -> None:
    less = struck({"effect": "load", "factor": 0.5}, "gpu-1")
    for name in ("utilization_ratio", "temperature_c", "power_w"):
        assert gauges(less, name)[20:].mean() < gauges(CLEAN, name)[20:].mean()
