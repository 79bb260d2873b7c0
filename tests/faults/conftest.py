"""What tests of faults share with the integration tests: a broker, a ClickHouse engine, fresh names on them."""

from tests.harness.fixtures import clickhouse, clickhouse_client, database, kafka, topic_prefix

__all__ = ["clickhouse", "clickhouse_client", "database", "kafka", "topic_prefix"]
