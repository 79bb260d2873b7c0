"""The event time a topic has come to: what is sent behind it arrives late."""

from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

_TIMEOUT_S: Final = 5.0


class _Stamped(msgspec.Struct):
    ts_ms: int


_decoder: Final = msgspec.json.Decoder(_Stamped)


def newest_ms(config: dict[str, Any], topic: str) -> int | None:
    """The highest event time among the last messages of the topic's partitions.

    Returns
    -------
    int or None
        Milliseconds since 1970; None for a topic that is empty, cannot be asked, or ends in messages that are no JSON
        event: then nothing is known.
    """
    consumer = Consumer({**config, "group.id": "halcyon-feed", "enable.auto.commit": False, "log_level": 0})
    try:
        found = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        last = []
        for number in found.partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT_S)
            if high > low:
                last.append(TopicPartition(topic, number, high - 1))
        if not last:
            return None
        consumer.assign(last)
        seen: dict[int, int] = {}
        while len(seen) < len(last):
            messages = consumer.consume(len(last), _TIMEOUT_S)
            if not messages:
                break
            for message in messages:
                seen[message.partition() or 0] = _event_ms(message.value())
        return max(seen.values(), default=0) or None
    except KafkaException:
        return None
    finally:
        consumer.close()


def _event_ms(value: bytes | None) -> int:
    try:
        return _decoder.decode(value or b"").ts_ms
    except msgspec.MsgspecError:
        return 0
