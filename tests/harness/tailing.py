"""Topics followed from their beginning: each look brings what has come since the last one."""

from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

_BATCH = 2_000
_WAIT_S = 0.2
_ANSWER_S = 30.0
_PASSING = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._PARTITION_EOF)


class Tail:
    """All partitions of a topic, without a group."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap, "group.id": "tail", "log_level": 0, "enable.auto.commit": False,
                "auto.offset.reset": "earliest", "fetch.message.max.bytes": 16 << 20,
            }
        )  # fmt: skip
        self._topic = topic
        partitions = self._consumer.list_topics(topic, _ANSWER_S).topics[topic].partitions
        self._places = dict.fromkeys(partitions, 0)
        self._consumer.assign([TopicPartition(topic, p, 0) for p in partitions])

    def fresh(self) -> Iterator[Message]:
        """What has come since, up to the ends as they are now.

        Raises
        ------
        KafkaException
            If no broker answers.
        """
        ends = {p: self._end(p) for p in self._places}
        while any(self._places[p] < end for p, end in ends.items()):
            for message in self._consumer.consume(_BATCH, _WAIT_S):
                error = message.error()
                if error is None:
                    self._places[message.partition() or 0] = (message.offset() or 0) + 1
                    yield message
                elif error.code() not in _PASSING:
                    raise KafkaException(error)
            for place in self._consumer.position([TopicPartition(self._topic, p) for p in self._places]):
                # Compaction leaves holes at the end too.
                self._places[place.partition] = max(self._places[place.partition], place.offset)

    def _end(self, partition: int) -> int:
        found = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), _ANSWER_S)
        if found is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return int(found[1])

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()
