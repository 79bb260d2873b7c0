"""For every registered detector: windows as usual, and the same windows with its anomaly at growing strength."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detectors.baseline import from_table
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
HOSTS = tuple(Scope(Family.PREDICTION, "model-0", "1", f"host={name}") for name in "abcd")
EVERYONE = (*SCOPES, *HOSTS)

# Warm-ups short enough for a test; what is measured stays at its default.
PARAMS: Mapping[str, Mapping[str, object]] = {
    "adwin": {"warmup": 5},
    "gpu_temperature": {"sustained_s": 30},
    "latency_limit": {"minutes": 2, "limits": [{"model": "model-*", "limit_ms": 10.0}]},
    "outliers": {"max_scopes": 1},
    "slo": {
        "slos": [
            {"name": "up", "objective_ratio": 0.995},
            {"name": "fast", "kind": "latency", "threshold_ms": 100.0, "objective_ratio": 0.995},
        ]
    },
    "volume": {"warmup": 5, "patience": 10},
}
SPANS: Mapping[str, tuple[int, int]] = {"adwin": (40, 24)}
"""Windows, and the one in which the anomaly begins: (12, 6) unless ADWIN needs a past to compare with."""


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
        gauges = {"temperature_c": rng.normal(60, 2, 10), "memory_used_ratio": rng.uniform(0.5, 0.6, 10)}
        return Seen(10, gauges, counters={"clocks_event_reason": {"gpu_idle": 3}, "xid": {"79": 0, "31": 0}})
    rows = int(rng.poisson(1_000))
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


def _fewer(seen: Seen, strength: float) -> Seen:
    return replace(seen, rows=int(seen.rows * (1 - strength)))


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
    "volume": (MODELS[0], _fewer),
    "errors": (MODELS[0], lambda s, k: replace(s, errors=s.errors + int((s.rows - s.errors) * k))),
    "bad_input": (MODELS[0], lambda s, k: _counter(s, "reason", {"invalid_json": int(s.rows * k)})),
    "latency": (MODELS[0], _slower),
    "latency_limit": (MODELS[0], _slower),
    "latency_tail": (MODELS[0], _slower),
    "latency_modes": (MODELS[0], _split),
    "latency_hosts": (HOSTS[0], _slower),
    "slo": (MODELS[0], lambda s, k: replace(_slower(s, k), errors=s.errors + int((s.rows - s.errors) * k))),
    "outliers": (MODELS[0], _strange_rows),
    "gpu_temperature": (GPU, lambda s, k: _numeric(s, temperature_c=s.numeric["temperature_c"] + 40 * k)),
    "gpu_throttle": (GPU, lambda s, k: _counter(s, "clocks_event_reason", {"hw_thermal_slowdown": int(s.rows * k)})),
    "gpu_memory": (GPU, lambda s, k: _numeric(s, memory_used_ratio=s.numeric["memory_used_ratio"] * (1 + 0.8 * k))),
    "gpu_xid": (GPU, lambda s, k: _counter(s, "xid", {"31": int(10 * k), "79": int(2 * k)})),
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
        # Hosts come where they are asked for alone: every one of them is a scope to be drawn.
        seen = {scope: usual(rng, scope) for scope in (EVERYONE if kind == "latency_hosts" else SCOPES)}
        if strength and i >= since:
            scope, harm = ANOMALIES[kind]
            seen[scope] = harm(seen[scope], strength)
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
