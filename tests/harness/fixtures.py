"""A real broker and a real ClickHouse engine for the whole run; a fresh topic prefix and database for each test."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, Self

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from tests.harness.cluster import KafkaCluster

_ADMIN_TIMEOUT_S = 30.0
_COMING_BACK = (
    KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)  # fmt: skip


class Brokers(Protocol):
    """What topics are made on: one broker or several."""

    @property
    def bootstrap(self) -> str:
        """Addresses for clients."""
        ...

    @property
    def alive(self) -> bool:
        """Whether all of it runs."""
        ...

    def start(self) -> Self:
        """Start what does not run."""
        ...


@pytest.fixture(scope="session")
def kafka1() -> Iterator[KafkaCluster]:
    """Run one broker for all tests, which can also be reached through a network that fails on demand."""
    # Not pytest's own temporary folders: those of the last runs are kept.
    with tempfile.TemporaryDirectory(prefix="halcyon-kafka-") as folder, KafkaCluster(Path(folder)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kafka(kafka1: KafkaCluster) -> LocalKafka:
    """The same broker by itself; a test that kills it starts it again."""
    return kafka1.nodes[0]


@pytest.fixture(scope="module")
def kafka3() -> Iterator[KafkaCluster]:
    """Run three brokers for the tests of a file, which mend what they do to them. Idle ones take CPU: no longer."""
    with (
        tempfile.TemporaryDirectory(prefix="halcyon-kafka3-") as folder,
        KafkaCluster(Path(folder), nodes=3, heap_mb=256) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="session")
def clickhouse() -> Iterator[LocalClickHouse]:
    """Run one ClickHouse endpoint for all tests; a test that kills it starts it again."""
    with tempfile.TemporaryDirectory(prefix="halcyon-clickhouse-") as folder, LocalClickHouse(Path(folder)) as endpoint:
        yield endpoint


@pytest.fixture
def topic_prefix(kafka: LocalKafka) -> Iterator[str]:
    """Random start of names: topics and groups that begin with it are deleted after the test."""
    with fresh_prefix(kafka) as prefix:
        yield prefix


@pytest.fixture
def database(clickhouse: LocalClickHouse) -> Iterator[str]:
    """Random database, dropped after the test."""
    with fresh_database(clickhouse) as name:
        yield name


@pytest.fixture
def clickhouse_client(clickhouse: LocalClickHouse, database: str) -> Iterator[Client]:
    """Client of the test's database."""
    client = clickhouse_connect.get_client(host=clickhouse.host, port=clickhouse.port, database=database)
    yield client
    client.close()


@contextmanager
def fresh_prefix(kafka: Brokers) -> Iterator[str]:
    """A random start of names, for as long as the block lasts."""
    prefix = f"t{uuid.uuid4().hex[:10]}-"
    try:
        yield prefix
    finally:
        if not kafka.alive:
            kafka.start()
        _delete_all(kafka, prefix)


@contextmanager
def fresh_database(clickhouse: LocalClickHouse) -> Iterator[str]:
    """A random database, for as long as the block lasts."""
    name = f"t{uuid.uuid4().hex[:10]}"
    _command(clickhouse, f"CREATE DATABASE {name}")
    try:
        yield name
    finally:
        if not clickhouse.alive:
            clickhouse.start()
        _command(clickhouse, f"DROP DATABASE {name}")


def _delete_all(kafka: Brokers, prefix: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    groups = admin.list_consumer_groups().result(_ADMIN_TIMEOUT_S).valid
    used_groups = [group.group_id for group in groups if group.group_id.startswith(prefix)]
    if used_groups:
        _delete_groups(admin, used_groups)
    used_topics = [name for name in admin.list_topics(timeout=_ADMIN_TIMEOUT_S).topics if name.startswith(prefix)]
    if used_topics:
        for deletion in admin.delete_topics(used_topics).values():
            _wait_unless(deletion, KafkaError.UNKNOWN_TOPIC_OR_PART)


def _delete_groups(admin: AdminClient, names: list[str]) -> None:
    """Tries again for a while: a broker that has just come back first has to find out which groups are its own."""
    deadline_s = time.monotonic() + _ADMIN_TIMEOUT_S
    while True:
        try:
            for deletion in admin.delete_consumer_groups(names).values():
                _wait_unless(deletion, KafkaError.NON_EMPTY_GROUP, KafkaError.GROUP_ID_NOT_FOUND)
        except KafkaException as error:
            if error.args[0].code() not in _COMING_BACK or time.monotonic() > deadline_s:
                raise
            time.sleep(0.5)
        else:
            return


def _wait_unless(future: object, *tolerated: int) -> None:
    try:
        future.result(_ADMIN_TIMEOUT_S)  # type: ignore[attr-defined]
    except KafkaException as error:
        if error.args[0].code() not in tolerated:
            raise


def _command(clickhouse: LocalClickHouse, statement: str) -> None:
    client = clickhouse_connect.get_client(host=clickhouse.host, port=clickhouse.port)
    try:
        client.command(statement)
    finally:
        client.close()
