"""Truths and alerts, out of files (one JSON object a line, as on their topics) or out of the topics themselves."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from loadgen import truth
from loadgen.producer import LoadError
from loadgen.truth import Truth
from schemas import alerts
from schemas.alerts import Alert, milliseconds

T = TypeVar("T")
_BATCH: Final = 500
_ANSWER_S: Final = 10.0
_SILENCE_S: Final = 5.0


def truths_in(path: Path) -> list[Truth]:
    """The truths in a file.

    Raises
    ------
    LoadError
        If it cannot be read; names the file and the line.
    """
    try:
        return truth.read(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise LoadError(f"{error}. Each line is one JSON object, as on the topic.") from error


def alerts_in(path: Path) -> list[Alert]:
    """The alert events in a file, in its order: what ``halcyon alerts tail --json`` prints.

    Raises
    ------
    LoadError
        If it cannot be read; names the file and the line.
    """
    return list(_decoded(_lines(path), alerts.decode))


def truths_on(config: Mapping[str, Any], topic: str) -> list[Truth]:
    """The truths on a topic, the latest of each key.

    Raises
    ------
    LoadError
        If no broker answers, the topic does not exist, or holds something else; says where.
    """
    latest = {truth.key(one): one for one in _decoded(_messages(config, topic), truth.decode)}
    return list(latest.values())


def alerts_on(config: Mapping[str, Any], topic: str) -> list[Alert]:
    """The alert events on a topic, in the order of their event time.

    Raises
    ------
    LoadError
        See :func:`truths_on`.
    """
    # Copies of an event stay behind it: sorting is stable.
    return sorted(_decoded(_messages(config, topic), alerts.decode), key=lambda one: milliseconds(one.updated_at))


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path}, line {number}", line
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> LoadError:
    return LoadError(f"{path} cannot be read: {error.strerror or error}. Give a file that exists.")


def _messages(config: Mapping[str, Any], topic: str) -> Iterator[tuple[str, bytes]]:
    """All messages of a topic up to its ends as they are now; without a group, so that nobody is disturbed."""
    consumer = Consumer(
        {
            # Required by the client; never joined.
            "group.id": "halcyon-loadgen-score",
            "enable.auto.commit": False,
            "enable.partition.eof": False,
            "log_level": 0,
            **config,
        }
    )
    try:
        left = _ends(consumer, topic)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
        while left:
            batch = consumer.consume(_BATCH, _SILENCE_S)
            for message in batch:
                if message.error() is None and (value := message.value()) is not None:
                    yield f"topic {topic}, partition {message.partition()}, offset {message.offset()}", value
            for place in consumer.position([TopicPartition(topic, partition) for partition in left]):
                # Compaction leaves holes at the end too.
                if place.offset >= left[place.partition]:
                    del left[place.partition]
            if not batch and left:
                raise LoadError(f"topic {topic} has more, but nothing comes: are its brokers well?")
    except KafkaException as error:
        raise LoadError(f"no broker answers: {error.args[0].str()}. Check --bootstrap.") from error
    finally:
        consumer.close()


def _ends(consumer: Consumer, topic: str) -> dict[int, int]:
    """Partition → offset after its last message, of those that hold anything."""
    known = consumer.list_topics(topic, timeout=_ANSWER_S).topics[topic]
    if known.error is not None or not known.partitions:
        raise LoadError(f"topic {topic} does not exist: name it with --truth-topic or --alert-topic.")
    ends = {}
    for partition in known.partitions:
        bounds = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_ANSWER_S)
        if bounds is None:
            raise LoadError(f"the brokers do not say where topic {topic} ends: are they well?")
        if bounds[1] > bounds[0]:
            ends[partition] = bounds[1]
    return ends


def _decoded(messages: Iterable[tuple[str, bytes]], decode: Callable[[bytes], T]) -> Iterator[T]:
    for place, raw in messages:
        try:
            yield decode(raw)
        except (ValueError, msgspec.DecodeError) as error:
            raise LoadError(f"{place} cannot be used: {error}. Each is one JSON object, as on its topic.") from error
