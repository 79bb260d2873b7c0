"""Every query of every runbook runs: nobody finds out at three in the morning that a column has another name."""

import re
import textwrap
from pathlib import Path

import pytest

from deploy.local.clickhouse import LocalClickHouse
from schemas.findings import Kind
from streams.alert.policy import AlertPolicy
from streams.config.sections import ClickHouseSettings
from tests.integration.clickhouse_support import migrated

ROOT = Path(__file__).resolve().parents[2]


def queries(kind: Kind) -> list[str]:
    page = (ROOT / AlertPolicy().runbook(kind.value, "")).read_text()
    return [textwrap.dedent(block) for block in re.findall(r"```sql\n(.*?)```", page, re.DOTALL)]


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_has_a_page_with_three_checks(kind: Kind) -> None:
    assert len(queries(kind)) == 3


def test_their_queries_run(clickhouse: LocalClickHouse, database: str) -> None:
    with migrated(ClickHouseSettings(url=clickhouse.url, database=database)) as db:
        for kind in Kind:
            for query in queries(kind):
                db.client.query(query)
