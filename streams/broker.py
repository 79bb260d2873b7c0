"""What stages ask the brokers beside reading and writing: how many partitions a topic has, and where they end."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ConfluentPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # it is, for all but mypy

from streams.errors import UnavailableError
from streams.stage import TopicPartition
from streams.waits import Waits, nobody

T = TypeVar("T")

# Of a broker that is back and does not yet know, or that is no longer the one to ask.
_AWAY: Final = (
    KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.BROKER_NOT_AVAILABLE, KafkaError.NETWORK_EXCEPTION, KafkaError.REQUEST_TIMED_OUT,
    KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.FENCED_LEADER_EPOCH, KafkaError.OFFSET_NOT_AVAILABLE,
)  # fmt: skip
# librdkafka's own codes are negative, and say of a connection that it broke in one of many ways; but not these.
_REFUSED: Final = (
    KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError._FATAL,  # noqa: SLF001
    KafkaError._INVALID_ARG, KafkaError._UNKNOWN_TOPIC, KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001
)  # fmt: skip
_PAUSE_S: Final = 0.2
_ENDS_S: Final = 10.0

PATIENCE_S: Final = 300.0
"""How long a stage that works asks for what it must know, before it ends: as long as its messages may wait to be sent.

Whether there are brokers at all, a worker has found out before it starts a stage."""


def patiently(ask: Callable[[float], T], timeout_s: float) -> T:
    """The answer to a question, asked again while the brokers are away.

    librdkafka gives a question up as soon as the connection breaks under it, however long it may wait: a broker that
    restarts would end every worker that happens to ask it something.

    Parameters
    ----------
    ask
        Asks, given the seconds that are left; blocks.
    timeout_s
        How long the answer may take, all tries together.

    Raises
    ------
    KafkaException
        What was raised last, when the time is over; any other error at once.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        left_s = deadline_s - time.monotonic()
        try:
            return ask(max(left_s, _PAUSE_S))
        except KafkaException as error:
            if not _passes(error.args[0].code()) or left_s <= _PAUSE_S:
                raise
        time.sleep(_PAUSE_S)


def _passes(code: int) -> bool:
    return code in _AWAY or (code < 0 and code not in _REFUSED)


def absent(topic: str, error: KafkaError | None) -> UnavailableError:
    """What to raise for a topic that the brokers do not tell of: it is not there, or not for this user."""
    if error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        todo = "Let it: 'halcyon topics acls' prints the rights of each stage."
        return UnavailableError("This user may not use it.", f"topic {topic}", todo)
    return UnavailableError("It does not exist.", f"topic {topic}", "Run 'halcyon topics apply'.")


class BrokerView:
    """A few questions to the brokers, each answered from them and not from memory.

    Parameters
    ----------
    config
        librdkafka's settings: ``bootstrap.servers`` and security.
    timeout_s
        For one question.
    waits
        Told while a question is open.
    """

    def __init__(self, config: Mapping[str, Any], timeout_s: float, waits: Waits | None = None) -> None:
        self._waits = waits or nobody()
        self._admin = AdminClient(dict(config))
        self._timeout_s = timeout_s

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has.

        Raises
        ------
        UnavailableError
            If no broker answers, or the topic does not exist.
        """
        try:
            with self._waits:
                metadata = await asyncio.to_thread(
                    patiently, lambda left_s: self._admin.list_topics(topic, left_s), self._timeout_s
                )
        except KafkaException as error:
            raise UnavailableError(
                f"The brokers do not say how many partitions it has: {error.args[0].str()}.", f"topic {topic}",
                "Check that the brokers are up and that this user may describe the topic.",
            ) from error  # fmt: skip
        found = metadata.topics.get(topic)
        if found is None or found.error is not None:
            raise absent(topic, None if found is None else found.error)
        return len(found.partitions)

    async def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """First offset, and offset after the last record, of each partition; one that cannot be asked is left out."""
        wanted = list(partitions)
        if not wanted:
            return {}
        with self._waits:
            firsts = await self._offsets(wanted, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
            ends = await self._offsets(wanted, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {tp: (firsts[tp], ends[tp]) for tp in wanted if tp in firsts and tp in ends}

    async def _offsets(self, wanted: Iterable[TopicPartition], spec: OffsetSpec) -> dict[TopicPartition, int]:
        futures = self._admin.list_offsets(
            {ConfluentPartition(tp.topic, tp.partition): spec for tp in wanted},
            isolation_level=IsolationLevel.READ_COMMITTED,
            # Whoever asks for ends asks again: what they were a minute ago is of no use.
            request_timeout=min(self._timeout_s, _ENDS_S),
        )
        found: dict[TopicPartition, int] = {}
        for asked, future in futures.items():
            try:
                answer = await asyncio.to_thread(future.result)
            except KafkaException:
                continue
            found[TopicPartition(asked.topic, asked.partition)] = answer.offset
        return found
