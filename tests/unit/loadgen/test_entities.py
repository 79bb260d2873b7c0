"""Entities as they are when nothing is injected."""

import numpy as np

from loadgen.columns import FeatureReads, GpuSamples, Labels, Predictions
from tests.unit.loadgen.scenes import FLEET, MODEL, START_MS, features, injection, of, scene

CLEAN = scene()


def test_correlated_features_keep_their_own_distributions() -> None:
    pair = {**MODEL, "correlations": [{"of": ["amount", "velocity"], "rho": 0.8}]}
    pair["features"] = {**MODEL["features"], "amount": {"kind": "lognormal", "median": 30, "sigma": 0.7}}
    amount, velocity = (features(scene(models=[pair], fleets=[]), name, 0, 1200) for name in ("amount", "velocity"))
    # Rounding to whole counts takes a little off the correlation of the normals behind them.
    assert 0.7 < np.corrcoef(np.log(amount), velocity)[0, 1] < 0.8
    assert abs(np.median(amount) / 30 - 1) < 0.05
    assert abs(velocity.mean() - 2) < 5 * np.sqrt(2 / len(velocity))


def test_versions_share_the_traffic_while_they_are_live() -> None:
    rollout = {
        **MODEL,
        "versions": [
            {"name": "a", "until_s": 300},
            {"name": "b", "from_s": 300, "weight": 3},
            {"name": "c", "from_s": 300},
        ],
    }
    scenario = scene(models=[rollout], fleets=[])
    counts = {
        (name, first): sum(map(len, of(Predictions, scenario, first, first + 300, model_version=name)))
        for name in "abc" for first in (0, 300)
    }  # fmt: skip
    assert counts["b", 0] == counts["c", 0] == counts["a", 300] == 0
    assert 0.7 < counts["b", 300] / (counts["b", 300] + counts["c", 300]) < 0.8


def test_segments_move_the_features_that_depend_on_them() -> None:
    blocks = of(Predictions, CLEAN, 0, 1200, model="cards")
    amount, shop = (np.concatenate([b.features[name] for b in blocks]) for name in ("amount", "shop"))
    ratio = np.median(amount[shop == "travel"]) / np.median(amount[shop == "grocery"])
    assert 3.6 < ratio < 4.4


def test_a_fleet_tells_where_its_model_is_served() -> None:
    (first, *_) = of(Predictions, CLEAN, 0, 300, model="chat")
    sampled = {u for block in of(GpuSamples, CLEAN, 0, 300) for u in block.gpu_uuid.tolist()}
    assert first.host is not None
    assert first.gpu_uuid is not None
    assert set(first.host.tolist()) == {"gpu-0", "gpu-1"}
    assert set(first.gpu_uuid.tolist()) == sampled
    assert len(sampled) == 4


def test_gpus_are_sampled_at_their_pace() -> None:
    blocks = of(GpuSamples, CLEAN, 0, 60, host="gpu-0")
    assert sum(map(len, blocks)) == 6 * 2
    assert set(np.concatenate([b.ts_ms for b in blocks]).tolist()) == {START_MS + 10_000 * k for k in range(6)}


def test_a_busy_fleet_is_warm_and_says_when_it_is_capped() -> None:
    busy = scene(fleets=[{**FLEET, "full_load_per_s": 0.1}])
    (block,) = of(GpuSamples, busy, 0, 60, host="gpu-0")
    assert (block.gauges["temperature_c"] > 65).all()
    assert (block.clocks_event_reasons & 0x4 > 0).any()


def test_every_request_gets_its_label_once_and_after_itself() -> None:
    asked = {
        one: ts
        for b in of(Predictions, CLEAN, 0, 600, model="cards")
        for one, ts in zip(b.event_id, b.ts_ms.tolist(), strict=True)
    }
    told = [(one, ts) for b in of(Labels, CLEAN, 0, 1800) for one, ts in zip(b.event_id, b.ts_ms.tolist(), strict=True)]
    known = dict(told)
    assert len(known) == len(told)
    assert set(asked) <= set(known)
    delays = np.array([known[one] - ts for one, ts in asked.items()]) / 1000
    assert delays.min() > 0
    assert 45 < np.median(delays) < 75


def test_some_requests_never_get_a_label() -> None:
    some = scene(models=[{**MODEL, "labels": {"delay_median_s": 60, "share_ratio": 0.25}}], fleets=[])
    ratio = sum(map(len, of(Labels, some, 600, 1800))) / sum(map(len, of(Labels, CLEAN, 600, 1800)))
    assert 0.2 < ratio < 0.3


def test_hot_keys_are_hot() -> None:
    hot = {
        **MODEL,
        "traffic": {"rate_per_s": 12, "hot_keys": {"kind": "zipf", "count": 100, "exponent": 1.1, "prefix": "user"}},
    }
    keys = np.concatenate([b.key for b in of(Predictions, scene(models=[hot], fleets=[]), 0, 600) if b.key is not None])
    assert (keys == "user-1").mean() > 5 * (keys == "user-10").mean() > 0


SERVING = {"name": "store", "model": "cards", "serves": ["amount", "shop"]}


def by_id(blocks: list[FeatureReads] | list[Predictions], name: str) -> dict[str, tuple[int, object]]:
    """Event id → its time, and the value of a feature."""
    found: dict[str, tuple[int, object]] = {}
    for block in blocks:
        values = block.values if isinstance(block, FeatureReads) else block.features
        found |= zip(block.event_id, zip(block.ts_ms.tolist(), values[name].tolist(), strict=True), strict=True)
    return found


def test_a_set_that_serves_a_model_is_read_once_by_every_request_of_all_versions() -> None:
    scenario = scene(feature_sets=[SERVING])
    reads = of(FeatureReads, scenario, 600, 660, feature_set="store")
    assert {block.model for block in reads} == {"cards"}
    assert {name for block in reads for name in block.values} == {"amount", "shop"}
    for name in ("amount", "shop"):
        assert by_id(reads, name) == by_id(of(Predictions, scenario, 600, 660, model="cards"), name)


def test_what_a_model_misreads_is_served_as_it_is_and_a_cache_answers_for_the_store() -> None:
    cents = injection("cards", {"effect": "scale", "feature": "amount", "factor": 100}, kind="feature_skew")
    cached = injection("store", {"effect": "traffic", "factor": 0.5}, name="a cache", kind="feature_cached")
    scenario = scene(cents, cached, feature_sets=[SERVING])
    read = by_id(of(FeatureReads, scenario, 600, 660), "amount")
    given = by_id(of(Predictions, scenario, 600, 660, model="cards"), "amount")
    right = by_id(of(Predictions, scene(feature_sets=[SERVING]), 600, 660, model="cards"), "amount")
    assert 0.4 * len(given) < len(read) < 0.6 * len(given)
    assert all(right[event_id] == value for event_id, value in read.items())
    ratios = [float(str(given[event_id][1])) / float(str(value[1])) for event_id, value in read.items()]
    np.testing.assert_allclose(ratios, 100)
