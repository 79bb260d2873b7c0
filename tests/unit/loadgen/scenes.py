"""Small scenarios for tests: one entity of every family, and room for injections."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from loadgen.columns import Columns, FeatureReads, GpuSamples, Labels, Predictions
from loadgen.scenarios import Scenario
from loadgen.scenarios.reading import parse

START_MS = 1_780_000_020_000
DURATION_S = 3600
Family = TypeVar("Family", Predictions, Labels, FeatureReads, GpuSamples)

MODEL: dict[str, Any] = {
    "name": "cards",
    "traffic": {"rate_per_s": 12, "daily_ratio": 0.2},
    "versions": [{"name": "a", "weight": 0.75}, {"name": "b", "weight": 0.25}],
    "segments": {"country": {"kind": "categorical", "weights": {"DE": 0.6, "FR": 0.4}}},
    "features": {
        "amount": {"kind": "lognormal", "median": 30, "sigma": 0.7, "by": {"shop": {"travel": 4}}},
        "velocity": {"kind": "poisson", "mean": 2},
        "shop": {"kind": "categorical", "weights": {"grocery": 0.8, "travel": 0.2}},
    },
    "hosts": {"count": 3, "prefix": "serve"},
    "score": {
        "intercept": -4,
        "noise_sigma": 0.2,
        "terms": [
            {"feature": "amount", "transform": "log1p", "weight": 0.6},
            {"feature": "shop", "weights": {"travel": 0.5}},
            {"segment": "country", "weights": {"FR": 0.2}},
        ],
    },
    "decisions": {"over": {"block": 0.5, "review": 0.3}, "otherwise": "approve"},
    "latency": {"median_ms": 10, "sigma": 0.3, "per_load_ratio": 0.1},
    "labels": {"delay_median_s": 60, "delay_sigma": 0.3, "delay_max_s": 600},
}
OTHER: dict[str, Any] = {
    "name": "chat",
    "traffic": {"rate_per_s": 2},
    "features": {"context": {"kind": "lognormal", "median": 500, "sigma": 0.8}},
    "generation": {
        "input_feature": "context",
        "output_tokens": {"kind": "lognormal", "median": 140, "sigma": 0.7},
        "first_token_base_ms": 90,
        "first_token_per_input_ms": 0.1,
        "per_output_token_ms": 20,
    },
}
FEATURE_SET: dict[str, Any] = {
    "name": "history",
    "model": "cards",
    "traffic": {"rate_per_s": 4},
    "values": {
        "orders": {"kind": "poisson", "mean": 3},
        "home": {"kind": "categorical", "weights": {"DE": 1, "AT": 1}},
    },
}
FLEET: dict[str, Any] = {"name": "gpu", "model": "chat", "hosts": 2, "gpus_per_host": 2, "full_load_per_s": 3}


def injection(entity: str, *effects: dict[str, Any], **more: Any) -> dict[str, Any]:
    given = {"name": "it", "kind": "feature_drift_sudden", "entity": entity, "onset_s": 600, "end_s": 660}
    return {**given, "effects": list(effects), **more}


def scene(*timeline: dict[str, Any], seed: int = 1, **more: Any) -> Scenario:
    given = {
        "about": "a test",
        "duration_s": DURATION_S,
        "models": [MODEL, OTHER],
        "feature_sets": [FEATURE_SET],
        "fleets": [FLEET],
        "timeline": list(timeline),
    }
    return parse({**given, **more}, Path("scene.yaml"), seed)


def written(scenario: Scenario, first: int, last: int, step_s: int = 60) -> list[Columns]:
    return [block for blocks in scenario.mix(START_MS).spans(first, last, step_s) for block in blocks]


def of(kind: type[Family], scenario: Scenario, first: int, last: int, **fields: str) -> list[Family]:
    """The blocks of one family; ``fields`` chooses among entities."""
    blocks = [block for block in written(scenario, first, last) if isinstance(block, kind)]
    return [block for block in blocks if all(getattr(block, name) == text for name, text in fields.items())]


def features(scenario: Scenario, name: str, first: int = 600, last: int = 660) -> np.ndarray:
    return np.concatenate([b.features[name] for b in of(Predictions, scenario, first, last, model="cards")])


class Event(NamedTuple):
    """Any event, for comparing."""

    topic: str
    who: str
    ts_ms: int
    says: str


def events(blocks: Sequence[Columns]) -> "Counter[Event]":
    """Every event and how often it comes."""
    return Counter(event for block in blocks for event in _events(block))


def _events(block: Columns) -> Iterator[Event]:
    name, who, columns = _told(block)
    rows = zip(who, block.ts_ms.tolist(), zip(*(column.tolist() for column in columns), strict=True), strict=True)
    return (Event(block.topic, f"{name}/{one}", ts_ms, repr(says)) for one, ts_ms, says in rows)


def _told(block: Columns) -> tuple[str, list[str], list[Any]]:
    match block:
        case Predictions():
            response = block.response
            columns = [*block.segment.values(), *block.features.values(), response.latency_ms, response.status]
            return block.model, block.event_id, [
                *columns, *(column for column in (response.score, response.decision) if column is not None)
            ]  # fmt: skip
        case Labels():
            return block.model, block.event_id, [block.label]
        case FeatureReads():
            return block.feature_set, block.event_id, [block.key, block.source_ts_ms, *block.values.values()]
        case GpuSamples():
            codes = np.array([str(codes) for codes in block.xid])
            return block.host, block.gpu_uuid.tolist(), [*block.gauges.values(), block.clocks_event_reasons, codes]
