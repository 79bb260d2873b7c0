"""How far consumer groups are behind the ends of their topics, asked of the brokers now and then."""

import threading
from collections.abc import Mapping, Sequence

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # it is, for all but mypy

_ANSWER_S = 5.0


def lag(admin: AdminClient, group: str) -> int | None:
    """Messages between what a group has committed and the ends of its partitions; None while it has committed nothing.

    Raises
    ------
    KafkaException
        When the brokers do not answer.
    """
    asked = ConsumerGroupTopicPartitions(group)
    committed = admin.list_consumer_group_offsets([asked])[group].result(_ANSWER_S).topic_partitions
    known = {(each.topic, each.partition): each.offset for each in committed or () if each.offset >= 0}
    if not known:
        return None
    newest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    ends = admin.list_offsets({TopicPartition(*place): newest for place in known})
    behind = 0
    for place, end in ends.items():
        behind += max(end.result(_ANSWER_S).offset - known[place.topic, place.partition], 0)
    return behind


class LagWatch:
    """Asks for the lag of some groups every ``every_s`` seconds, in a thread of its own.

    ``latest`` is what was heard last: group → messages; groups that have committed nothing, or of which the brokers
    said nothing, are not in it.
    """

    def __init__(self, config: Mapping[str, str], groups: Sequence[str], every_s: float = 2.0) -> None:
        self.latest: dict[str, int] = {}
        self._groups, self._every_s = groups, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(dict(config),), name="loadgen-lag", daemon=True)
        if groups:
            self._thread.start()

    def close(self) -> None:
        """Ask no more."""
        self._stop.set()
        if self._groups:
            self._thread.join()

    def _watch(self, config: dict[str, str]) -> None:
        admin = AdminClient({"log_level": 3, **config})
        while not self._stop.wait(self._every_s):
            for group in self._groups:
                try:
                    found = lag(admin, group)
                except (KafkaException, TimeoutError):
                    found = None
                if found is None:
                    self.latest.pop(group, None)
                else:
                    self.latest[group] = found
