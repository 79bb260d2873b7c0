"""Reading a topic from a command: every partition, without a consumer group, so that nobody else is disturbed."""

from collections.abc import Callable, Iterator
from typing import Final, Generic, Self, TypeVar

import msgspec
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

from streams.broker import absent
from streams.config import KafkaSettings
from streams.connections import client_config
from streams.errors import UnavailableError

T = TypeVar("T")
_BATCH: Final = 500
_TIMEOUT_S: Final = 10.0


class Feed(Generic[T]):
    """The messages of one topic, decoded.

    Parameters
    ----------
    kafka
        Where the brokers are, and who asks.
    topic
        Must exist.
    decode
        From a message's value; what it refuses with :class:`msgspec.MsgspecError` is passed over and counted.
    from_start
        Whether to begin with the oldest message or with the next one.

    Raises
    ------
    UnavailableError
        When no broker answers, or the topic does not exist.
    """

    def __init__(
        self, kafka: KafkaSettings, topic: str, decode: Callable[[bytes], T], *, from_start: bool = True
    ) -> None:
        self.unreadable = 0
        self._decode = decode
        self._consumer = Consumer(
            {
                **client_config(kafka),
                # Required by the client; never joined, as partitions are assigned and nothing is committed.
                "group.id": "halcyon-feed",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        try:
            known = self._consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        except KafkaException as error:
            raise UnavailableError(
                f"No broker answers: {error.args[0].str()}.",
                kafka.bootstrap_servers,
                "Start one with 'halcyon up', or see what 'halcyon config check' says.",
            ) from error
        if known.error is not None or not known.partitions:
            raise absent(topic, known.error)
        offset = OFFSET_BEGINNING if from_start else OFFSET_END
        self._consumer.assign([TopicPartition(topic, partition, offset) for partition in known.partitions])

    def take(self, timeout_s: float = 0.0) -> Iterator[T]:
        """What has come since the last call, waiting up to ``timeout_s`` for the first of it."""
        for message in self._consumer.consume(_BATCH, timeout_s):
            value = message.value()
            if message.error() is not None or value is None:
                continue
            try:
                yield self._decode(value)
            except msgspec.MsgspecError:
                self.unreadable += 1

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
