"""The two laws of generated load: who makes a second does not matter, and an injection strikes nobody else."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.columns import Columns, FeatureReads, GpuSamples, Labels, Predictions
from loadgen.scenarios import Scenario, demo
from schemas.topics import TopicName
from tests.unit.loadgen.scenes import START_MS, Event, events, injection, scene, written

CLEAN = scene()
STRUCK: dict[str, dict[str, Any]] = {
    "scale": injection("cards", {"effect": "scale", "feature": "amount", "factor": 2}),
    "shift": injection("cards", {"effect": "shift", "feature": "amount", "sigmas": 1.5}),
    "gradual": injection(
        "cards", {"effect": "scale", "feature": "amount", "factor": 2}, profile={"kind": "ramp", "up_s": 60}
    ),
    "recurring": injection(
        "cards",
        {"effect": "scale", "feature": "amount", "factor": 2},
        profile={"kind": "recurring", "every_s": 50, "on_s": 20},
    ),
    "segment": injection(
        "cards", {"effect": "scale", "feature": "amount", "factor": 2}, where={"segment": {"country": "FR"}}
    ),
    "nulls": injection("cards", {"effect": "nulls", "feature": "amount", "ratio": 0.3}),
    "category": injection("cards", {"effect": "category", "feature": "shop", "text": "crypto", "ratio": 0.2}),
    "crowd": injection(
        "cards",
        {
            "effect": "crowd",
            "ratio": 0.1,
            "label": True,
            "features": {"amount": {"kind": "normal", "mean": 2, "sigma": 0.1}},
        },
    ),
    "field": injection("cards", {"effect": "field", "feature": "amount", "change": "turns_text"}),
    "traffic": injection("cards", {"effect": "traffic", "factor": 2}),
    "duplicates": injection("cards", {"effect": "duplicates", "ratio": 0.4, "copies": 2}),
    "collapse": injection("cards", {"effect": "collapse", "to": 0.1, "spread_ratio": 0.1}),
    "calibration": injection("cards", {"effect": "calibration", "slope": 0.5, "shift": 1}),
    "latency": injection("cards", {"effect": "latency", "factor": 2, "over_ms": 10}),
    "host": injection("cards", {"effect": "latency", "factor": 2}, where={"host": "serve-1"}),
    "version": injection("cards", {"effect": "errors", "ratio": 0.5}, where={"version": "b"}),
    "concept": injection("cards", {"effect": "concept", "shift": 2}),
    "flip": injection("cards", {"effect": "flip_labels", "ratio": 0.3}),
    "label_delay": injection("cards", {"effect": "label_delay", "added_s": 5000}),
    "stale": injection("history", {"effect": "stale"}),
    "values": injection("history", {"effect": "shift", "feature": "orders", "sigmas": 2}),
    "throttle": injection("gpu-1", {"effect": "throttle", "warmer_c": 30, "clock_ratio": 0.6}, where={"gpu_index": 1}),
    "xid": injection("gpu-1", {"effect": "xid", "code": 79, "every_s": 120}),
    "ecc": injection("gpu-1", {"effect": "ecc", "uncorrected_per_h": 30}),
    "memory_leak": injection("gpu-1", {"effect": "memory_leak", "bytes_per_s": 1_000_000}),
    "idle": injection("gpu-1", {"effect": "idle"}),
    "load": injection("gpu-1", {"effect": "load", "factor": 0.5}),
    "slow_gpu": injection("gpu-1", {"effect": "slow_gpu", "clock_ratio": 0.7}),
}


def entity_of(block: Columns) -> str:
    match block:
        case GpuSamples():
            return block.host
        case FeatureReads():
            return block.feature_set
        case _:
            return block.model


def others(scenario: Scenario, entity: str, first: int, last: int) -> Counter[Event]:
    return events([block for block in written(scenario, first, last) if entity_of(block) != entity])


def about(scenario: Scenario, first: int, last: int) -> Counter[Event]:
    """What is told of what happened in these seconds: a label belongs to the time of its prediction."""
    told = events(written(scenario, first, last))
    late = [e for e in told if e.topic == TopicName.LABELS and not first <= int(e.who.rsplit("-", 2)[1]) < last]
    for event in late:
        del told[event]
    return told


@settings(max_examples=12, deadline=None)
@given(
    first=st.integers(560, 680),
    length=st.integers(1, 60),
    step_s=st.integers(1, 40),
    kind=st.sampled_from(list(STRUCK)),
)
def test_whoever_makes_a_second_makes_the_same(first: int, length: int, step_s: int, kind: str) -> None:
    scenario = scene(STRUCK[kind])
    mix = scenario.mix(START_MS)
    at_once = events(written(scenario, first, first + length, length))
    assert at_once == events([b for blocks in mix.spans(first, first + length, step_s) for b in blocks])
    assert at_once == events([b for blocks in mix.seconds(first, first + length) for b in blocks])


def test_shares_of_a_run_add_up_to_the_run() -> None:
    parts = [events(written(CLEAN, second, second + 1)) for share in range(3) for second in range(share, 30, 3)]
    assert sum(parts, Counter()) == events(written(CLEAN, 0, 30))


@pytest.mark.parametrize("kind", STRUCK)
def test_an_injection_changes_its_entity_in_its_time_and_nothing_else(kind: str) -> None:
    struck, entity = scene(STRUCK[kind]), str(STRUCK[kind]["entity"])
    assert others(struck, entity, 595, 665) == others(CLEAN, entity, 595, 665)
    assert about(struck, 560, 600) == about(CLEAN, 560, 600)
    assert about(struck, 660, 720) == about(CLEAN, 660, 720)
    assert events(written(struck, 600, 660)) != events(written(CLEAN, 600, 660))


def test_seeds_and_seconds_differ() -> None:
    def says(seed: int, first: int) -> set[str]:
        found = events(written(scene(seed=seed), first, first + 10))
        return {event.says for event in found if event.topic == TopicName.PREDICTIONS}

    assert not says(1, 0) & says(2, 0)
    assert not says(1, 0) & says(1, 10)


def test_event_times_are_ascending_and_within_their_second() -> None:
    mix = CLEAN.mix(START_MS)
    for second in (0, 59, 600):
        for block in next(mix.seconds(second, second + 1)):
            assert (np.diff(block.ts_ms) >= 0).all()
            assert (block.ts_ms >= START_MS + second * 1000).all()
            assert (block.ts_ms < START_MS + (second + 1) * 1000).all()


def test_a_mix_names_its_topics_once() -> None:
    every = (TopicName.PREDICTIONS, TopicName.LABELS, TopicName.FEATURES, TopicName.GPU_TELEMETRY)
    assert CLEAN.mix(START_MS).topics == every
    assert demo().mix(START_MS).topics == (TopicName.PREDICTIONS,)


def test_event_ids_are_unique_and_labels_name_them() -> None:
    blocks = written(CLEAN, 0, 600)
    asked = [one for block in blocks if isinstance(block, Predictions) for one in block.event_id]
    labelled = [one for block in blocks if isinstance(block, Labels) for one in block.event_id]
    assert len(asked) == len(set(asked))
    assert len(labelled) == len(set(labelled)) > 0
    assert set(labelled) < set(asked)
