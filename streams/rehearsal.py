"""The stages in one process, without Kafka: raw messages in, findings and alerts out, lists in place of topics.

The stages are those that run in production, put together by their own builders out of the same settings, and they live
one uninterrupted life. What may differ from an installation is the order in which the messages of several partitions
meet, and nothing else. Time passes as the messages say: an hour of traffic takes as long as its events take to count.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final, cast

from confluent_kafka import Message

from schemas import findings as finding_codec
from schemas.alerts import Alert
from schemas.findings import FindingMessage
from schemas.topics import TopicName
from streams.alert.build import alert_policy
from streams.alert.episode import AlertEvent
from streams.alert.lifecycle import AlertBook
from streams.analyse.build import analyse_stage
from streams.baselines import BaselineFeed
from streams.clock import ManualClock
from streams.compacted import CompactedReader
from streams.config import Settings
from streams.ingest.build import ingest_stage
from streams.metrics import Metrics
from streams.stage import Batch, ConsumerRecord, TopicPartition

Headers = tuple[tuple[str, bytes], ...]
_BATCH: Final = 50
"""Messages of a source partition in one batch: some seconds of event time, as a worker that keeps up would see."""
_ENDLESS: Final = 1 << 60
_NO_SNAPSHOTS_S: Final = 1e12


@dataclass(frozen=True, slots=True)
class Step:
    """What arrives until ``at_ms`` on the brokers' clock, ms since the epoch; it never goes back."""

    at_ms: int
    batches: Sequence[Batch] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be decoded, and why."""

    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What came out: the findings topic, what follows from it, and what could not be read."""

    findings: tuple[FindingMessage, ...]
    events: tuple[AlertEvent, ...]
    dead: tuple[DeadLetter, ...]

    @property
    def alerts(self) -> list[Alert]:
        """The alert topic."""
        return [event.alert for event in self.events if event.published]


def rehearse(
    settings: Settings,
    steps: Iterable[Step],
    baselines: Sequence[tuple[bytes, bytes | None]] = (),
    *,
    idle_closes: bool = True,
) -> Rehearsed:
    """Run raw messages through ingest, analyse and alert.

    Parameters
    ----------
    settings
        Those of the installation. ``topics.partitions`` is what source topics and ``panes`` have; one is quickest.
    steps
        Batches of source topics, prefix included, in the order in which they arrive. Topics that ingest does not read
        are passed over.
    baselines
        (key, value) of the ``baselines`` topic before any traffic.
    idle_closes
        Whether a partition in which nothing comes for ``time.idle_timeout_s`` is closed, as it would be. Without it
        everything follows from the messages alone.
    """
    return asyncio.run(_Rehearsal(settings, baselines, idle_closes=idle_closes).play(steps))


def fold(settings: Settings, messages: Iterable[FindingMessage]) -> list[AlertEvent]:
    """The alert events that follow from a findings topic, published or not, in order."""
    book = AlertBook(alert_policy(settings.alerts))
    return [event for message in messages for event in book.fold(message)]


def record(
    topic: str, partition: int, offset: int, stamp_ms: int, value: bytes | None, headers: Headers = ()
) -> ConsumerRecord[bytes, bytes]:
    """A message as the transport hands it over; ``stamp_ms`` is its append time."""
    made = SimpleNamespace(
        topic=topic, partition=partition, offset=offset, timestamp=stamp_ms, key=None, value=value, headers=headers
    )
    return cast("ConsumerRecord[bytes, bytes]", made)


def steps_of(messages: Sequence[Message]) -> Iterable[Step]:
    """Messages that were read from a topic, in the order in which they came to Kafka, in batches of each partition."""
    waiting: dict[int, list[Message]] = defaultdict(list)
    for message in sorted(messages, key=lambda m: (m.timestamp()[1], m.partition() or 0, m.offset() or 0)):
        own = waiting[message.partition() or 0]
        own.append(message)
        if len(own) == _BATCH:
            yield _step(own)
            own.clear()
    yield from (_step(own) for own in waiting.values() if own)


def _step(messages: Sequence[Message]) -> Step:
    topic, partition = messages[0].topic() or "", messages[0].partition() or 0
    records = [
        record(
            topic, partition, m.offset() or 0, m.timestamp()[1], m.value(), cast("Headers", tuple(m.headers() or ()))
        )
        for m in messages
    ]
    return Step(records[-1].timestamp, [Batch(topic, partition, records, records[-1].offset + 1)])


# -- in place of Kafka -----------------------------------------------------------------------------------------------


@dataclass
class Log:
    """All topics: (topic, partition) → (key, value) in order. Those in ``unread`` are dropped."""

    unread: frozenset[str] = frozenset()
    sent: dict[tuple[str, int], list[tuple[bytes | None, bytes | None]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    headers: list[Headers] = field(default_factory=list)
    """Of the messages that had some: the dead letters."""

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] | None = None,
        partition: int | None = None,
    ) -> None:
        """Append at once."""
        if topic not in self.unread:
            self.sent[topic, partition or 0].append((key, value))
        if headers is not None:
            self.headers.append(tuple(headers))

    async def barrier(self) -> None:
        """Nothing is on its way."""

    def take(self, topic: str, partition: int) -> list[tuple[bytes | None, bytes | None]]:
        """What has been appended since the last call; it is kept no longer."""
        return self.sent.pop((topic, partition), [])


