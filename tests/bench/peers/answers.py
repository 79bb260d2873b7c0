"""What the contenders said, read from their topics and compared with what is so."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from detectors.histograms import log
from schemas import panes
from schemas.scopes import INVALID
from tests.bench.peers import job
from tests.bench.peers.workload import Place, Truth

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said of a window. ``features`` are the counts of each histogram; ``heard_s`` when, since the epoch."""

    count: int
    p99_ms: float
    features: tuple[tuple[int, ...], ...]
    heard_s: float


class Reader(Protocol):
    """Takes the messages of a contender's results."""

    def take(self, message: Message) -> None:
        """One message."""
        ...

    def answers(self) -> dict[Place, Answer]:
        """All windows so far."""
        ...


@dataclass(slots=True)
class Told:
    """Results as the peers write them: one message per window, JSON."""

    found: dict[Place, Answer] = field(default_factory=dict)
    twice: int = 0

    def take(self, message: Message) -> None:
        """One window."""
        said = _decode(message.value() or b"{}")
        place = Place(said["model"], said["start_ms"])
        self.twice += place in self.found
        features = tuple(tuple(counts) for counts in said["features"])
        self.found[place] = Answer(said["count"], said["p99_ms"], features, time.time())

    def answers(self) -> dict[Place, Answer]:
        """All windows so far."""
        return self.found


@dataclass(slots=True)
class Panes:
    """Results as Halcyon's ingest writes them: one pane per window and source partition, the last of each counts."""

    found: dict[tuple[Place, int], tuple[panes.Pane, float]] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        """One pane; watermarks, and the pane that counts what came of the topic as a whole, are passed over."""
        said = panes.decode(message.value() or b"")
        if isinstance(said, panes.Pane) and said.scope.model != INVALID:
            self.found[Place(said.scope.model, said.start_ms), said.source_partition] = said, time.time()

    def answers(self) -> dict[Place, Answer]:
        """All windows so far, added up over the partitions."""
        parts: dict[Place, list[tuple[panes.Pane, float]]] = {}
        for (place, _), found in self.found.items():
            parts.setdefault(place, []).append(found)
        return {place: _added(found) for place, found in parts.items()}


def _added(found: list[tuple[panes.Pane, float]]) -> Answer:
    histograms = [_histograms(pane.numeric) for pane, _ in found]
    bins, counts = log.merge(*(each["latency_ms"] for each in histograms))
    p99 = float(log.quantile(bins, counts, np.array([0.99]))[0])
    features = tuple(tuple(np.concatenate([each[name][1] for each in histograms]).tolist()) for name in job.FEATURES)
    return Answer(sum(pane.rows for pane, _ in found), p99, features, max(heard for _, heard in found))


def _histograms(part: panes.NumericPart) -> dict[str, Any]:
    """Quantity → its bins and counts; a feature's without the prefix."""
    ends = np.cumsum(panes.column(part.cells, np.int32))[:-1]
    bins = np.split(panes.column(part.bins, np.int16), ends)
    counts = np.split(panes.column(part.counts, np.uint32).astype(np.int64), ends)
    names = [name.removeprefix("features.") for name in part.names]
    return dict(zip(names, zip(bins, counts, strict=True), strict=True))


def wrong(answers: Mapping[Place, Answer], truth: Mapping[Place, Truth], *, same_bins: bool) -> list[str]:
    """What is not as it is, in words: missing windows, counts, a p99 further than a bin away, histograms.

    With ``same_bins`` features were counted in the job's bins, and each bin is compared; else their sums.
    """
    found = [f"{place}: nothing was said" for place in truth.keys() - answers.keys()]
    for place, so in truth.items():
        said = answers.get(place)
        if said is None:
            continue
        if said.count != so.count:
            found.append(f"{place}: {said.count} events, not {so.count}")
        low, high = so.p99_ms
        if not low / job.GAMMA <= said.p99_ms <= high * job.GAMMA:
            found.append(f"{place}: p99 {said.p99_ms:.3f} ms, not between {low:.3f} and {high:.3f}")
        if same_bins and said.features != so.features:
            found.append(f"{place}: other histograms of features")
        if not same_bins and any(sum(counts) != so.count for counts in said.features):
            found.append(f"{place}: histograms of features that do not add up to {so.count}")
    return found


class Results:
    """Reads the results of one run while it goes on."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, reader: Reader) -> None:
        self.reader = reader
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "results", "enable.auto.commit": False})
        self._consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in range(partitions)])

    def poll(self) -> None:
        """Take what has come."""
        for message in self._consumer.consume(10_000, _POLL_S):
            if message.error() is None:
                self.reader.take(message)

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def until(self, deadline_s: float) -> Iterator[None]:
        """Turn by turn, until a moment by the monotonic clock."""
        while time.monotonic() < deadline_s:
            self.poll()
            yield
