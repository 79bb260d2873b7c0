"""Seeded predictions as columns: what is sent, and what the oracle counts."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from confluent_kafka import Producer
from numpy.typing import NDArray

from schemas.codecs import encode_arrow

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MODELS: Final = (("fraud", "7"), ("fraud", "8"), ("ranker", "1"), ("chat", ""))
SEGMENTS: Final = {"country": ("DE", "FR", "SE"), "device": ("app", "web")}
KINDS: Final = tuple(f"kind-{i}" for i in range(12))
STATUSES: Final = ("ok", "timeout", "overloaded")
DECISIONS: Final = ("approve", "deny", "review")
BOUND_MS: Final = 5_000
PANE_MS: Final = 10_000


HOUR_MS: Final = 3_600_000


def a_while_ago() -> int:
    """A full hour, so long ago that nothing of an hour's traffic is in the future."""
    return (time.time_ns() // 1_000_000 - 2 * HOUR_MS) // HOUR_MS * HOUR_MS


@dataclass(frozen=True)
class Slowdown:
    """A latency regression: ``model`` is ``factor`` times as slow from ``after_ms`` of the traffic's span on."""

    model: int
    after_ms: int
    factor: float = 4.0


@dataclass
class Traffic:
    """n predictions in the order in which they are sent.

    Attributes
    ----------
    ts_ms, partition, model
        int64[n]: event time, where it goes, place in ``MODELS``.
    segments
        Name → int64[n] place in ``SEGMENTS[name]``, -1 for none.
    numeric
        Quantity → float64[n], NaN for null.
    texts, counters
        Quantity → (int64[n] codes, -1 for null; the values).
    """

    ts_ms: Ints
    partition: Ints
    model: Ints
    segments: dict[str, Ints]
    numeric: dict[str, Floats]
    texts: dict[str, tuple[Ints, tuple[str, ...]]]
    counters: dict[str, tuple[Ints, tuple[str, ...]]]
    partitions: int
    start_ms: int
    span_ms: int
    base_ms: Ints = field(repr=False)
    _ids: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._ids = self.event_ids

    def __len__(self) -> int:
        return len(self.ts_ms)

    @property
    def event_ids(self) -> list[str]:
        """``p3-000123``: each partition is one producer's, and its events are numbered in the order they are sent."""
        number = np.zeros(len(self), np.int64)
        for partition in range(self.partitions):
            own = np.flatnonzero(self.partition == partition)
            number[own] = np.arange(len(own))
        return [f"p{p}-{n:06d}" for p, n in zip(self.partition.tolist(), number.tolist(), strict=True)]

    @classmethod
    def make(
        cls, seed: int, events: int, start_ms: int, span_ms: int, *, partitions: int = 4, late_ratio: float = 0.0,
        slowdown: Slowdown | None = None,
    ) -> "Traffic":  # fmt: skip
        """Predictions over ``span_ms`` ms of event time from ``start_ms`` on, out of order within the bound.

        ``late_ratio`` of them are up to a minute older than that.
        """
        rng = np.random.default_rng(seed)
        base = np.sort(rng.integers(0, span_ms, events))
        behind = rng.integers(0, BOUND_MS - 100, events)
        late = rng.random(events) < late_ratio
        behind[late] += rng.integers(BOUND_MS, 60_000, int(late.sum()))
        model = rng.integers(0, len(MODELS), events)
        latency = np.exp(rng.normal(3, 0.5, events))
        if slowdown is not None:
            latency[(model == slowdown.model) & (base >= slowdown.after_ms)] *= slowdown.factor
        numeric = {
            "latency_ms": latency,
            "score": rng.beta(1, 6, events),
            "features.amount": _holes(rng, np.exp(rng.normal(4, 1, events)), 0.08),
            "features.balance": _holes(rng, rng.normal(-50, 10, events), 0.02),
            "features.age_days": _holes(rng, rng.integers(0, 4_000, events).astype(np.float64), 0.0),
        }
        return cls(
            start_ms + np.maximum(base - behind, 0),
            rng.integers(0, partitions, events),
            model,
            {name: rng.integers(-1, len(values), events) for name, values in SEGMENTS.items()},
            numeric,
            {"features.kind": (rng.integers(-1, len(KINDS), events), KINDS)},
            {
                "status": (np.where(rng.random(events) < 0.95, 0, rng.integers(1, 3, events)), STATUSES),
                "decision": (rng.integers(-1, len(DECISIONS), events), DECISIONS),
            },
            partitions,
            start_ms,
            span_ms,
            base,
        )

    def late(self) -> tuple[Bools, Ints]:
        """Which events come after their pane is over, bool[n], and the pane of the watermark before each, int64[n].

        By the rule and nothing else: an event is late when its pane ends at or before the watermark of what came before
        it in its partition, the highest event time less the bound.
        """
        before = np.full(len(self), -(2**60), np.int64)
        for partition in range(self.partitions):
            own = np.flatnonzero(self.partition == partition)
            reach = np.maximum.accumulate(self.ts_ms[own]) - BOUND_MS
            before[own[1:]] = reach[:-1]
        return self.ts_ms // PANE_MS * PANE_MS + PANE_MS <= before, before // PANE_MS * PANE_MS

    # -- sending -----------------------------------------------------------------------------------------------------

    def messages(self, first: int, last: int, *, arrow: bool) -> Iterator[tuple[int, bytes]]:
        """(partition, message) of events ``first:last``: an Arrow stream per partition, or a JSON message per event."""
        inside = np.arange(first, last)
        for partition in range(self.partitions):
            places = inside[self.partition[inside] == partition]
            if not len(places):
                continue
            if arrow:
                yield partition, encode_arrow(self._columns(places))
            else:
                yield from ((partition, msgspec.json.encode(event)) for event in self._events(places))

    def send(self, producer: Producer, topic: str, first: int, last: int, *, arrow: bool) -> None:
        """Send events ``first:last``, without waiting for them."""
        for partition, message in self.messages(first, last, arrow=arrow):
            producer.produce(topic, message, partition=partition)
        producer.poll(0)

    def send_all(self, producer: Producer, topic: str, chunk: int = 10_000) -> None:
        """Send everything at once, one chunk in ten as JSON, and what closes the last windows."""
        for number, first in enumerate(range(0, len(self), chunk)):
            self.send(producer, topic, first, min(first + chunk, len(self)), arrow=number % 10 > 0)
        self.send_closing(producer, topic)
        assert producer.flush(60) == 0

    def send_opening(self, producer: Producer, topic: str) -> None:
        """An event in every partition before the first: one that nothing was ever read of is idle from the start."""
        for partition in range(self.partitions):
            event = {"ts_ms": self.start_ms, "model": "opening"}
            producer.produce(topic, msgspec.json.encode(event), partition=partition)
        assert producer.flush(60) == 0

    def send_closing(self, producer: Producer, topic: str) -> None:
        """An event in every partition, ten minutes after the last: its watermark closes all windows of up to 5 min."""
        for partition in range(self.partitions):
            event = {"ts_ms": self.start_ms + self.span_ms + 600_000, "model": "closing"}
            producer.produce(topic, msgspec.json.encode(event), partition=partition)
        producer.poll(0)

    def _columns(self, places: Ints) -> dict[str, Any]:
        models = pa.DictionaryArray.from_arrays(pa.array(self.model[places]), [name for name, _ in MODELS])
        versions = pa.DictionaryArray.from_arrays(pa.array(self.model[places]), [version for _, version in MODELS])
        features: dict[str, Any] = {
            name.removeprefix("features."): values[places]
            for name, values in self.numeric.items()
            if name.startswith("features.")
        }
        features |= {name.removeprefix("features."): _coded(*coded, places) for name, coded in self.texts.items()}
        return {
            "ts_ms": self.ts_ms[places],
            "event_id": [self._ids[i] for i in places.tolist()],
            "model": models,
            "model_version": versions,
            "segment": {name: _coded(codes, SEGMENTS[name], places) for name, codes in self.segments.items()},
            "latency_ms": self.numeric["latency_ms"][places],
            "score": self.numeric["score"][places],
            **{name: _coded(*coded, places) for name, coded in self.counters.items()},
            "features": features,
        }

    def _events(self, places: Ints) -> Iterator[dict[str, Any]]:
        for i in places.tolist():
            model, version = MODELS[self.model[i]]
            texts = {n: (None if c[i] < 0 else v[c[i]]) for n, (c, v) in (*self.texts.items(), *self.counters.items())}
            values = {n: (None if np.isnan(v[i]) else float(v[i])) for n, v in self.numeric.items()}
            features = {
                n.removeprefix("features."): v for n, v in (values | texts).items() if n.startswith("features.")
            }
            if i % 2:  # a feature that is not there counts as one that is null
                features = {name: value for name, value in features.items() if value is not None}
            yield {
                "ts_ms": int(self.ts_ms[i]),
                "event_id": self._ids[i],
                "model": model,
                "model_version": version,
                "segment": {n: SEGMENTS[n][codes[i]] for n, codes in self.segments.items() if codes[i] >= 0},
                "latency_ms": values["latency_ms"],
                "score": values["score"],
                "status": texts["status"],
                "decision": texts["decision"],
                "features": features,
            }


def _holes(rng: np.random.Generator, values: Floats, ratio: float) -> Floats:
    values[rng.random(len(values)) < ratio] = np.nan
    return values


def _coded(codes: Ints, values: tuple[str, ...], places: Ints) -> pa.Array:
    own = codes[places]
    return pa.DictionaryArray.from_arrays(pa.array(own, mask=own < 0), list(values))