@dataclass
class _Reader:
    """Reads a topic of the log as a compacted one; what was there before stands in ``known``."""

    log: Log
    topic: str
    known: Sequence[tuple[bytes, bytes | None]]
    read: int = 0

    async def read_to_end(self) -> list[tuple[bytes, bytes | None]]:
        return [*self.known, *self.poll()]

    def poll(self) -> list[tuple[bytes, bytes | None]]:
        fresh = self.log.sent[self.topic, 0][self.read :]
        self.read += len(fresh)
        return [(key or b"", value) for key, value in fresh]

    def close(self) -> None: ...


class _NoState:
    """No past and no future: nothing is loaded, nothing kept."""

    async def load(self, key: str) -> bytes | None:
        del key
        return None

    async def save(self, key: str, raw: bytes) -> None:
        del key, raw


@dataclass
class _Brokers:
    """How many partitions there are, and where those end that were read; without ``ends`` nothing ever ends."""

    count: int
    ends: dict[TopicPartition, int] | None

    async def partitions(self, topic: str) -> int:
        del topic
        return self.count

    async def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        if self.ends is None:
            return dict.fromkeys(partitions, (0, _ENDLESS))
        return {partition: (0, self.ends.get(partition, 0)) for partition in partitions}


class _Rehearsal:
    """One life of the stages."""

    def __init__(
        self, settings: Settings, baselines: Sequence[tuple[bytes, bytes | None]], *, idle_closes: bool
    ) -> None:
        settings = settings.model_copy(update={"snapshot_interval_s": _NO_SNAPSHOTS_S})
        kafka = settings.kafka
        self._panes, self._findings = kafka.topic(TopicName.PANES), kafka.topic(TopicName.FINDINGS)
        self._dead, self._baselines = kafka.topic(TopicName.DEAD_LETTERS), kafka.topic(TopicName.BASELINES)
        self._known = baselines
        self._log = Log(unread=frozenset({kafka.topic(TopicName.ROWS)}))
        self._clock = ManualClock()
        self._brokers = _Brokers(settings.topics.partitions, {} if idle_closes else None)
        self._ingest = ingest_stage(
            settings, self._clock, Metrics(), self._log, cast("Any", self._brokers), self._feed()
        )
        self._analyse = analyse_stage(
            settings, self._clock, Metrics(), self._log, _NoState(), self._feed(), self._brokers.partitions
        )
        self._book = AlertBook(alert_policy(settings.alerts))
        self._folded: list[FindingMessage] = []
        self._events: list[AlertEvent] = []
        self._offsets: dict[int, int] = defaultdict(int)

    def _feed(self) -> BaselineFeed:
        reader = _Reader(self._log, self._baselines, self._known)
        return BaselineFeed(cast("CompactedReader", cast("Any", reader)), lambda _: True)

    async def play(self, steps: Iterable[Step]) -> Rehearsed:
        """See :func:`rehearse`."""
        await self._ingest.start()
        await self._analyse.start()
        for number, step in enumerate(steps):
            self._clock.advance(max(0, step.at_ms - self._clock.now_ms()) / 1000)
            if number == 0:
                await self._assign()
            await self._take(step.batches)
            for partition in range(self._brokers.count):
                await self._pass_on(partition)
            await self._analyse.tick()
            self._alert()
        dead = [value for (topic, _), sent in self._log.sent.items() if topic == self._dead for _, value in sent]
        letters = tuple(DeadLetter(value, headers) for value, headers in zip(dead, self._log.headers, strict=True))
        return Rehearsed(tuple(self._folded), tuple(self._events), letters)

    async def _assign(self) -> None:
        """Every partition there is, when the clock has been set."""
        partitions = range(self._brokers.count)
        await self._ingest.assigned({TopicPartition(t, p): None for t in self._ingest.topics for p in partitions})
        await self._analyse.assigned({TopicPartition(self._panes, p): None for p in partitions})

    async def _take(self, batches: Iterable[Batch]) -> None:
        await self._ingest.tick()
        for batch in batches:
            if batch.topic not in self._ingest.topics:
                continue
            await self._ingest.process(batch)
            if self._brokers.ends is not None:
                self._brokers.ends[batch.tp] = int(batch.records[-1].offset) + 1

    async def _pass_on(self, partition: int) -> None:
        fresh = self._log.take(self._panes, partition)
        if fresh:
            first = self._offsets[partition]
            self._offsets[partition] = first + len(fresh)
            records = [record(self._panes, partition, first + i, 0, value) for i, (_, value) in enumerate(fresh)]
            await self._analyse.process(Batch(self._panes, partition, records, first + len(fresh)))

    def _alert(self) -> None:
        for _, raw in self._log.take(self._findings, 0):
            message = finding_codec.decode(raw or b"")
            self._folded.append(message)
            self._events += self._book.fold(message)
