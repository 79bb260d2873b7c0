"""The alert topic read back, and the control topic followed: both without a consumer group."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.alerts import header
from streams.alert.stage import ORIGIN_HEADER, ControlRecord, Published
from streams.broker import absent, patiently
from streams.errors import UnavailableError
from streams.waits import Waits, nobody

A = TypeVar("A")
T = TypeVar("T")

_BATCH: Final = 1_000
_POLL_S: Final = 0.25
_FATAL: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED)


class KafkaAlertLog:
    """The ends of the alert topic, and what stands behind a snapshot.

    Parameters
    ----------
    config
        librdkafka's settings: ``bootstrap.servers`` and security.
    alerts, findings
        Names of the topics; they must exist.
    timeout_s
        How long a broker may take to answer.
    waits
        Told while a question is open.
    """

    def __init__(
        self, config: Mapping[str, Any], alerts: str, findings: str, timeout_s: float, waits: Waits | None = None
    ) -> None:
        self._config, self._alerts, self._findings, self._timeout_s = config, alerts, findings, timeout_s
        self._waits = waits or nobody()
        self._opened: Consumer | None = None

    async def ends(self) -> dict[int, int]:
        """Partition → offset after its last message.

        Raises
        ------
        UnavailableError
            If no broker answers, or the topic does not exist.
        """
        with self._waits:
            bounds = await _asked(self._bounds, self._alerts)
        return {partition: high for partition, (_, high) in bounds.items()}

    async def source_end(self) -> int:
        """The offset after the last finding.

        Raises
        ------
        UnavailableError
            If no broker answers, or the topic does not exist.
        """
        with self._waits:
            bounds = await _asked(self._bounds, self._findings)
        return bounds[0][1]

    async def published_since(self, ends: Mapping[int, int]) -> Published:
        """What came after these offsets; a partition that is not named is read from its beginning.

        Raises
        ------
        UnavailableError
            If no broker answers, or the topic does not exist.
        """
        with self._waits:
            return await _asked(self._read, ends)

    async def close(self) -> None:
        """Let go of the brokers."""
        if self._opened is not None:
            await asyncio.to_thread(self._opened.close)
            self._opened = None

    @property
    def _consumer(self) -> Consumer:
        if self._opened is None:
            self._opened = _new_consumer(self._config)
        return self._opened

    def _bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        """Partition → (first offset, offset after the last)."""
        bounds = {}
        for partition in _partitions(self._consumer, topic, self._timeout_s):
            bounds[partition] = _ends(self._consumer, TopicPartition(topic, partition), self._timeout_s)
        return bounds

    def _read(self, ends: Mapping[int, int]) -> Published:
        bounds = self._bounds(self._alerts)
        starts = {partition: max(ends.get(partition, low), low) for partition, (low, _) in bounds.items()}
        unread = {partition: bounds[partition][1] for partition, at in starts.items() if at < bounds[partition][1]}
        ids, last_origin = set(), -1
        self._consumer.assign([TopicPartition(self._alerts, partition, starts[partition]) for partition in unread])
        while unread:
            for message in _good(self._consumer.consume(_BATCH, _POLL_S)):
                pairs = _headers(message)
                ids.add(header(pairs, "ce_id"))
                origin = header(pairs, ORIGIN_HEADER)
                last_origin = max(last_origin, int(origin) if origin.isdecimal() else -1)
            places = self._consumer.position([TopicPartition(self._alerts, partition) for partition in unread])
            unread = {p.partition: unread[p.partition] for p in places if p.offset < unread[p.partition]}
        self._consumer.unassign()
        return Published(frozenset(ids), last_origin)


class KafkaControlFeed:
    """The control topic, all partitions of it, from where the fold stands.

    Parameters
    ----------
    config
        librdkafka's settings: ``bootstrap.servers`` and security.
    topic
        Must exist.
    timeout_s
        How long a broker may take to answer.
    waits
        Told while a question is open.
    """

    def __init__(self, config: Mapping[str, Any], topic: str, timeout_s: float, waits: Waits | None = None) -> None:
        self._config, self._topic, self._timeout_s = config, topic, timeout_s
        self._waits = waits or nobody()
        self._consumer: Consumer | None = None

    async def seek(self, positions: Mapping[int, int]) -> None:
        """Read on from these offsets, partitions that are not named from their beginning.

        Raises
        ------
        UnavailableError
            If no broker answers, or the topic does not exist.
        """
        with self._waits:
            await _asked(self._seek, positions)

    async def poll(self) -> Sequence[ControlRecord]:
        """What has come since; does not wait for more. Nothing before :meth:`seek`."""
        if self._consumer is None:
            return []
        return [
            ControlRecord(message.topic() or "", message.partition() or 0, message.offset() or 0, message.value())
            for message in _good(self._consumer.consume(_BATCH, 0.0))
        ]

    async def close(self) -> None:
        """Let go of the brokers."""
        if self._consumer is not None:
            await asyncio.to_thread(self._consumer.close)
            self._consumer = None

    def _seek(self, positions: Mapping[int, int]) -> None:
        if self._consumer is None:
            self._consumer = _new_consumer(self._config)
        wanted = []
        for partition in _partitions(self._consumer, self._topic, self._timeout_s):
            place = TopicPartition(self._topic, partition)
            low, high = _ends(self._consumer, place, self._timeout_s)
            # Beyond the end: the topic was made anew, and what it says has not been read.
            at = positions.get(partition, low)
            wanted.append(TopicPartition(self._topic, partition, low if at > high else max(at, low)))
        self._consumer.assign(wanted)


def _new_consumer(config: Mapping[str, Any]) -> Consumer:
    return Consumer(
        {
            "group.id": "halcyon-reader",  # librdkafka wants one; nothing is ever committed under it
            **config,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "log_level": 3,
        }
    )


def _partitions(consumer: Consumer, topic: str, timeout_s: float) -> list[int]:
    found = patiently(lambda left_s: consumer.list_topics(topic, left_s), timeout_s).topics[topic]
    if found.error is not None or not found.partitions:
        raise absent(topic, found.error)
    return sorted(found.partitions)


def _ends(consumer: Consumer, partition: TopicPartition, timeout_s: float) -> tuple[int, int]:
    """First offset, and the offset after the last, of a partition."""

    def ask(left_s: float) -> tuple[int, int]:
        found = consumer.get_watermark_offsets(partition, left_s)
        if found is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - librdkafka's local codes
        return found[0], found[1]

    return patiently(ask, timeout_s)


def _good(messages: Iterable[Message]) -> list[Message]:
    """Those that are no error; what passes by itself is left to librdkafka."""
    good = []
    for message in messages:
        error = message.error()
        if error is None:
            good.append(message)
        elif error.code() in _FATAL:
            raise KafkaException(error)
    return good


def _headers(message: Message) -> list[tuple[str, bytes | None]]:
    # The client's types leave open what it never gives: a mapping, and text for bytes.
    return list(cast("list[tuple[str, bytes | None]] | None", message.headers()) or [])


async def _asked(question: Callable[[A], T], argument: A) -> T:
    """Ask in a thread: librdkafka waits for its answers."""
    try:
        return await asyncio.to_thread(question, argument)
    except KafkaException as error:
        raise UnavailableError(
            f"The brokers do not answer: {error.args[0].str()}.", "alert stage",
            "Check that they are up and that this user may read the topics 'alerts', 'findings' and 'control'.",
        ) from error  # fmt: skip
