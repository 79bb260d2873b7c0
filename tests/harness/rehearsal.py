"""What the stages make of the raw topic in one uninterrupted life, in this process, with lists in place of topics.

The stages are those that run in production, put together by their own builders out of the same settings. What may
differ from a run with faults is the order in which the messages of several partitions meet, and nothing else.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from confluent_kafka import Message

from schemas import findings as finding_codec
from schemas.findings import FindingMessage
from schemas.topics import TopicName
from streams.alert.build import alert_policy
from streams.alert.episode import AlertEvent
from streams.alert.lifecycle import AlertBook
from streams.analyse.build import analyse_stage
from streams.baselines import BaselineFeed
from streams.clock import SystemClock
from streams.compacted import CompactedReader
from streams.config import Settings
from streams.ingest.build import ingest_stage
from streams.metrics import Metrics
from streams.stage import Batch, ConsumerRecord, Stage, TopicPartition

_BATCH = 50
"""Messages of a source partition in one batch: some seconds of event time, as a worker that keeps up would see."""


@dataclass
class Log:
    """All topics: (topic, partition) → (key, value) in order."""

    sent: dict[tuple[str, int], list[tuple[bytes | None, bytes | None]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] | None = None,
        partition: int | None = None,
    ) -> None:
        """Append at once."""
        del headers
        self.sent[topic, partition or 0].append((key, value))

    async def barrier(self) -> None:
        """Nothing is on its way."""


@dataclass
class _Reader:
    """Reads a topic of the log as a compacted one; what was there before stands in ``known``."""

    log: Log
    topic: str
    known: list[tuple[bytes, bytes | None]]
    read: int = 0

    async def read_to_end(self) -> list[tuple[bytes, bytes | None]]:
        return [*self.known, *self.poll()]

    def poll(self) -> list[tuple[bytes, bytes | None]]:
        fresh = self.log.sent[self.topic, 0][self.read :]
        self.read += len(fresh)
        return [(key or b"", value) for key, value in fresh]

    def close(self) -> None: ...


class _NoState:
    """This life has neither a past nor a future."""

    async def load(self, key: str) -> bytes | None:
        del key
        return None

    async def save(self, key: str, raw: bytes) -> None:
        del key, raw


@dataclass(frozen=True)
class _Brokers:
    """Nothing is ever at its end: nothing is idle."""

    count: int

    async def partitions(self, topic: str) -> int:
        del topic
        return self.count

    async def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        return dict.fromkeys(partitions, (0, 1 << 60))


def rehearse(settings: Settings, raw: Sequence[Message], baselines: Sequence[Message]) -> list[FindingMessage]:
    """The findings topic of a life without faults.

    Parameters
    ----------
    settings
        Those of the installation.
    raw
        All messages of ``predictions``.
    baselines
        Those of the ``baselines`` topic that were there before any traffic.
    """
    return asyncio.run(_rehearse(settings, raw, baselines))


async def _rehearse(settings: Settings, raw: Sequence[Message], baselines: Sequence[Message]) -> list[FindingMessage]:
    log, clock, count = Log(), SystemClock(), settings.topics.partitions
    prefix = settings.kafka.topic_prefix
    known = [(message.key() or b"", message.value()) for message in baselines]

    def feed() -> BaselineFeed:
        reader = _Reader(log, prefix + TopicName.BASELINES, known)
        return BaselineFeed(cast("CompactedReader", cast("Any", reader)), lambda _: True)

    ingest = ingest_stage(settings, clock, Metrics(), log, cast("Any", _Brokers(count)), feed())
    analyse = analyse_stage(settings, clock, Metrics(), log, _NoState(), feed(), _Brokers(count).partitions)
    source, panes = prefix + TopicName.PREDICTIONS, prefix + TopicName.PANES
    await ingest.start()
    await analyse.start()
    await ingest.assigned({TopicPartition(source, p): None for p in range(count)})
    await analyse.assigned({TopicPartition(panes, p): None for p in range(count)})
    read = dict.fromkeys(range(count), 0)
    for batch in _batches(raw):
        await ingest.tick()
        await ingest.process(batch)
        for partition in read:
            read[partition] += await _pass_on(log, analyse, panes, partition, read[partition])
        await analyse.tick()
    return [finding_codec.decode(value or b"") for _, value in log.sent[prefix + TopicName.FINDINGS, 0]]


async def _pass_on(log: Log, stage: Stage, topic: str, partition: int, first: int) -> int:
    fresh = log.sent[topic, partition][first:]
    if fresh:
        records = [_record(topic, partition, first + i, 0, value, ()) for i, (_, value) in enumerate(fresh)]
        await stage.process(Batch(topic, partition, records, first + len(fresh)))
    return len(fresh)


def _batches(raw: Sequence[Message]) -> Iterable[Batch]:
    """Batches of each partition, in the order in which they came to Kafka."""
    waiting: dict[int, list[Message]] = defaultdict(list)
    for message in sorted(raw, key=lambda m: (m.timestamp()[1], m.partition() or 0, m.offset() or 0)):
        own = waiting[message.partition() or 0]
        own.append(message)
        if len(own) == _BATCH:
            yield _batch(own)
            own.clear()
    yield from (_batch(own) for own in waiting.values() if own)


def _batch(messages: Sequence[Message]) -> Batch:
    topic, partition = messages[0].topic() or "", messages[0].partition() or 0
    records = [
        _record(topic, partition, m.offset() or 0, m.timestamp()[1], m.value(), tuple(m.headers() or ()))
        for m in messages
    ]
    return Batch(topic, partition, records, records[-1].offset + 1)


def _record(
    topic: str, partition: int, offset: int, stamp_ms: int, value: bytes | None, headers: tuple[Any, ...]
) -> ConsumerRecord[bytes, bytes]:
    record = SimpleNamespace(
        topic=topic, partition=partition, offset=offset, timestamp=stamp_ms, key=None, value=value, headers=headers
    )
    return cast("ConsumerRecord[bytes, bytes]", record)


def fold(settings: Settings, messages: Iterable[FindingMessage]) -> list[AlertEvent]:
    """The alert events that follow from a findings topic, published or not, in order."""
    book = AlertBook(alert_policy(settings.alerts))
    return [event for message in messages for event in book.fold(message)]
