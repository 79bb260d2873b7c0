"""Every query that is written down somewhere runs: those of docs/sql.md, and those that alerts carry."""

import re
from pathlib import Path

import numpy as np
import pytest

from deploy.local.clickhouse import LocalClickHouse
from detectors.drift.association import sureness
from detectors.histograms import binned
from detectors.quality.skew import FeatureSkew
from detectors.registry import REGISTRY, make
from detectors.slo.objectives import edge_ms
from schemas.findings import Finding, Kind, Severity
from schemas.scopes import Family, Scope
from streams.alert.evidence import sql_of
from streams.config.sections import ClickHouseSettings
from tests.integration.clickhouse_support import HOUR_MS, Database, baseline, migrated, numeric
from tests.laws.skew_alarms import reads
from tests.laws.skew_alarms import window as skew_window
from tests.laws.world import Seen, World

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "sql.md").read_text()
OTHERS = "".join((DOCS / name).read_text() for name in ("slo.md", "detectors/seasonal.md"))
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE + OTHERS, re.DOTALL)


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


def test_the_query_of_sureness_gives_what_the_detector_says(clickhouse: LocalClickHouse, database: str) -> None:
    rng = np.random.default_rng(4)
    before, now = rng.beta(0.5, 2, 4_000), rng.beta(3, 3, 700)
    edges = binned.quantile_edges(before)
    cells, seen = binned.histogram(before, edges), binned.histogram(now, edges)
    layout = {"layout": "b1", "bins": np.flatnonzero(seen).tolist(), "counts": seen[seen > 0].tolist()}
    with migrated(ClickHouseSettings(url=clickhouse.url, database=database)) as db:
        db.insert("baselines", [baseline(edges, cells, quantity="score", model="fraud")])
        db.insert("numerics", [numeric(now, HOUR_MS, quantity="score", model="fraud", window_s=60, **layout)])
        (row,) = db.rows(next(query for query in QUERIES if "sureness" in query))
    assert row["sureness"] == pytest.approx(sureness(seen, edges), rel=1e-12)
    assert row["sureness_before"] == pytest.approx(sureness(cells, edges), rel=1e-12)
    assert row["sureness_before"] == pytest.approx(np.abs(2 * before - 1).mean(), rel=0.02)


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
            for detector in REGISTRY:
                finding = Finding(
                    "f", scope, kind, detector, "features.amount", HOUR_MS, 60_000, True, Severity.TICKET, 1.0, 0.2,
                    0.0, 0.1, "PSI", 600, 0.9, HOUR_MS, "",
                )  # fmt: skip
                db.client.query(sql_of(finding))


def test_the_query_of_a_burn_gives_the_detectors_numbers(clickhouse: LocalClickHouse, database: str) -> None:
    rng = np.random.default_rng(3)
    slo = {"name": "fast", "kind": "latency", "threshold_ms": 50.0, "objective_ratio": 0.98}
    scope = Scope(Family.PREDICTION, "m", "1")
    world, detector = World({scope: None}, slos=("fast",)), make("slo", {"slos": [slo]})
    minutes = [rng.lognormal(3, 0.5 + 0.01 * i, 300) for i in range(75)]
    starts = [HOUR_MS + 60_000 * i for i in range(len(minutes))]
    steps = [
        detector.step(world.window({scope: Seen(300, {"latency_ms": values})}, start))
        for values, start in zip(minutes, starts, strict=True)
    ]
    said = steps[-1]
    finding = Finding(
        "f", scope, Kind.SLO_BURN, "slo", said.quantity[0], starts[-1], 60_000, True, Severity.PAGE,
        float(said.score[0]), float(said.value[0]), float(said.reference[0]), 0.1, said.unit, 1, 0.9, HOUR_MS, "",
    )  # fmt: skip
    with migrated(ClickHouseSettings(url=clickhouse.url, database=database)) as db:
        db.insert("numerics", [numeric(v, s, window_s=60) for v, s in zip(minutes, starts, strict=True)])
        rows = {row["span_s"]: row for row in db.rows(sql_of(finding))}
    assert said.label == ["14.4x over 1 h"]
    assert rows[3_600]["bad_ratio"] == pytest.approx(said.value[0], rel=1e-12)
    assert rows[3_600]["events"] == said.rows[0] == 18_000
    assert min(rows[3_600]["burn"], rows[300]["burn"]) / 14.4 == pytest.approx(said.score[0], rel=1e-9)
    slow = np.concatenate(minutes[-5:]) > edge_ms(50.0)
    assert rows[300]["burn"] == pytest.approx(slow.mean() / 0.02, rel=1e-9)


def test_the_query_of_skew_gives_what_the_detector_says(clickhouse: LocalClickHouse, database: str) -> None:
    rng = np.random.default_rng(6)
    whole = {"quantity": "features.amount", "model": "fraud", "window_s": 300}
    noon = 1_772_366_400_000
    served = rng.lognormal(3, 1, 900)
    given = np.where(rng.random(1_000) < 0.2, np.nan, 3 + rng.lognormal(3, 1.2, 1_000))
    columns = reads(served[None], given[None])
    with migrated(ClickHouseSettings(url=clickhouse.url, database=database)) as db:
        db.insert("numerics", [
            numeric(served, noon, family="read", model_version="", segment="feature_set=card-history", **whole),
            numeric(given[:700], noon, model_version="1", **whole),
            numeric(given[700:], noon, model_version="2", **whole),
            numeric(given[:70] * 9, noon, model_version="1", segment="country=DE", **whole),
        ])  # fmt: skip
        (row,) = db.rows(next(query for query in QUERIES if "of_spread" in query))
        read = Scope(Family.READ, "fraud", "", "feature_set=card-history")
        finding = Finding(
            "f", read, Kind.SKEW, "skew", "features.amount", noon, 300_000, True,
            Severity.TICKET, 1.0, 0.2, 0.0, 0.1, "", 600, 0.9, noon, "",
        )  # fmt: skip
        told = db.rows(sql_of(finding))
    scores = FeatureSkew().step(skew_window(columns))
    of = max(row[f"of_{aspect}"] for aspect in ("mean", "scale", "spread", "nulls"))
    assert scores.label is not None
    assert row[f"of_{scores.label[0]}"] == pytest.approx(scores.score[0], rel=1e-9) == of
    assert (row["mean_served"], row["mean_given"]) == pytest.approx((served.mean(), np.nanmean(given)))
    assert [(one["family"], one["told_by"], one["rows"]) for one in told] == [
        ("read", "feature_set=card-history", 900), ("prediction", "1", 700), ("prediction", "2", 300),
    ]  # fmt: skip
