"""Every stage as a user of its own, with the rights that the documentation names: enough, and none too many."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from deploy.local.clickhouse import LocalClickHouse
from schemas.topics import TopicName
from streams.acls import READ, Acl, acls_of
from streams.config import load_settings
from streams.connections import client_config
from tests.harness.expectations import check_everything, wait_slow
from tests.harness.installation import LEARNING, STAGES, Installation, installed
from tests.harness.oracle import Oracle
from tests.harness.secure_kafka import Audited, SecureKafka
from tests.harness.telling import drawn_seed
from tests.harness.traffic import MODELS, Slowdown, Traffic, a_while_ago
from tests.harness.waiting import wait_for
from tests.harness.workers import Worker

EVENTS = 20_000
SPAN_MS = 900_000
SLOWDOWN = Slowdown(model=2, after_ms=450_000)
TOLD_S = 60.0


def user_of(stage: str, installation: Installation) -> str:
    return f"{installation.prefix}{stage}"


def start_as(broker: SecureKafka, installation: Installation, stage: str) -> None:
    """A worker that logs in as its stage's own user."""
    installation.changes = {**LEARNING, **broker.settings("SCRAM", user_of(stage, installation))}
    installation.start(stage)


@pytest.fixture
def installation(secure_kafka: SecureKafka, clickhouse: LocalClickHouse, tmp_path: Path) -> Iterator[Installation]:
    """Topics, tables, and a user with its rights for each stage."""
    with installed(secure_kafka.kafka, clickhouse, tmp_path, LEARNING) as fresh:
        for stage in STAGES:
            secure_kafka.add_user(user_of(stage, fresh))
            secure_kafka.grant(user_of(stage, fresh), acls_of(stage, fresh.settings))
        yield fresh


def spoil(installation: Installation, *topics: TopicName) -> None:
    """Put something into each topic that nobody can read."""
    producer = installation.producer()
    for topic in topics:
        producer.produce(installation.topic(topic), b"neither this nor that")
    assert producer.flush(30) == 0


def used(decisions: set[Audited], user: str) -> set[Acl]:
    """The rights that the broker's log says were needed, less what follows from others."""
    needed = {Acl(one.kind.lower(), one.name, one.operation.lower()) for one in decisions if one.user == user}
    return {acl for acl in needed if acl.operation != "describe"}


@pytest.mark.slow
def test_each_stage_works_with_its_documented_rights_and_needs_every_one(
    secure_kafka: SecureKafka, installation: Installation
) -> None:
    log_bytes = secure_kafka.kafka.log_bytes
    traffic = Traffic.make(drawn_seed(), EVENTS, a_while_ago(), SPAN_MS, late_ratio=0.002, slowdown=SLOWDOWN)
    # What has dead letters shall write some.
    spoil(installation, TopicName.PREDICTIONS, TopicName.FINDINGS, TopicName.ROWS)
    for stage in STAGES:
        start_as(secure_kafka, installation, stage)
    traffic.send_all(installation.producer(), installation.topic(TopicName.PREDICTIONS), chunk=500)
    installation.wait_ready()
    check_everything(installation, Oracle(traffic))
    wait_slow(installation, MODELS[SLOWDOWN.model])
    # A life of the alert stage that begins behind the end of its topic reads what it finds there.
    assert installation.workers["alert"].stop() == 0
    spoil(installation, TopicName.ALERTS)
    start_as(secure_kafka, installation, "alert")
    installation.wait_ready()

    def exercised() -> dict[str, set[Acl]]:
        decisions = secure_kafka.kafka.decisions(log_bytes)
        return {stage: used(decisions, user_of(stage, installation)) for stage in STAGES}

    documented = {stage: set(acls_of(stage, installation.settings)) for stage in STAGES}
    # A right that nobody used would be one too many: each of these, taken away, is a request that is refused.
    wait_for("every right was used, and no other", exercised, TOLD_S, until=lambda found: found == documented)
    users = {user_of(stage, installation) for stage in STAGES}
    refused = {one for one in secure_kafka.kafka.decisions(log_bytes) if one.user in users and not one.allowed}
    assert refused == set()
    assert installation.stop() == dict.fromkeys(STAGES, 0)


LACKING = {
    "ingest": (TopicName.BASELINES, READ),
    "analyse": (TopicName.STATE, READ),
    "alert": (TopicName.CONTROL, READ),
    "write": (TopicName.ROWS, READ),
}


@pytest.mark.slow
def test_a_stage_that_lacks_a_right_says_which_topic(secure_kafka: SecureKafka, installation: Installation) -> None:
    for stage, (topic, operation) in LACKING.items():
        lacking = Acl("topic", installation.topic(topic), operation)
        secure_kafka.revoke(user_of(stage, installation), [lacking])
        start_as(secure_kafka, installation, stage)
    for stage, (topic, _) in LACKING.items():
        wait_refused(installation.workers[stage], installation.topic(topic))


def wait_refused(worker: Worker, topic: str) -> None:
    """Wait for the line that names the topic and says that the worker may not use it."""
    line = re.compile(rf".*{re.escape(topic)}.*\b(may (not )?(read|use)|rights)\b.*")
    wait_for(f"{worker.name} says so", lambda: bool(line.search(worker.log_tail(60))), TOLD_S)
    assert not worker.is_ready()


def test_another_stages_topics_and_groups_are_refused(secure_kafka: SecureKafka, installation: Installation) -> None:
    user = user_of("ingest", installation)
    config = client_config(load_settings(env=secure_kafka.settings("SCRAM", user)).kafka)
    refused: list[int | None] = []
    producer = Producer({**config, "log_level": 0})
    forbidden = (TopicName.ALERTS, TopicName.FINDINGS, TopicName.STATE, TopicName.BASELINES, TopicName.PREDICTIONS)
    for topic in forbidden:
        name = installation.topic(topic)
        producer.produce(name, b"forged", on_delivery=lambda error, _: refused.append(error.code() if error else None))
    assert producer.flush(30) == 0
    assert refused == [KafkaError.TOPIC_AUTHORIZATION_FAILED] * len(forbidden)
    assert [installation.read(topic) for topic in forbidden] == [[]] * len(forbidden)

    # What may not be described is not there; what may only be written cannot be read.
    ours = {**config, "auto.offset.reset": "earliest", "log_level": 0}
    consumer = Consumer({**ours, "group.id": f"{installation.prefix}halcyon-ingest"})
    described = consumer.list_topics(installation.topic(TopicName.ALERTS), TOLD_S).topics
    error = described[installation.topic(TopicName.ALERTS)].error
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    consumer.assign([TopicPartition(installation.topic(TopicName.PANES), 0, 0)])
    assert first_error(consumer) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    consumer.close()
    thief = Consumer({**ours, "group.id": f"{installation.prefix}halcyon-alert"})
    thief.subscribe([installation.topic(TopicName.PREDICTIONS)])
    assert first_error(thief) == KafkaError.GROUP_AUTHORIZATION_FAILED
    thief.close()


def first_error(consumer: Consumer) -> int | None:
    """The code of the first error that reading brings."""

    def ask() -> int | None:
        message = consumer.poll(1.0)
        if message is None:
            return None
        error = message.error()
        assert error is not None, f"read {message.value()!r}"
        return error.code()

    return wait_for("an error", ask, TOLD_S, until=lambda code: code is not None)
