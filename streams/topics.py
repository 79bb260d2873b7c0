"""Topics as they are declared: creates what is missing, adds partitions, corrects settings, deletes nothing.

Applying twice does nothing the second time. A topic with more partitions than declared keeps them (Kafka cannot take
any away), and so does one with another replication factor: both are said.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not exported by its type hints
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from streams.errors import HalcyonError, UnavailableError


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it should be: ``config`` holds the broker's own names and values, as text.

    ``fixed`` topics never get more partitions once they exist: keys would move to other partitions, away from the state
    that was made from them.
    """

    name: str
    partitions: int
    replication_factor: int = 1
    config: Mapping[str, str] = field(default_factory=dict)
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as it is; ``config`` holds what was set for the topic itself, ``effective`` the defaults below it too."""

    partitions: int
    replication_factor: int
    config: Mapping[str, str]
    effective: Mapping[str, str]


class Action(StrEnum):
    """What is done to a topic, or is left alone though it differs."""

    CREATE = "create"
    GROW = "grow"
    CONFIGURE = "configure"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Change:
    """One step: ``detail`` says it in words, ``config`` is what is set, ``partitions`` how many there shall be."""

    topic: str
    action: Action
    detail: str
    partitions: int = 0
    config: Mapping[str, str] = field(default_factory=dict)


def plan(wanted: Iterable[Topic], found: Mapping[str, Found]) -> list[Change]:
    """What has to be done for ``found`` to be as ``wanted``; empty when it is."""
    return [change for topic in wanted for change in _plan_topic(topic, found.get(topic.name))]


def _plan_topic(topic: Topic, found: Found | None) -> list[Change]:
    if found is None:
        detail = f"{topic.partitions} partitions, {topic.replication_factor} copies"
        return [Change(topic.name, Action.CREATE, detail, topic.partitions, topic.config)]
    changes = []
    if found.partitions < topic.partitions and topic.fixed:
        detail = (
            f"has {found.partitions} partitions, declared are {topic.partitions}: "
            "more would move its keys away from their state"
        )
        changes.append(Change(topic.name, Action.KEEP, detail))
    elif found.partitions < topic.partitions:
        detail = f"{found.partitions} → {topic.partitions} partitions"
        changes.append(Change(topic.name, Action.GROW, detail, topic.partitions))
    elif found.partitions > topic.partitions:
        detail = f"has {found.partitions} partitions, declared are {topic.partitions}: Kafka cannot take any away"
        changes.append(Change(topic.name, Action.KEEP, detail))
    if found.replication_factor != topic.replication_factor:
        detail = (
            f"has {found.replication_factor} copies, declared are {topic.replication_factor}: "
            "move them with kafka-reassign-partitions"
        )
        changes.append(Change(topic.name, Action.KEEP, detail))
    differing = {name: value for name, value in topic.config.items() if found.effective.get(name) != value}
    if differing:
        detail = ", ".join(f"{name} {found.effective.get(name, '–')} → {value}" for name, value in differing.items())
        changes.append(Change(topic.name, Action.CONFIGURE, detail, config=differing))
    return changes


class TopicAdmin:
    """Reads and changes topics.

    Parameters
    ----------
    config
        librdkafka settings, ``bootstrap.servers`` at least.
    timeout_s
        How long the brokers may take to answer a request.
    """

    def __init__(self, config: Mapping[str, Any], timeout_s: float = 30.0) -> None:
        self._where = str(config.get("bootstrap.servers", ""))
        # Log level 0: errors come back from the calls; librdkafka's own lines would stand between ours.
        self._admin = AdminClient({"log_level": 0, **config})
        self._timeout_s = timeout_s

    def find(self, names: Sequence[str]) -> dict[str, Found]:
        """Those of the named topics that exist.

        Raises
        ------
        UnavailableError
            When no broker answers in time.
        """
        try:
            known = self._admin.list_topics(timeout=self._timeout_s).topics
        except KafkaException as error:
            raise UnavailableError(
                f"No broker answers: {_words(error)}.",
                self._where,
                "Start one with 'halcyon up', or correct 'kafka.bootstrap_servers'.",
            ) from error
        existing = [name for name in names if name in known]
        configs = self._configs(existing)
        return {
            name: Found(
                partitions=len(known[name].partitions),
                replication_factor=min((len(p.replicas) for p in known[name].partitions.values()), default=0),
                config={k: v for k, (v, own) in configs[name].items() if own},
                effective={k: v for k, (v, _) in configs[name].items()},
            )
            for name in existing
        }

    def apply(self, wanted: Sequence[Topic]) -> list[Change]:
        """Make the topics as they are wanted; returns what was done, and what was left though it differs.

        Raises
        ------
        UnavailableError
            When no broker answers in time.
        HalcyonError
            When the brokers refuse a change.
        """
        by_name = {topic.name: topic for topic in wanted}
        changes = plan(wanted, self.find(list(by_name)))
        for change in changes:
            self._do(change, by_name[change.topic])
        return changes

    def _do(self, change: Change, topic: Topic) -> None:
        if change.action is Action.CREATE:
            new = NewTopic(topic.name, topic.partitions, topic.replication_factor, config=dict(topic.config))
            self._await(change, self._admin.create_topics([new], operation_timeout=self._timeout_s))
        elif change.action is Action.GROW:
            more = NewPartitions(topic.name, change.partitions)
            self._await(change, self._admin.create_partitions([more], operation_timeout=self._timeout_s))
        elif change.action is Action.CONFIGURE:
            entries = [
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in change.config.items()
            ]
            resource = ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)
            self._await(change, self._admin.incremental_alter_configs([resource]))

    def _await(self, change: Change, futures: Mapping[Any, Any]) -> None:
        for future in futures.values():
            try:
                future.result(self._timeout_s)
            except KafkaException as error:
                # Someone else, who applies the same declarations, was faster.
                if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                    continue
                raise HalcyonError(
                    f"The brokers refused to {change.action} topic {change.topic} ({change.detail}): {_words(error)}.",
                    self._where,
                    "Check the section 'topics' of the settings, and this client's rights.",
                ) from error

    def _configs(self, names: Sequence[str]) -> dict[str, dict[str, tuple[str, bool]]]:
        """Setting → (value, whether it is set for the topic itself), for each topic."""
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        futures = self._admin.describe_configs(resources, request_timeout=self._timeout_s)
        own: Final = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
        try:
            return {
                resource.name: {k: (str(entry.value), entry.source == own) for k, entry in future.result().items()}
                for resource, future in futures.items()
            }
        except KafkaException as error:
            raise HalcyonError(
                f"The brokers did not say how the topics are configured: {_words(error)}.", self._where
            ) from error


def _words(error: KafkaException) -> str:
    return str(error.args[0].str()).rstrip(".")
