"""Dead letters that cannot be written stop ingest, loudly and again and again; once they can, nothing is missing."""

from collections import Counter
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not exported by its type hints
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from schemas.topics import TopicName
from streams.cli.topics import declared
from streams.topics import TopicAdmin
from tests.harness.cell import Cell, Play, metric
from tests.harness.cluster import KafkaCluster
from tests.harness.expectations import check_everything
from tests.harness.installation import Installation, text
from tests.harness.oracle import Oracle
from tests.harness.verifier import Verifier
from tests.harness.waiting import wait_for

BAD = 40
ENDED_S = 120.0


def deleted(installation: Installation, admin: AdminClient) -> None:
    """Somebody has deleted the topic."""
    topic = installation.topic(TopicName.DEAD_LETTERS)
    admin.delete_topics([topic])[topic].result(30)


def refusing(installation: Installation, admin: AdminClient) -> None:
    """The brokers take nothing for it any more."""
    largest = ConfigEntry("max.message.bytes", "1", incremental_operation=AlterConfigOpType.SET)
    topic = installation.topic(TopicName.DEAD_LETTERS)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[largest])
    admin.incremental_alter_configs([resource])[resource].result(30)


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.parametrize("broken", [deleted, refusing])
def test_ingest_stops_rather_than_drop(
    play: Play, kafka1: KafkaCluster, broken: Callable[[Installation, AdminClient], None]
) -> None:
    with play(kafka1, supervised=True, wall_s=40) as cell:
        installation = cell.installation
        admin = AdminClient({"bootstrap.servers": kafka1.bootstrap, "log_level": 0})
        cell.wait_until(0.1)
        sent = bad(cell, b"before")
        wait_for("the first letters", lambda: letters(installation).keys() >= sent, 30)
        before = letters(installation)
        broken(installation, admin)
        sent |= bad(cell, b"while it cannot be written")
        wait_for("the worker ends", lambda: ended(cell), ENDED_S)
        said = cell.worker.log()
        assert "failed: " in said
        assert TopicName.DEAD_LETTERS in said.partition("failed: ")[2]
        # Started again, it comes to the same messages, and goes no further.
        wait_for("it ends again", lambda: ended(cell) >= 2, ENDED_S)
        TopicAdmin({"bootstrap.servers": kafka1.bootstrap}).apply(declared(installation.settings))
        cell.recovered(f"dead letters {broken.__name__}")
        cell.wait_until(1)
        kept = before | wait_for(
            "all letters", lambda: letters(installation), 90, until=lambda found: before.keys() | found.keys() >= sent
        )
        cell.told.append(f"{len(sent)} bad messages, {sum(kept.values())} letters, worker ended {ended(cell)} times")
        assert kept.keys() == sent


@pytest.mark.matrix
@pytest.mark.slow
def test_a_bad_batch_of_rows_is_buried_and_counted_once(play: Play, kafka1: KafkaCluster) -> None:
    # The verifier reads rows, and knows no bad ones: the windows alone are compared.
    with play(kafka1, check=check_windows) as cell:
        topic, producer = cell.installation.topic(TopicName.ROWS), cell.installation.producer()
        cell.wait_until(0.5)
        producer.produce(topic, b"\x07 no rows", partition=0)
        assert producer.flush(30) == 0
        wait_for("its letter", lambda: letters(cell.installation), 30)
        assert list(letters(cell.installation).values()) == [1]
        assert metric(cell.worker, "halcyon_dead_letter_events_total", topic=topic) == 1
        cell.wait_until(1)


def check_windows(installation: Installation) -> str:
    """Every number of every window."""
    raw = Verifier(installation).raw()
    check_everything(installation, Oracle(raw.traffic))
    return "windows compared"


def bad(cell: Cell, words: bytes) -> set[tuple[str, str, str]]:
    """Send bad messages to every partition; where they are."""
    sent: set[tuple[str, str, str]] = set()
    producer, topic = cell.installation.producer(), cell.installation.topic(TopicName.PREDICTIONS)
    for number in range(BAD):
        producer.produce(
            topic, b"{oops " + words, partition=number % cell.traffic.partitions,
            on_delivery=lambda _, message: sent.add((topic, str(message.partition()), str(message.offset()))),
        )  # fmt: skip
    assert producer.flush(30) == 0
    assert len(sent) == BAD
    return sent


def letters(installation: Installation) -> Counter[tuple[str, str, str]]:
    """(topic, partition, offset) of the messages that stand among the dead letters, and how often each."""
    try:
        found = installation.read(TopicName.DEAD_LETTERS)
    except KafkaException:
        return Counter()
    told = ({name: text(value) for name, value in dict(message.headers() or []).items()} for message in found)
    return Counter((t["halcyon_topic"], t["halcyon_partition"], t["halcyon_offset"]) for t in told)


def ended(cell: Cell) -> int:
    """How often a worker has ended by itself."""
    cell.installation.check_alive()
    return len(cell.installation.revived)
