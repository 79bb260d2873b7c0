"""Reading compacted topics: whole, and then on as they grow. No consumer group: everybody reads everything."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.broker import patiently
from streams.errors import UnavailableError
from streams.waits import Waits, nobody

_BATCH: Final = 1_000
_POLL_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Record:
    """A message of a compacted topic; value None is a tombstone."""

    offset: int
    key: bytes
    value: bytes | None


class CompactedReader:
    """Reads some partitions of a topic from the beginning.

    Parameters
    ----------
    config
        librdkafka's settings: ``bootstrap.servers`` and security.
    topic
        Must exist.
    partitions
        Which ones; None for all.
    timeout_s
        How long a broker may take to answer.
    waits
        Told while the topic is read.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        partitions: tuple[int, ...] | None,
        timeout_s: float,
        waits: Waits | None = None,
    ) -> None:
        self._waits = waits or nobody()
        self._topic = topic
        self._timeout_s = timeout_s
        self._wanted = partitions
        self._consumer = Consumer(
            {
                "group.id": "halcyon-reader",  # librdkafka wants one; nothing is ever committed under it
                **config,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.message.max.bytes": 16 << 20,
                "queued.max.messages.kbytes": 16 << 10,
                "log_level": 3,
            }
        )
        self._ends: dict[int, int] = {}

    async def read_to_end(self) -> list[tuple[bytes, bytes | None]]:
        """All (key, value) up to the ends as they are now, in order within a partition; value None is a tombstone.

        Raises
        ------
        UnavailableError
            If no broker answers, or the topic does not exist.
        """
        return [(record.key, record.value) for record in await self.read_log()]

    async def read_log(self) -> list[Record]:
        """The same with the offsets, for a topic of which one partition is read.

        Raises
        ------
        UnavailableError
            As :meth:`read_to_end`.
        """
        with self._waits:
            return await asyncio.to_thread(self._read_to_end)

    def poll(self) -> list[tuple[bytes, bytes | None]]:
        """What has come since, without waiting."""
        return [(m.key() or b"", m.value()) for m in self._messages(0.0)]

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()

    def _read_to_end(self) -> list[Record]:
        found: list[Record] = []
        try:
            open_ends = self._assign()
            while open_ends:
                found += [Record(m.offset() or 0, m.key() or b"", m.value()) for m in self._messages(_POLL_S)]
                places = self._consumer.position([TopicPartition(self._topic, p) for p in open_ends])
                open_ends = {p.partition: open_ends[p.partition] for p in places if p.offset < open_ends[p.partition]}
        except KafkaException as error:
            raise UnavailableError(
                f"It cannot be read: {error.args[0].str()}.", f"topic {self._topic}",
                "Check that the brokers are up, that 'halcyon topics apply' was run, and that this user may read it.",
            ) from error  # fmt: skip
        return found

    def _assign(self) -> dict[int, int]:
        """Start at the beginning; partition → end, of those that hold anything."""
        wanted = self._wanted
        if wanted is None:
            metadata = patiently(lambda left_s: self._consumer.list_topics(self._topic, left_s), self._timeout_s)
            wanted = tuple(metadata.topics[self._topic].partitions)
            if not wanted:
                raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        self._consumer.assign([TopicPartition(self._topic, p, OFFSET_BEGINNING) for p in wanted])
        ends = {}
        for partition in wanted:
            low, high = patiently(partial(self._bounds, partition), self._timeout_s)
            if high > low:
                ends[partition] = high
        return ends

    def _bounds(self, partition: int, timeout_s: float) -> tuple[int, int]:
        found = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), timeout_s)
        if found is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - librdkafka's own code
        return found

    def _messages(self, timeout_s: float) -> Iterator[Message]:
        for message in self._consumer.consume(_BATCH, timeout_s):
            error = message.error()
            if error is None:
                yield message
            elif error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED):
                raise KafkaException(error)
            # What else comes here is passing: librdkafka says it and tries again.
