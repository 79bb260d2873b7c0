"""The job that all do: per model and 10 s of event time a count, a histogram of latencies, p99, five of features.

Plain Python and the standard library alone: it runs inside each peer, in the peer's own environment. Halcyon does not
use it; its panes hold the same and more.
"""

from __future__ import annotations

from bisect import bisect_right
from math import exp, log
from typing import Any

WINDOW_MS = 10_000
GRACE_MS = 5_000
"""How far events may be out of order, for everyone."""
GAMMA = 1.01 / 0.99
"""Ratio of a latency bucket's bounds: 1 % relative error, as Halcyon's."""
FEATURES = tuple(f"feature_{i}" for i in range(5))
EDGES = tuple(100.0 + 15.0 * (i - 15) / 5.0 for i in range(31))
"""Inner edges of the 32 bins of each feature."""

_PER_BUCKET = 1.0 / log(GAMMA)

Window = dict[str, Any]
Event = dict[str, Any]


def window() -> Window:
    """An empty window; nothing in it that JSON could not carry, for the peers that keep their state so."""
    return {"count": 0, "latency": {}, "features": [[0] * (len(EDGES) + 1) for _ in FEATURES]}


def add(into: Window, event: Event) -> Window:
    """The window with an event more; it is changed in place."""
    into["count"] += 1
    latency, bucket = into["latency"], str(int(log(event["latency_ms"]) * _PER_BUCKET // 1))
    latency[bucket] = latency.get(bucket, 0) + 1
    features = event["features"]
    for counts, name in zip(into["features"], FEATURES):  # noqa: B905 - costs; both are five
        counts[bisect_right(EDGES, features[name])] += 1
    return into


def merged(one: Window, other: Window) -> Window:
    """The sum of two windows; ``one`` is changed in place."""
    one["count"] += other["count"]
    for bucket, count in other["latency"].items():
        one["latency"][bucket] = one["latency"].get(bucket, 0) + count
    for mine, theirs in zip(one["features"], other["features"]):  # noqa: B905
        mine[:] = [a + b for a, b in zip(mine, theirs)]  # noqa: B905
    return one


def p99(latency: dict[str, int]) -> float:
    """The middle of the bucket that holds the 99th percentile."""
    wanted = 0.99 * (sum(latency.values()) - 1)
    seen = 0
    for bucket in sorted(map(int, latency)):
        seen += latency[str(bucket)]
        if seen > wanted:
            return exp((bucket + 0.5) / _PER_BUCKET)
    return float("nan")


def start_of(ts_ms: int) -> int:
    """The window that an event is in, by its first millisecond."""
    return ts_ms - ts_ms % WINDOW_MS


def answer(model: str, start_ms: int, found: Window) -> dict[str, Any]:
    """What is said of a window once it is closed."""
    return {"model": model, "start_ms": start_ms, "p99_ms": p99(found["latency"]), **found}
