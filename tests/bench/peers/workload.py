"""What the contenders read, and what they must say of it: the same events as JSON and as Arrow, and the truth."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from loadgen.producer import KafkaSink, Message
from schemas.codecs import encode_arrow
from schemas.topics import SOURCES, TopicName
from streams.topics import Topic, TopicAdmin
from tests.bench.contenders import PARTITIONS
from tests.bench.peers import job
from tests.bench.traffic import Traffic, rows

CHUNK: Final = 20_000
ARROW_BATCH: Final = 1_000
_FLUSH_AFTER_MS: Final = 60_000
_encode: Final = msgspec.json.Encoder().encode


class Place(NamedTuple):
    """A window of a model."""

    model: str
    start_ms: int


@dataclass(frozen=True, slots=True)
class Truth:
    """What is so of a window: the 99th percentile lies between two of its events; counts of each feature's bins."""

    count: int
    p99_ms: tuple[float, float]
    features: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Workload:
    """Predictions of many models, keyed by model: peers that keep state by key ask for that.

    After the last event, and so much later in event time that it closes every window, each model has one more.

    Attributes
    ----------
    events
        Without those that close the windows.
    models
        Each is one scope: the job knows neither versions nor segments.
    rate_per_s
        Of event time.
    end_ms
        Event time at which the last event ends.
    """

    events: int
    end_ms: int
    models: int = 100
    rate_per_s: float = 20_000.0

    @property
    def traffic(self) -> Traffic:
        """Where the events come from."""
        start_ms = self.end_ms - int(self.events / self.rate_per_s * 1000)
        return Traffic(models=self.models, rate_per_s=self.rate_per_s, start_ms=start_ms)

    @property
    def flush_ms(self) -> int:
        """Event time of the events that close the windows."""
        return self.end_ms + _FLUSH_AFTER_MS

    @property
    def counted(self) -> int:
        """How many events there are, with those that close the windows."""
        return self.events + self.models

    def json(self) -> Iterator[list[Message]]:
        """One message per event."""
        for columns in self._columns():
            yield _json(columns)
        yield _json(self._last())

    def arrow(self) -> Iterator[list[Message]]:
        """The same events in the same partitions, up to a thousand per message: what a producer that batches sends."""
        for columns in (*self._columns(), self._last()):
            yield [message for part in _by_partition(columns) for message in _arrow(part)]

    def truth(self) -> dict[Place, Truth]:
        """What is so of every window but those that the last events are in."""
        parts: dict[Place, list[NDArray[np.float64]]] = {}
        for columns in self._columns():
            for place, values in _windows(columns):
                parts.setdefault(place, []).append(values)
        return {place: _truth(np.concatenate(found, axis=1)) for place, found in parts.items()}

    def _columns(self) -> Iterator[dict[str, Any]]:
        for first in range(0, self.events, CHUNK):
            yield self.traffic.columns(first, min(CHUNK, self.events - first))

    def _last(self) -> dict[str, Any]:
        columns = replace(self.traffic, start_ms=self.flush_ms, rate_per_s=1e12).columns(0, self.models)
        return columns | {"model": [f"model-{number:04d}" for number in range(self.models)]}


def _json(columns: dict[str, Any]) -> list[Message]:
    times = columns["ts_ms"].tolist()
    return [
        Message(ts_ms, model.encode(), _encode(row))
        for ts_ms, model, row in zip(times, columns["model"], rows(columns), strict=True)
    ]


def _windows(columns: dict[str, Any]) -> Iterator[tuple[Place, NDArray[np.float64]]]:
    """Latencies and features by window: float64[6, n]."""
    values = np.array([columns["latency_ms"], *(columns["features"][name] for name in job.FEATURES)])
    starts = columns["ts_ms"] // job.WINDOW_MS
    models, codes = np.unique(np.array(columns["model"]), return_inverse=True)
    keys = starts * len(models) + codes
    order = np.argsort(keys, kind="stable")
    for chosen in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        first = chosen[0]
        place = Place(str(models[codes[first]]), int(starts[first]) * job.WINDOW_MS)
        yield place, values[:, chosen]


def _truth(values: NDArray[np.float64]) -> Truth:
    bins = len(job.EDGES) + 1
    counts = [
        np.bincount(np.searchsorted(job.EDGES, feature, side="right"), minlength=bins).tolist()
        for feature in values[1:]
    ]
    low, high = (float(np.quantile(values[0], 0.99, method=method)) for method in ("lower", "higher"))
    return Truth(values.shape[1], (low, high), tuple(tuple(each) for each in counts))


def _arrow(columns: dict[str, Any]) -> Iterator[Message]:
    count = len(columns["ts_ms"])
    for places in np.array_split(np.arange(count), -(-count // ARROW_BATCH)):
        part = _taken(columns, places.tolist())
        # Any of its models leads to their partition.
        yield Message(int(part["ts_ms"][-1]), part["model"][0].encode(), encode_arrow(part), len(places))


def _by_partition(columns: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The columns by where their keys go: the client's own choice, by the checksum of the key."""
    partition = np.array([crc32(model.encode()) % PARTITIONS for model in columns["model"]])
    for each in np.unique(partition):
        yield _taken(columns, np.flatnonzero(partition == each).tolist())


def _taken(columns: dict[str, Any], places: list[int]) -> dict[str, Any]:
    taken: dict[str, Any] = {}
    for name, column in columns.items():
        if isinstance(column, dict):
            taken[name] = _taken(column, places)
        else:
            taken[name] = column[places] if isinstance(column, np.ndarray) else [column[place] for place in places]
    return taken


def make_topics(bootstrap: str, prefix: str) -> None:
    """Make the source topics."""
    TopicAdmin({"bootstrap.servers": bootstrap}).apply([Topic(prefix + name, PARTITIONS) for name in sorted(SOURCES)])


def fill(bootstrap: str, prefix: str, batches: Iterator[list[Message]]) -> None:
    """Make the source topics and write predictions, each to the partition of its key."""
    make_topics(bootstrap, prefix)
    topic = prefix + TopicName.PREDICTIONS
    sink = KafkaSink({"bootstrap.servers": bootstrap, "linger.ms": 20}, topic, spread=False)
    for batch in batches:
        sink.send(batch)
    sink.close()
