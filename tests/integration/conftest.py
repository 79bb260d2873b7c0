"""What integration tests share with the tests of faults: a broker, a ClickHouse engine, fresh names on them."""

from tests.harness.fixtures import clickhouse, clickhouse_client, database, kafka, kafka1, kafka3, topic_prefix
from tests.harness.secure_kafka import secure_kafka

__all__ = [
    "clickhouse",
    "clickhouse_client",
    "database",
    "kafka",
    "kafka1",
    "kafka3",
    "secure_kafka",
    "topic_prefix",
]
