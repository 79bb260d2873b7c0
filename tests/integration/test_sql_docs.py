"""Every query that is written down somewhere runs: those of docs/sql.md, and those that alerts carry."""

import re
from pathlib import Path

import numpy as np

from deploy.local.clickhouse import LocalClickHouse
from detectors.histograms import binned
from schemas.findings import Finding, Kind, Severity
from schemas.scopes import Family, Scope
from streams.alert.evidence import sql_of
from streams.config.sections import ClickHouseSettings
from tests.integration.clickhouse_support import HOUR_MS, Database, baseline, migrated, numeric

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sql.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


def fill(db: Database) -> None:
    """A window of everything, in bins of a baseline and without."""
    edges = np.linspace(0, 1, 33)
    values = np.linspace(0, 1, 600)
    cells = binned.histogram(values, edges)
    whole = {"model": "fraud", "window_s": 60}
    for quantity in ("latency_ms", "features.amount"):
        db.insert("baselines", [baseline(edges, cells, quantity=quantity, model="fraud")])
    db.insert("numerics", [
        numeric(values, HOUR_MS, quantity="latency_ms", **whole),
        numeric(values, HOUR_MS, quantity="features.amount", layout="b1", bins=np.flatnonzero(cells).tolist(),
                counts=cells[cells > 0].tolist(), **whole),
    ])  # fmt: skip


def test_every_query_of_the_page_runs(clickhouse: LocalClickHouse, database: str) -> None:
    assert len(QUERIES) > 10
    with migrated(ClickHouseSettings(url=clickhouse.url, database=database)) as db:
        fill(db)
        for query in QUERIES:
            db.client.query(query)
        drift = next(query for query in QUERIES if "FROM drift" in query)
        assert len(db.rows(drift)) == 1


def test_the_page_names_every_view_and_function(clickhouse: LocalClickHouse, database: str) -> None:
    with migrated(ClickHouseSettings(url=clickhouse.url, database=database)) as db:
        names = db.rows("SELECT name FROM system.tables WHERE database = currentDatabase()")
        names += db.rows("SELECT name FROM system.functions WHERE startsWith(name, 'halcyon_')")
    missing = [row["name"] for row in names if f"`{row['name']}" not in PAGE]
    assert missing == []


def test_the_page_names_every_column_of_every_view(clickhouse: LocalClickHouse, database: str) -> None:
    everywhere = {"family", "model", "model_version", "segment", "window_s", "start"}
    with migrated(ClickHouseSettings(url=clickhouse.url, database=database)) as db:
        columns = db.rows("SELECT table, name FROM system.columns WHERE database = currentDatabase()")
    described = dict(re.findall(r"^\| `(\w+)` \| (.*)$", PAGE, re.MULTILINE))
    described["alert_history"] += described["alerts"]
    for row in columns:
        if row["name"] not in everywhere and not row["table"].endswith("_raw") and row["table"] != "schema_migrations":
            assert f"`{row['name']}`" in described[row["table"]], row


def test_the_query_of_every_kind_of_alert_runs(clickhouse: LocalClickHouse, database: str) -> None:
    scope = Scope(Family.PREDICTION, "it's", "1", "country=DE")
    with migrated(ClickHouseSettings(url=clickhouse.url, database=database)) as db:
        for kind in Kind:
            for detector in ("psi", "wasserstein"):
                finding = Finding(
                    "f", scope, kind, detector, "features.amount", HOUR_MS, 60_000, True, Severity.TICKET, 1.0, 0.2,
                    0.0, 0.1, "PSI", 600, 0.9, HOUR_MS, "",
                )  # fmt: skip
                db.client.query(sql_of(finding))
