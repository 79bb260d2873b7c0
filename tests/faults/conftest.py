"""What tests of faults share with the integration tests: a broker, a ClickHouse engine, fresh names on them."""

from tests.harness.cell import play
from tests.harness.fixtures import clickhouse, clickhouse_client, database, kafka, kafka1, kafka3, topic_prefix

__all__ = ["clickhouse", "clickhouse_client", "database", "kafka", "kafka1", "kafka3", "play", "topic_prefix"]
