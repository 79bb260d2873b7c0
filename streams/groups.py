"""Offsets of consumer groups, moved by hand: for a stage that may read again what it has read.

Only a group that nobody is in can be moved; the brokers refuse otherwise.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not exported by its type hints
    AdminClient,
    OffsetSpec,
)

from streams.errors import HalcyonError, UnavailableError

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Move:
    """One partition: from where to where. ``before`` is None when the group has no offset there."""

    partition: int
    before: int | None
    after: int
    end: int

    @property
    def again(self) -> int:
        """Messages that will be read, whether again or for the first time."""
        return max(self.end - self.after, 0)


class GroupAdmin:
    """Looks up and moves the offsets of consumer groups.

    Parameters
    ----------
    config
        librdkafka settings, ``bootstrap.servers`` at least.
    timeout_s
        How long the brokers may take to answer a request.
    """

    def __init__(self, config: Mapping[str, Any], timeout_s: float = 30.0) -> None:
        self._where = str(config.get("bootstrap.servers", ""))
        self._admin = AdminClient({"log_level": 0, **config})
        self._timeout_s = timeout_s

    def members(self, group: str) -> int:
        """How many workers are in a group; 0 also for a group that never was.

        Raises
        ------
        UnavailableError
            When no broker answers in time.
        """
        return len(self._ask(self._admin.describe_consumer_groups([group])[group]).members)

    def plan(self, group: str, topic: str, to_ms: int | None) -> list[Move]:
        """Where each partition would go.

        Parameters
        ----------
        group, topic
            Full names.
        to_ms
            The first message appended at or after this; None for the oldest that is kept.

        Raises
        ------
        UnavailableError
            When no broker answers in time.
        HalcyonError
            When there is no such topic.
        """
        places = [TopicPartition(topic, p) for p in self._partitions(topic)]
        earliest, latest = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
        wanted = self._offsets(places, earliest if to_ms is None else OffsetSpec.for_timestamp(to_ms))
        ends = self._offsets(places, latest)
        before = self._committed(group, places)
        # Nothing was appended since: the end.
        return [
            Move(p, before.get(p), wanted[p] if wanted[p] >= 0 else ends[p], ends[p]) for p in sorted(ends)
        ]  # fmt: skip

    def move(self, group: str, topic: str, moves: list[Move]) -> None:
        """Do it. What the group had stored beside its offsets is gone.

        Raises
        ------
        UnavailableError
            When no broker answers in time.
        HalcyonError
            When the brokers refuse, as they do while a worker is in the group.
        """
        places = [TopicPartition(topic, move.partition, move.after) for move in moves]
        answers = self._admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])
        for place in self._ask(answers[group]).topic_partitions:
            if place.error is not None:
                raise HalcyonError(
                    f"The brokers refused to move partition {place.partition}: {place.error.str()}.",
                    f"group {group}",
                    "Stop the workers of this stage first, and check this client's rights.",
                )

    def _partitions(self, topic: str) -> list[int]:
        try:
            known = self._admin.list_topics(timeout=self._timeout_s).topics
        except KafkaException as error:
            raise self._unavailable(error) from error
        if topic not in known:
            raise HalcyonError(f"There is no topic {topic}.", self._where, "See 'halcyon topics list'.")
        return list(known[topic].partitions)

    def _offsets(self, places: list[TopicPartition], spec: OffsetSpec) -> dict[int, int]:
        answers = self._admin.list_offsets(dict.fromkeys(places, spec), request_timeout=self._timeout_s)
        return {place.partition: int(self._ask(answer).offset) for place, answer in answers.items()}

    def _committed(self, group: str, places: list[TopicPartition]) -> dict[int, int]:
        answers = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])
        found = self._ask(answers[group]).topic_partitions
        return {place.partition: place.offset for place in found if place.offset >= 0}

    def _ask(self, answer: Future[_T]) -> _T:
        try:
            return answer.result(self._timeout_s)
        except (KafkaException, TimeoutError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> UnavailableError:
        words = error.args[0].str().rstrip(".") if isinstance(error, KafkaException) else "no answer in time"
        return UnavailableError(
            f"The brokers do not tell or move offsets: {words}.", self._where, "Check 'kafka' in the settings."
        )
