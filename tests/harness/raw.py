"""The source topic as Kafka holds it: what the verifier counts, whatever the generator believes it has sent.

Decoded with the formats' own libraries, not with the code under test.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from confluent_kafka import Message

from tests.harness.traffic import (
    BOUND_MS,
    DECISIONS,
    KINDS,
    MODELS,
    SEGMENTS,
    STATUSES,
    Floats,
    Ints,
    Traffic,
)

_ARROW: Final = b"\xff\xff\xff\xff"
_MODELS: Final = {model: place for place, model in enumerate(MODELS)}
_NUMERIC: Final = ("latency_ms", "score", "features.amount", "features.balance", "features.age_days")
_TEXTS: Final = {"features.kind": KINDS}
_COUNTERS: Final = {"status": STATUSES, "decision": DECISIONS}


@dataclass(frozen=True)
class RawTopic:
    """All events of a source topic, in the order of their partitions.

    Attributes
    ----------
    traffic
        The events as columns, those of models that are not watched under model -1: they move watermarks all the same.
    offset
        int64[n]: the message each event came in.
    twice, gaps
        Event ids that came more than once, with how often; what is missing within a producer's numbers.
    undecodable
        (partition, offset) of messages that are neither.
    """

    traffic: Traffic
    offset: Ints
    twice: dict[str, int]
    gaps: list[str]
    undecodable: list[tuple[int, int]]

    @property
    def watermark_ms(self) -> int:
        """Event time that every partition has passed."""
        times, partition = self.traffic.ts_ms, self.traffic.partition
        return min(int(times[partition == p].max(initial=0)) for p in range(self.traffic.partitions)) - BOUND_MS


def events_of(value: bytes | None) -> list[dict[str, Any]] | None:
    """The events of one message; None when it is neither JSON nor an Arrow stream."""
    try:
        if value and value.startswith(_ARROW):
            with pa.ipc.open_stream(value) as stream:
                rows: list[dict[str, Any]] = stream.read_all().to_pylist()
            return rows
        return [msgspec.json.decode(value or b"", type=dict[str, Any])]
    except (msgspec.MsgspecError, pa.ArrowInvalid):
        return None


def read_raw(messages: Iterable[Message], partitions: int) -> RawTopic:
    """The events of a topic's messages, of all its partitions."""
    by_partition: list[list[tuple[int, dict[str, Any]]]] = [[] for _ in range(partitions)]
    undecodable: list[tuple[int, int]] = []
    for message in messages:
        partition, offset = message.partition() or 0, message.offset() or 0
        events = events_of(message.value())
        if events is None:
            undecodable.append((partition, offset))
        else:
            by_partition[partition] += [(offset, event) for event in events]
    rows = [(p, offset, event) for p, events in enumerate(by_partition) for offset, event in sorted(events, key=_first)]
    events = [event for _, _, event in rows]
    ids = [event["event_id"] for event in events if event.get("event_id")]
    return RawTopic(
        _traffic(events, np.array([p for p, _, _ in rows], np.int64), partitions),
        np.array([offset for _, offset, _ in rows], np.int64),
        {event_id: count for event_id, count in Counter(ids).items() if count > 1},
        _gaps(ids),
        undecodable,
    )


def _first(pair: tuple[int, dict[str, Any]]) -> int:
    return pair[0]


def _gaps(ids: Iterable[str]) -> list[str]:
    numbers: dict[str, set[int]] = {}
    for event_id in ids:
        producer, _, number = event_id.rpartition("-")
        numbers.setdefault(producer, set()).add(int(number))
    return [
        f"{producer}-{number:06d}"
        for producer, seen in numbers.items()
        for number in sorted({*range(max(seen))} - seen)
    ]


def _traffic(events: Sequence[dict[str, Any]], partition: Ints, partitions: int) -> Traffic:
    times = np.array([event["ts_ms"] for event in events], np.int64)
    start = int(times.min()) if len(times) else 0
    models = [_MODELS.get((event["model"], event.get("model_version") or ""), -1) for event in events]
    return Traffic(
        times,
        partition,
        np.array(models, np.int64),
        {
            name: _codes([(e.get("segment") or {}).get(name) for e in events], values)
            for name, values in SEGMENTS.items()
        },
        {name: _numbers([_quantity(event, name) for event in events]) for name in _NUMERIC},
        {name: (_codes([_quantity(e, name) for e in events], values), values) for name, values in _TEXTS.items()},
        {name: (_codes([_quantity(e, name) for e in events], values), values) for name, values in _COUNTERS.items()},
        partitions,
        start,
        int(times.max()) - start if len(times) else 0,
        times,
    )


def _quantity(event: dict[str, Any], name: str) -> Any:
    feature = name.removeprefix("features.")
    return event.get(name) if feature == name else (event.get("features") or {}).get(feature)


def _codes(values: Sequence[str | None], known: tuple[str, ...]) -> Ints:
    places = {value: place for place, value in enumerate(known)}
    return np.array([-1 if value is None else places[value] for value in values], np.int64)


def _numbers(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], np.float64)
