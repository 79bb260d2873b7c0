"""For every registered detector: windows as usual, and the same windows with its anomaly at growing strength."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detectors.baseline import from_table
from detectors.drift.joint import PairDrift
from detectors.fraud.outliers import RowOutliers
from detectors.protocol import Detector, Scores, WindowBatch
from detectors.references import reference_sample
from detectors.registry import REGISTRY, make, restore
from schemas.baselines import Baseline
from schemas.scopes import Family, Scope
from tests.laws.world import Seen, World

Floats = NDArray[np.float64]
FEATURES = ("features.amount", "features.flag", "features.rare", "score", "latency_ms")
GPU = Scope(Family.GPU, "host-1", "GPU-1")
MODELS = tuple(Scope(Family.PREDICTION, f"model-{i}", "1") for i in range(3))
SCOPES = (*MODELS, GPU)
LABELS = Scope(Family.LABEL, "model-0")
HOSTS = tuple(Scope(Family.PREDICTION, "model-0", "1", f"host={name}") for name in "abcd")
GPUS = tuple(Scope(Family.GPU, "host-1", f"GPU-{i}") for i in (2, 3, 4))
STORE = Scope(Family.FEATURE, "card-history")
READS = Scope(Family.READ, "model-0", "", "feature_set=card-history")
CANARY = Scope(Family.PREDICTION, "model-0", "2-canary")
EVERYONE = (*SCOPES, CANARY, *HOSTS, *GPUS, LABELS, STORE, READS)
CROWDS: Mapping[str, tuple[Scope, ...]] = {
    "latency_hosts": HOSTS,
    "gpu_slow": GPUS,
    "label_delay": (LABELS,),
    "label_rate": (LABELS,),
    "freshness": (STORE,),
    "skew": (READS,),
    "versions": (CANARY,),
}
"""Peers, for the detectors that need them."""

# Warm-ups short enough for a test; what is measured stays at its default.
PARAMS: Mapping[str, Mapping[str, object]] = {
    "adwin": {"warmup": 5},
    "gpu_ecc_rate": {"min_history_h": 0.1},
    "gpu_idle": {"sustained_s": 900},
    "gpu_temperature": {"sustained_s": 30},
    "label_delay": {"floor_min": 2.0, "rounds": 1.0},
    "label_rate": {"min_labels": 1_000, "block_min": 2},
    "latency_limit": {"minutes": 2, "limits": [{"model": "model-*", "limit_ms": 10.0}]},
    "outliers": {"max_scopes": 1},
    "slo": {
        "slos": [
            {"name": "up", "objective_ratio": 0.995},
            {"name": "fast", "kind": "latency", "threshold_ms": 100.0, "objective_ratio": 0.995},
        ]
    },
    "volume": {"warmup": 5, "patience": 10},
    "duplicates": {"warmup": 5},
    "range": {"warmup": 4},
    "freshness": {"warmup": 5},
}
SPANS: Mapping[str, tuple[int, int]] = {
    "adwin": (40, 24),
    "gpu_ecc_rate": (90, 75),
    "gpu_leak": (40, 20),
    "label_delay": (14, 8),
    "label_rate": (16, 10),
}
"""Windows, and the one in which the anomaly begins: (12, 6) unless a detector needs a past to compare with."""


def values(rng: np.random.Generator, rows: int) -> dict[str, Floats]:
    return {
        "features.amount": rng.lognormal(3, 1, rows),
        "features.flag": (rng.random(rows) < 0.3).astype(np.float64),
        "features.rare": np.where(rng.random(rows) < 0.9, 0.0, rng.exponential(size=rows)),
        "score": rng.beta(2, 8, rows),
        "latency_ms": rng.lognormal(3, 0.5, rows),
    }


@functools.cache
def baseline(scope: Scope) -> Baseline:
    rng = np.random.default_rng(EVERYONE.index(scope))
    rows = 4_000
    if scope.family is Family.GPU:
        gauges = {"temperature_c": rng.normal(60, 2, rows), "memory_used_ratio": rng.uniform(0.5, 0.6, rows)}
        return from_table(scope, gauges, built_from="test", effective_from_ms=0, panes=4_000)
    if scope.family is Family.FEATURE:
        ages = {"freshness_ms": rng.lognormal(10, 0.5, rows)}
        return from_table(scope, ages, built_from="test", effective_from_ms=0, panes=4)
    if scope.family is Family.LABEL:
        told = {"label": (rng.random(rows) < 0.2).astype(np.float64)}
        return from_table(scope, told, built_from="test", effective_from_ms=0, panes=4)
    columns = {
        **values(rng, rows),
        "features.country": rng.choice(["de", "fr", "it"], rows, p=[0.5, 0.3, 0.2]),
        "status": rng.choice(["ok", "timeout"], rows, p=[0.99, 0.01]),
        "decision": rng.choice(["allow", "deny"], rows, p=[0.9, 0.1]),
    }
    return from_table(scope, columns, built_from="test", effective_from_ms=0, panes=4)


def counted(rng: np.random.Generator, rows: int, **shares: float) -> dict[str, int]:
    return dict(zip(shares, rng.multinomial(rows, list(shares.values())).tolist(), strict=True))


def usual(rng: np.random.Generator, scope: Scope) -> Seen:
    """What a scope sees in a window when nothing is wrong."""
    if scope.family is Family.GPU:
        gauges = {
            "temperature_c": rng.normal(60, 2, 10),
            "memory_used_ratio": rng.uniform(0.5, 0.6, 10),
            "memory_used_bytes": rng.normal(44e9, 1e8, 10),
            "memory_total_bytes": np.full(10, 80e9),
            "utilization_ratio": rng.uniform(0.6, 0.8, 10),
            "sm_clock_hz": rng.normal(1.8e9, 1e7, 10),
            "sm_clock_max_hz": np.full(10, 2e9),
            "ecc_uncorrected_total": np.full(10, 2.0),
            "ecc_corrected_total": np.full(10, 40.0),
        }
        return Seen(10, gauges, counters={"clocks_event_reason": {"gpu_idle": 3}, "xid": {"79": 0, "31": 0}})
    rows = int(rng.poisson(300 if scope == CANARY else 1_000))
    if scope.family is Family.LABEL:
        return Seen(rows, {"label": (rng.random(rows) < 0.2).astype(np.float64)})
    if scope.family is Family.FEATURE:
        return Seen(rows, {"freshness_ms": rng.lognormal(10, 0.5, rows)})
    numeric = values(rng, rows)
    names = tuple(name for name in FEATURES if name != "latency_ms")
    sample = np.stack([numeric[name][:256] for name in names], axis=1)
    return Seen(
        rows,
        numeric,
        categories={"features.country": counted(rng, rows, de=0.5, fr=0.3, it=0.2)},
        counters={
            "decision": counted(rng, rows, allow=0.9, deny=0.1),
            "reason": {"invalid_json": int(rng.binomial(rows, 0.01))},
        },
        errors=int(rng.binomial(rows, 0.01)),
        ids=(200, 2),
        sample=(names, sample),
    )


def _numeric(seen: Seen, **changed: Floats) -> Seen:
    return replace(seen, numeric={**seen.numeric, **changed})


def _counter(seen: Seen, name: str, counts: Mapping[str, int]) -> Seen:
    return replace(seen, counters={**seen.counters, name: counts})


def _shifted(seen: Seen, strength: float) -> Seen:
    return _numeric(seen, **{"features.amount": seen.numeric["features.amount"] * np.exp(2 * strength)})


def _new_country(seen: Seen, strength: float) -> Seen:
    counts = dict(seen.categories["features.country"])
    counts["xx"] = int(counts["de"] * strength)
    counts["de"] -= counts["xx"]
    return replace(seen, categories={"features.country": counts})


def _crowded(seen: Seen, strength: float) -> Seen:
    amount = seen.numeric["features.amount"].copy()
    amount[: int(len(amount) * strength)] = 20.1
    return _numeric(seen, **{"features.amount": amount})


def _positive(seen: Seen, strength: float) -> Seen:
    label = seen.numeric["label"].copy()
    label[: int(len(label) * strength)] = 1.0
    return _numeric(seen, label=label)


def _many_countries(seen: Seen, strength: float) -> Seen:
    counts = dict(seen.categories["features.country"])
    for i in range(int(40 * strength)):
        counts[f"x{i}"] = 1
        counts["de"] -= 1
    return replace(seen, categories={"features.country": counts})


def _nulls(seen: Seen, strength: float) -> Seen:
    amount = seen.numeric["features.amount"].copy()
    amount[: int(len(amount) * strength)] = np.nan
    return _numeric(seen, **{"features.amount": amount})


def _as_text(seen: Seen, strength: float) -> Seen:
    amount = seen.numeric["features.amount"].copy()
    texts = int(len(amount) * strength)
    amount[:texts] = np.nan
    return replace(_numeric(seen, **{"features.amount": amount}), categories={"features.amount": {"12.5": texts}})


def _another_field(seen: Seen, strength: float) -> Seen:
    return _numeric(seen, **{"features.new": np.where(np.arange(seen.rows) < strength * seen.rows, 1.0, np.nan)})


def _in_cents(seen: Seen, strength: float) -> Seen:
    amount = seen.numeric["features.amount"].copy()
    amount[: int(len(amount) * strength / 5)] *= 100
    return _numeric(seen, **{"features.amount": amount})


def _fewer(seen: Seen, strength: float) -> Seen:
    return replace(seen, rows=int(seen.rows * (1 - strength)))


def _collapsed(seen: Seen, strength: float) -> Seen:
    """All scores come nearer to one value."""
    score = seen.numeric["score"]
    return _numeric(seen, score=0.1 + (score - 0.1) * (1 - 0.99 * strength))


def _riskier(seen: Seen, strength: float) -> Seen:
    return _numeric(seen, score=seen.numeric["score"] + 0.5 * strength)


def _slower(seen: Seen, strength: float) -> Seen:
    return _numeric(seen, latency_ms=seen.numeric["latency_ms"] * (1 + 4 * strength))


def _split(seen: Seen, strength: float) -> Seen:
    """A part of the requests, up to four in ten, goes a way that is ten times longer."""
    latency = seen.numeric["latency_ms"].copy()
    latency[: int(len(latency) * 0.4 * strength)] *= 10
    return _numeric(seen, latency_ms=latency)


def _strange_rows(seen: Seen, strength: float) -> Seen:
    assert seen.sample is not None
    names, rows = seen.sample
    rows = rows.copy()
    rows[: int(len(rows) * strength)] *= np.array([30.0, 1.0, 30.0, 3.0])
    return replace(seen, sample=(names, rows))


def _joined(seen: Seen, strength: float) -> Seen:
    """Amounts follow the score in a part of the rows, and flags are up where it is high."""
    assert seen.sample is not None
    names, rows = seen.sample
    rows = rows.copy()
    amount, flag, score = (names.index(name) for name in ("features.amount", "features.flag", "score"))
    follows = np.arange(len(rows)) < strength * len(rows)
    order = np.argsort(np.argsort(rows[follows, score]))
    for column in (amount, flag):
        rows[follows, column] = np.sort(rows[follows, column])[order]
    return replace(seen, sample=(names, rows))


def _grown(name: str, a_window: float) -> Callable[[Seen, float], Seen]:
    """More of a gauge in every window: ``age`` counts them from the beginning of the anomaly."""

    def harm(seen: Seen, strength: float) -> Seen:
        return _numeric(seen, **{name: seen.numeric[name] + np.round(a_window * strength * (seen.age + 1))})

    return harm


def _idle(seen: Seen, strength: float) -> Seen:
    return _numeric(seen, utilization_ratio=seen.numeric["utilization_ratio"] * (1 - strength))


ANOMALIES: Mapping[str, tuple[Scope, Callable[[Seen, float], Seen]]] = {
    "psi": (MODELS[0], _shifted),
    "kolmogorov": (MODELS[0], _shifted),
    "martingale": (MODELS[0], _shifted),
    "new_category": (MODELS[0], _new_country),
    "cardinality": (MODELS[0], _many_countries),
    "wasserstein": (MODELS[0], _shifted),
    "categories": (MODELS[0], _new_country),
    "adwin": (MODELS[0], _slower),
    "nulls": (MODELS[0], _nulls),
    "schema": (MODELS[0], _as_text),
    "new_field": (MODELS[0], _another_field),
    "range": (MODELS[0], _in_cents),
    "duplicates": (MODELS[0], lambda s, k: replace(s, ids=(200, 2 + int(180 * k)))),
    "freshness": (STORE, lambda s, k: _numeric(s, freshness_ms=s.numeric["freshness_ms"] + 300_000 * k)),
    "frozen": (MODELS[0], _crowded),
    "volume": (MODELS[0], _fewer),
    "collapse": (MODELS[0], _collapsed),
    "score_mean": (MODELS[0], _riskier),
    "skew": (READS, _new_country),
    "versions": (CANARY, lambda s, k: replace(s, errors=s.errors + int((s.rows - s.errors) * k))),
    "errors": (MODELS[0], lambda s, k: replace(s, errors=s.errors + int((s.rows - s.errors) * k))),
    "bad_input": (MODELS[0], lambda s, k: _counter(s, "reason", {"invalid_json": int(s.rows * k)})),
    "latency": (MODELS[0], _slower),
    "latency_limit": (MODELS[0], _slower),
    "latency_tail": (MODELS[0], _slower),
    "latency_modes": (MODELS[0], _split),
    "latency_hosts": (HOSTS[0], _slower),
    "slo": (MODELS[0], lambda s, k: replace(_slower(s, k), errors=s.errors + int((s.rows - s.errors) * k))),
    "outliers": (MODELS[0], _strange_rows),
    "multivariate": (MODELS[0], _joined),
    "association": (MODELS[0], _joined),
    "crowd": (MODELS[0], _crowded),
    "label_delay": (LABELS, _fewer),
    "label_rate": (LABELS, _positive),
    "gpu_temperature": (GPU, lambda s, k: _numeric(s, temperature_c=s.numeric["temperature_c"] + 40 * k)),
    "gpu_throttle": (GPU, lambda s, k: _counter(s, "clocks_event_reason", {"hw_thermal_slowdown": int(s.rows * k)})),
    "gpu_memory": (GPU, lambda s, k: _numeric(s, memory_used_ratio=s.numeric["memory_used_ratio"] * (1 + 0.8 * k))),
    "gpu_xid": (GPU, lambda s, k: _counter(s, "xid", {"31": int(10 * k), "79": int(2 * k)})),
    "gpu_ecc": (GPU, _grown("ecc_uncorrected_total", 5)),
    "gpu_ecc_rate": (GPU, _grown("ecc_corrected_total", 10)),
    "gpu_idle": (GPU, _idle),
    "gpu_leak": (GPU, _grown("memory_used_bytes", 1.2e9)),
    "gpu_slow": (GPU, lambda s, k: _numeric(s, sm_clock_hz=s.numeric["sm_clock_hz"] * (1 - 0.5 * k))),
}
assert set(ANOMALIES) == set(REGISTRY), "every registered detector is tested"


@functools.cache
def world() -> World:
    return World({scope: baseline(scope) for scope in EVERYONE}, slos=("up", "fast"))


def windows(seed: int, n: int, strength: float = 0.0, kind: str = "", since: int = 0) -> list[dict[Scope, Seen]]:
    """``n`` windows of all scopes; from window ``since`` on with the anomaly of ``kind``."""
    rng = np.random.default_rng(seed)
    result = []
    for i in range(n):
        # Peers come where they are asked for alone: every one of them is a scope to be drawn.
        seen = {scope: usual(rng, scope) for scope in (*SCOPES, *CROWDS.get(kind, ()))}
        if strength and i >= since:
            scope, harm = ANOMALIES[kind]
            seen[scope] = replace(harm(replace(seen[scope], age=i - since), strength), age=seen[scope].age)
        result.append(seen)
    return result


def batch(seen: Mapping[Scope, Seen], i: int = 0) -> WindowBatch:
    return world().window(seen, start_ms=i * 60_000)


def new(kind: str, params: Mapping[str, object] | None = None) -> Detector:
    detector = make(kind, {**PARAMS.get(kind, {}), **(params or {})})
    if isinstance(detector, RowOutliers):
        for scope in MODELS:
            names = baseline(scope).sample_names
            kept = [i for i, name in enumerate(names) if name != "latency_ms"]
            matrix = reference_sample(baseline(scope))[:, kept]
            detector.set_reference(sorted(EVERYONE).index(scope), [names[i] for i in kept], matrix)
    if isinstance(detector, PairDrift):
        for scope in MODELS:
            detector.rebase(sorted(EVERYONE).index(scope), baseline(scope))
    return detector


def again(kind: str, detector: Detector) -> Detector:
    return restore(kind, detector.to_bytes(), PARAMS.get(kind))


FIELDS = ("ready", "score", "floor", "noise", "p_value", "value", "reference", "rows", "threshold")


def table(scores: Scores, seen: Mapping[Scope, Seen]) -> dict[tuple[Scope, str], tuple[float, ...]]:
    """(scope, quantity) → all numbers of its score."""
    scopes = list(seen)
    columns = [getattr(scores, field) for field in FIELDS]
    return {
        (scopes[place], name): tuple(float(column[i]) for column in columns)
        for i, (place, name) in enumerate(zip(scores.scope.tolist(), scores.quantity, strict=True))
    }
