"""A whole installation for one test: topics, tables and workers, on the broker and engine that all tests share."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from deploy.local.clickhouse import LocalClickHouse
from schemas import alerts
from schemas.alerts import Alert
from schemas.clickhouse import migrations
from schemas.topics import TopicName
from streams.cli.topics import declared
from streams.config import Settings, load_settings
from streams.sinks.clickhouse import ClickHouse
from streams.sinks.migrator import Migrator
from streams.topics import TopicAdmin
from tests.harness.fixtures import Brokers, fresh_database, fresh_prefix
from tests.harness.workers import Worker

STAGES = ("ingest", "analyse", "alert", "write")
_READ_S = 30.0

BASE: Final = {
    "HALCYON_TOPICS__PARTITIONS": "4",
    # The smallest that the broker allows: how long the partitions of a killed worker stay with it.
    "HALCYON_KAFKA__SESSION_TIMEOUT_S": "6",
    # Event time is played faster than it passes: a worker is ready all the same.
    "HALCYON_HEALTH__WATERMARK_DELAY_S": "604800",
    "HALCYON_CLICKHOUSE__BATCH_INTERVAL_S": "0.3",
    "HALCYON_CLICKHOUSE__RETRY_MAX_S": "2",
    # Idle closes decide by the clock; where a test wants lateness to be the oracle's, nothing is ever idle.
    "HALCYON_TIME__IDLE_TIMEOUT_S": "600",
}


LEARNING: Final = {
    # Fast learners: the run is short.
    "HALCYON_BASELINE__MIN_ROWS": "1000",
    "HALCYON_BASELINE__LEAD_S": "30",
    "HALCYON_SNAPSHOT_INTERVAL_S": "3",
}
"""For runs of a minute: learn soon, save often."""

KNOWING: Final = {
    # A baseline that is learned takes effect in the middle of longer windows; here every bin shall be exact.
    "HALCYON_BASELINE__MIN_ROWS": "1000000",
    "HALCYON_BASELINE__MIN_PANES": "10000",
    "HALCYON_SNAPSHOT_INTERVAL_S": "3",
}
"""For runs in which every baseline is there before the first event, see ``baselines``."""


@dataclass
class Installation:
    """Names, settings, and the processes that run.

    With ``supervised`` a worker that ended by itself is started again, as whatever runs workers in production does;
    ``revived`` has the last line of each.
    """

    kafka: Brokers
    clickhouse: LocalClickHouse
    prefix: str
    database: str
    folder: Path
    changes: Mapping[str, str]
    workers: dict[str, Worker] = field(default_factory=dict)
    supervised: bool = False
    revived: list[str] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        """The settings, as a worker's environment."""
        return {
            **BASE,
            "HALCYON_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap,
            "HALCYON_KAFKA__TOPIC_PREFIX": self.prefix,
            "HALCYON_CLICKHOUSE__URL": self.clickhouse.url,
            "HALCYON_CLICKHOUSE__DATABASE": self.database,
            **self.changes,
        }

    @property
    def settings(self) -> Settings:
        """The same, as the workers read them."""
        return load_settings(env=self.env)

    def topic(self, name: str) -> str:
        """A topic's full name."""
        return self.prefix + name

    def prepare(self) -> None:
        """Topics and tables."""
        settings = self.settings
        TopicAdmin({"bootstrap.servers": self.kafka.bootstrap}).apply(declared(settings))
        server = ClickHouse(settings.clickhouse, database=None)
        try:
            Migrator(server, self.database, migrations()).apply()
        finally:
            server.close()

    def add(self, *stages: str, name: str = "") -> Worker:
        """A worker that is to run ``stages``, with the settings as they are now; not started."""
        worker = Worker(name or "-".join(stages), stages, self.folder, self.env)
        self.workers[worker.name] = worker
        return worker

    def start(self, *stages: str, name: str = "") -> Worker:
        """A worker that runs ``stages``."""
        worker = self.add(*stages, name=name)
        worker.start()
        return worker

    def wait_ready(self) -> None:
        """Wait until all workers hold partitions."""
        for worker in self.workers.values():
            worker.wait_ready()

    def check_alive(self) -> None:
        """Fail, with its log, when a worker has ended; or start it again."""
        for worker in self.workers.values():
            if not worker.alive and self.supervised:
                self.revived.append(worker.log_tail(1))
                worker.start()
            assert worker.alive, f"{worker.name} has ended:\n{worker.log_tail()}"

    def stop(self) -> dict[str, int]:
        """Stop all workers in good order; their exit codes."""
        return {name: worker.stop() for name, worker in self.workers.items()}

    # -- asking ------------------------------------------------------------------------------------------------------

    def producer(self) -> Producer:
        """What a serving stack would write with."""
        return Producer(
            {
                "bootstrap.servers": self.kafka.bootstrap, "enable.idempotence": True, "linger.ms": 5,
                "message.max.bytes": 12 << 20, "queue.buffering.max.messages": 2_000_000, "compression.type": "lz4",
                "log_level": 0,  # what it says while brokers are away is expected
            }
        )  # fmt: skip

    def read(self, topic: str) -> list[Message]:
        """All messages of a topic up to its ends as they are now."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka.bootstrap, "group.id": f"{self.prefix}reader", "log_level": 3,
                "enable.auto.commit": False, "auto.offset.reset": "earliest", "fetch.message.max.bytes": 16 << 20,
            }
        )  # fmt: skip
        try:
            return list(_read_to_ends(consumer, self.topic(topic)))
        finally:
            consumer.close()

    def alerts(self) -> list[tuple[str, Alert]]:
        """(``ce_id``, body) of every alert event on the topic, in order."""
        found = []
        for message in self.read(TopicName.ALERTS):
            headers = dict(message.headers() or [])
            found.append((text(headers["ce_id"]), alerts.decode(message.value() or b"")))
        return found

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows out of the test's database."""
        client = self._client()
        try:
            return [tuple(row) for row in client.query(sql).result_rows]
        finally:
            client.close()

    def _client(self) -> Client:
        return clickhouse_connect.get_client(
            host=self.clickhouse.host, port=self.clickhouse.port, database=self.database
        )


def text(header: str | bytes | None) -> str:
    """A header's value."""
    return header.decode() if isinstance(header, bytes) else header or ""


def _read_to_ends(consumer: Consumer, topic: str) -> Iterator[Message]:
    partitions = consumer.list_topics(topic, _READ_S).topics[topic].partitions
    ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), _READ_S)[1] for p in partitions}
    left = {p: end for p, end in ends.items() if end}
    consumer.assign([TopicPartition(topic, p, 0) for p in left])
    while left:
        for message in consumer.consume(1_000, 1.0):
            if message.error() is not None:
                raise KafkaException(message.error())
            yield message
        at = consumer.position([TopicPartition(topic, p) for p in left])
        left = {place.partition: left[place.partition] for place in at if place.offset < left[place.partition]}


@contextmanager
def installed(
    kafka: Brokers, clickhouse: LocalClickHouse, folder: Path, changes: Mapping[str, str] | None = None
) -> Iterator[Installation]:
    """An installation with its topics and tables; its workers are ended with it."""
    with fresh_prefix(kafka) as prefix, fresh_database(clickhouse) as database:
        installation = Installation(kafka, clickhouse, prefix, database, folder, changes or {})
        try:
            installation.prepare()
            yield installation
        finally:
            for worker in installation.workers.values():
                if worker.alive:
                    worker.kill()
