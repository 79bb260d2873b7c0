"""What tests of faults share with the integration tests: a broker, a ClickHouse engine, fresh names on them."""

import pytest

from tests.harness.cell import play
from tests.harness.fixtures import clickhouse, clickhouse_client, database, kafka, kafka1, kafka3, topic_prefix
from tests.harness.telling import tell

__all__ = ["clickhouse", "clickhouse_client", "database", "kafka", "kafka1", "kafka3", "play", "topic_prefix"]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A run takes long: what failed is told at once, not at its end."""
    if report.failed:
        tell(f"\n{report.nodeid} failed:\n{report.longreprtext}")
