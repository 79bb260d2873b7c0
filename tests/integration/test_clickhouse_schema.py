"""The schema on ClickHouse's real engine: migrations, views and functions against the same numbers from numpy."""

from __future__ import annotations

import gc
import math
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deploy.local.clickhouse import LocalClickHouse
from detectors.drift.psi import psi
from detectors.drift.wasserstein import wasserstein
from detectors.histograms import binned
from schemas.clickhouse import migrations
from schemas.rows import CLOSED, TABLES
from streams.config.sections import ClickHouseSettings
from streams.errors import HalcyonError
from streams.sinks.clickhouse import connect, physical_table
from streams.sinks.migrator import Migrator
from tests.integration.clickhouse_support import HOUR_MS, QS, SCOPE, Database, Floats, baseline, migrated, numeric


@pytest.fixture
def clickhouse_settings(clickhouse: LocalClickHouse, database: str) -> ClickHouseSettings:
    return ClickHouseSettings(url=clickhouse.url, database=database)


@pytest.fixture
def db(clickhouse_settings: ClickHouseSettings) -> Iterator[Database]:
    with migrated(clickhouse_settings) as found:
        yield found


def assert_is(row: Mapping[str, Any], values: Floats) -> None:
    """The row of ``windows`` describes these values."""
    seen = values[~np.isnan(values)]
    assert (row["rows"], row["count"], row["nulls"]) == (len(values), len(seen), len(values) - len(seen))
    assert row["mean"] == pytest.approx(seen.mean(), rel=1e-9)
    assert row["sum"] == pytest.approx(seen.sum(), rel=1e-9)
    assert row["stddev"] == pytest.approx(seen.std(ddof=1), rel=1e-9)
    assert (row["min"], row["max"]) == (seen.min(), seen.max())
    assert sum(row["counts"]) == len(seen)
    for name, exact in zip(("p50", "p95", "p99"), np.quantile(seen, QS, method="inverted_cdf"), strict=True):
        assert row[name] == pytest.approx(exact, rel=0.01)


class TestMigrations:
    def test_a_new_database_is_created_and_a_second_run_does_nothing(
        self, clickhouse: LocalClickHouse, database: str
    ) -> None:
        settings = ClickHouseSettings(url=clickhouse.url, database=f"{database}_new")
        client = connect(settings, database=None)
        try:
            migrator = Migrator(client, settings.database, migrations())
            assert migrator.plan() == migrations()
            assert migrator.apply() == migrations()
            assert migrator.plan() == migrator.apply() == []
            recorded = client.query(
                f"SELECT version, checksum FROM {settings.database}.schema_migrations ORDER BY 1"
            ).rows
            assert [tuple(row) for row in recorded] == [(one.version, one.checksum) for one in migrations()]
        finally:
            client.command(f"DROP DATABASE IF EXISTS {settings.database}")
            client.close()

    def test_every_file_can_be_run_again(self, db: Database) -> None:
        db.insert(
            "volumes", [{**SCOPE, "window_s": 10, "start_ms": 0, "part": CLOSED, "version": 1, "rows": 3, "late": 0}]
        )
        db.client.command("TRUNCATE TABLE schema_migrations")
        assert Migrator(db.client, db.settings.database, migrations()).apply() == migrations()
        assert [row["rows"] for row in db.rows("SELECT rows FROM volume")] == [3]

    def test_two_at_once_end_as_one(self, clickhouse_settings: ClickHouseSettings) -> None:
        errors: list[HalcyonError] = []

        def run() -> None:
            client = connect(clickhouse_settings, database=None)
            try:
                Migrator(client, clickhouse_settings.database, migrations()).apply()
            except HalcyonError as error:
                errors.append(error)
            finally:
                client.close()

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        client = connect(clickhouse_settings)
        assert Migrator(client, clickhouse_settings.database, migrations()).plan() == []
        client.close()

    def test_a_changed_file_is_refused(self, db: Database) -> None:
        first, *others = migrations()
        changed = [replace(first, checksum="0" * 64), *others]
        with pytest.raises(HalcyonError, match=r"0001_tables\.sql has changed"):
            Migrator(db.client, db.settings.database, changed).apply()

    def test_a_database_from_the_future_is_refused(self, db: Database) -> None:
        with pytest.raises(HalcyonError, match=f"at schema version {len(migrations())}, this release knows 1"):
            Migrator(db.client, db.settings.database, migrations()[:1]).plan()

    def test_a_failing_file_is_named_and_not_recorded(self, db: Database) -> None:
        broken = replace(migrations()[0], version=len(migrations()) + 1, name="broken", sql="SELECT 1; SELECT nope;")
        with pytest.raises(HalcyonError, match=rf"statement 2 of {broken.file}"):
            Migrator(db.client, db.settings.database, [*migrations(), broken]).apply()
        assert Migrator(db.client, db.settings.database, [*migrations(), broken]).plan() == [broken]

    def test_tables_take_what_the_stages_send(self, db: Database) -> None:
        for table, columns in TABLES.items():
            described = db.rows(f"DESCRIBE TABLE {physical_table(table)}")
            assert [row["name"] for row in described][:-1] == list(columns)


def ids(events: int, sampled: int, repeated: int, more: int, **changes: Any) -> dict[str, Any]:
    """A row of ``ids``: ``more`` events than ids in the sample."""
    row = {
        **SCOPE, "window_s": 60, "start_ms": HOUR_MS, "part": CLOSED, "version": 1, "rows": events + 1,
        "events": events, "sampled": sampled, "repeated": repeated, "sampled_events": sampled + more,
    }  # fmt: skip
    return row | changes


class TestCompleteness:
    def test_what_is_wholly_null_has_a_window_that_says_so(self, db: Database) -> None:
        nothing = np.full(40, np.nan)
        db.insert("numerics", [numeric(nothing, HOUR_MS)])
        (row,) = db.rows("SELECT * FROM windows")
        assert (row["rows"], row["count"], row["nulls"], row["null_ratio"]) == (40, 0, 40, 1.0)
        assert row["mean"] is row["min"] is row["max"] is row["p50"] is None

    @pytest.mark.parametrize("null", [CLOSED, 3])
    def test_a_part_without_a_value_changes_nulls_and_nothing_else(self, db: Database, null: int) -> None:
        values = np.random.default_rng(3).lognormal(2, 0.5, 500)
        edges = np.linspace(0, 30, 33)
        base = baseline(edges, np.ones(34, np.int64), quantity="latency_ms")
        cells, counts = np.unique(np.searchsorted(edges, values, side="right"), return_counts=True)
        binned = {"layout": "b1", "bins": cells.tolist(), "counts": counts.tolist()}
        full = 0 if null == CLOSED else CLOSED
        db.insert("baselines", [base])
        db.insert("numerics", [numeric(values, HOUR_MS, part=full, **binned)])
        (alone,) = db.rows("SELECT * FROM windows")
        db.insert("numerics", [numeric(np.full(60, np.nan), HOUR_MS, part=null)])
        (both,) = db.rows("SELECT * FROM windows")
        assert (both["rows"], both["nulls"]) == (560, 60)
        same = ("count", "mean", "min", "max", "p50", "p95", "p99", "layout", "bins", "counts")
        assert {name: both[name] for name in same} == {name: alone[name] for name in same}
        assert both["p95"] is not None

    def test_numbers_and_texts_of_a_field_stand_beside_each_other(self, db: Database) -> None:
        values = np.array([1.0, 2.0, np.nan, np.nan, np.nan, np.nan])
        text = {
            **SCOPE, "quantity": "features.items", "counter": False, "window_s": 10, "start_ms": HOUR_MS,
            "part": CLOSED, "version": 1, "rows": 6, "values": ["3", "4"], "counts": [2, 1],
        }  # fmt: skip
        db.insert("numerics", [numeric(values, HOUR_MS, quantity="features.items")])
        absent = {"quantity": "features.kind", "values": [], "counts": []}
        db.insert("categories", [text, text | absent, text | {"quantity": "status", "counter": True}])
        kind, items = db.rows("SELECT * FROM completeness ORDER BY quantity DESC")
        assert [items[name] for name in ("rows", "numbers", "texts", "nulls")] == [6, 2, 3, 1]
        assert items["text_ratio"] == pytest.approx(0.6)
        assert [kind[name] for name in ("rows", "numbers", "texts", "nulls", "null_ratio")] == [6, 0, 0, 6, 1.0]
        assert kind["text_ratio"] is None

    def test_repeats_are_estimated_from_the_sample(self, db: Database) -> None:
        db.insert("ids", [ids(1_000, 200, 50, 100), ids(20, 20, 0, 0, part=7), ids(9, 0, 0, 0, model="none")])
        none, own = db.rows("SELECT * FROM duplicates ORDER BY model DESC")
        assert (own["rows"], own["events"]) == (1_022, 1_020)
        assert own["repeated_ratio"] == pytest.approx(50 / 220)
        assert own["repeated_ratio_error"] == pytest.approx(np.sqrt(50 / 220 * 170 / 220 / 220))
        assert own["duplicate_ratio"] == pytest.approx(1 - 220 / 320)
        assert own["duplicates"] == pytest.approx(1_020 * (1 - 220 / 320))
        assert none["duplicate_ratio"] is none["repeated_ratio"] is none["duplicates"] is None


class TestWindows:
    def test_a_closed_window(self, db: Database) -> None:
        values = np.random.default_rng(1).lognormal(4, 1.5, 5_000)
        values[::50] = np.nan
        db.insert("numerics", [numeric(values, HOUR_MS)])
        (row,) = db.rows("SELECT * FROM windows")
        assert_is(row, values)
        assert row["start"].timestamp() * 1000 == HOUR_MS
        assert row["null_ratio"] == pytest.approx(0.02)

    def test_late_parts_are_added(self, db: Database) -> None:
        random = np.random.default_rng(2)
        # A mean far above the spread: adding squares would lose the deviations.
        parts = [random.normal(1e6 + i, 1.0, size) for i, size in enumerate((3_000, 40, 7, 1))]
        db.insert("numerics", [numeric(part, HOUR_MS, part=i - 1) for i, part in enumerate(parts)])
        (row,) = db.rows("SELECT * FROM windows")
        assert_is(row, np.concatenate(parts))

    def test_a_replay_counts_once_and_a_correction_replaces(self, db: Database) -> None:
        random = np.random.default_rng(3)
        first, more, late = (random.lognormal(3, 1, size) for size in (500, 700, 20))
        closed, corrected = numeric(first, HOUR_MS), numeric(more, HOUR_MS, version=2)
        for rows in ([closed], [closed, numeric(late, HOUR_MS, part=4)], [corrected], [closed], [closed, corrected]):
            db.insert("numerics", rows)
        (row,) = db.rows("SELECT * FROM windows")
        assert_is(row, np.concatenate([more, late]))
        db.client.command("OPTIMIZE TABLE numerics_raw FINAL")
        (row,) = db.rows("SELECT * FROM windows")
        assert_is(row, np.concatenate([more, late]))

    def test_windows_merge_over_any_span(self, db: Database) -> None:
        random = np.random.default_rng(4)
        panes = [random.lognormal(3 + i / 20, 1, 300) for i in range(30)]
        db.insert("numerics", [numeric(pane, HOUR_MS + i * 10_000) for i, pane in enumerate(panes)])
        (row,) = db.rows(
            "SELECT sum(count) AS n, sumMap(bins, counts) AS cells, "
            "arrayMap(q -> halcyon_quantile(q, cells.1, cells.2), [0.5, 0.95, 0.99]) AS quantiles FROM windows"
        )
        everything = np.concatenate(panes)
        assert row["n"] == 9_000
        assert row["quantiles"] == pytest.approx(np.quantile(everything, QS, method="inverted_cdf"), rel=0.01)

    def test_every_length_has_rows_of_its_own(self, db: Database) -> None:
        values = np.random.default_rng(5).lognormal(3, 1, 100)
        db.insert("numerics", [numeric(values, HOUR_MS, window_s=length) for length in (10, 60, 300, 3600)])
        rows = db.rows("SELECT * FROM windows ORDER BY window_s")
        assert [row["window_s"] for row in rows] == [10, 60, 300, 3600]
        for row in rows:
            assert_is(row, values)

    def test_a_window_without_values_has_nulls_and_no_numbers(self, db: Database) -> None:
        db.insert("numerics", [numeric(np.full(5, np.nan), HOUR_MS)])
        (row,) = db.rows("SELECT * FROM windows")
        assert (row["rows"], row["count"], row["nulls"], row["null_ratio"]) == (5, 0, 5, 1.0)
        assert [row[name] for name in ("mean", "stddev", "min", "max", "p50", "p95", "p99")] == [None] * 7

    def test_an_empty_late_part_changes_nothing(self, db: Database) -> None:
        values = np.random.default_rng(6).lognormal(3, 1, 100)
        db.insert("numerics", [numeric(values, HOUR_MS), numeric(np.full(3, np.nan), HOUR_MS, part=2)])
        (row,) = db.rows("SELECT * FROM windows")
        assert_is(row, np.concatenate([values, np.full(3, np.nan)]))

    def test_bins_of_a_baseline_use_its_edges(self, db: Database) -> None:
        random = np.random.default_rng(7)
        edges = binned.quantile_edges(random.normal(0, 1, 10_000))
        values = random.normal(0.3, 1.2, 4_000)
        cells = binned.histogram(values, edges)
        present = np.flatnonzero(cells)
        db.insert("baselines", [baseline(edges, binned.histogram(random.normal(0, 1, 10_000), edges))])
        db.insert("numerics", [
            numeric(values, HOUR_MS, quantity="score", layout="b1", bins=present.tolist(),
                    counts=cells[present].tolist())
        ])  # fmt: skip
        (row,) = db.rows("SELECT * FROM windows")
        wanted = binned.quantile(cells, edges, QS, float(values.min()), float(values.max()))
        assert [row["p50"], row["p95"], row["p99"]] == pytest.approx(wanted.tolist(), rel=1e-9)

    def test_bins_that_cannot_be_added_are_not_added(self, db: Database) -> None:
        values = np.random.default_rng(8).lognormal(3, 1, 100)
        other = numeric(values, HOUR_MS, part=3, layout="b1", bins=[1], counts=[100])
        db.insert("numerics", [numeric(values, HOUR_MS), other])
        (row,) = db.rows("SELECT * FROM windows")
        assert (row["count"], row["p95"], row["bins"]) == (200, None, [])

    def test_years_of_replayed_data_fit_into_one_insert(self, db: Database) -> None:
        month_ms = 31 * 86_400_000
        rows = [numeric(np.ones(3), 946_684_800_000 + i * month_ms) for i in range(300)]
        db.insert("numerics", rows)
        assert db.value("count() FROM windows") == 300

    def test_rows_are_let_go_once_they_are_in(self, db: Database) -> None:
        class Column(list[Any]):
            """A list that can be watched."""

        row = numeric(np.ones(3), HOUR_MS)
        columns = [Column([row[name]]) for name in TABLES["numerics"]]
        watched = [weakref.ref(column) for column in columns]
        gc.disable()
        try:
            db.client.insert("numerics", columns, "token")
            del columns
            assert [rows for ref in watched if (rows := ref()) is not None] == []
        finally:
            gc.enable()


class TestOtherViews:
    def test_volume_adds_parts(self, db: Database) -> None:
        def volume(part: int, rows: int, late: int) -> dict[str, Any]:
            return {
                **SCOPE,
                "window_s": 10,
                "start_ms": HOUR_MS,
                "part": part,
                "version": 1,
                "rows": rows,
                "late": late,
            }

        for _ in range(2):
            db.insert("volumes", [volume(CLOSED, 100, 1), volume(0, 5, 5), volume(1, 7, 7)])
        (row,) = db.rows("SELECT * FROM volume")
        assert (row["rows"], row["late"], row["rows_per_s"]) == (112, 13, 11.2)

    def test_categories_and_errors(self, db: Database) -> None:
        def counted(quantity: str, counter: bool, part: int, values: list[str], counts: list[int]) -> dict[str, Any]:
            return {
                **SCOPE, "quantity": quantity, "counter": counter, "window_s": 60, "start_ms": HOUR_MS, "part": part,
                "version": 1, "rows": sum(counts), "values": values, "counts": counts,
            }  # fmt: skip

        db.insert("categories", [
            counted("status", True, CLOSED, ["ok", "timeout"], [90, 4]),
            counted("status", True, 0, ["ok", "oom"], [5, 1]),
            counted("country", False, CLOSED, ["de", "fr"], [60, 34]),
        ])  # fmt: skip
        found = db.rows("SELECT quantity, value, count, ratio FROM categories ORDER BY quantity, value")
        assert [(row["quantity"], row["value"], row["count"]) for row in found] == [
            ("country", "de", 60), ("country", "fr", 34), ("status", "ok", 95), ("status", "oom", 1),
            ("status", "timeout", 4),
        ]  # fmt: skip
        assert found[2]["ratio"] == pytest.approx(0.95)
        (errors,) = db.rows("SELECT * FROM errors")
        assert (errors["rows"], errors["errors"], errors["error_ratio"]) == (100, 5, 0.05)

    def test_drift_recomputes_what_the_detectors_said(self, db: Database) -> None:
        random = np.random.default_rng(9)
        edges = binned.quantile_edges(random.normal(0, 1, 5_000))
        reference = binned.histogram(random.normal(0, 1, 5_000), edges)
        db.insert("baselines", [baseline(edges, reference)])
        windows = [binned.histogram(random.normal(i / 10, 1, 600), edges) for i in range(5)]
        db.insert("numerics", [
            numeric(np.ones(600), HOUR_MS + i * 60_000, window_s=60, quantity="score", layout="b1",
                    bins=np.flatnonzero(cells).tolist(), counts=cells[cells > 0].tolist())
            for i, cells in enumerate(windows)
        ])  # fmt: skip
        rows = db.rows("SELECT psi, wasserstein FROM drift WHERE quantity = 'score' ORDER BY start")
        current, references = np.array(windows), np.tile(reference, (5, 1))
        assert [row["psi"] for row in rows] == pytest.approx(psi(current, references)[0].tolist(), rel=1e-9)
        wanted = wasserstein(current, references, np.tile(edges, (5, 1)))[0]
        assert [row["wasserstein"] for row in rows] == pytest.approx(wanted.tolist(), rel=1e-9)

    def test_drift_of_a_segment_and_after_a_new_baseline(self, db: Database) -> None:
        random = np.random.default_rng(12)
        edges = binned.quantile_edges(random.normal(0, 1, 5_000))
        whole, newer, own = (binned.histogram(random.normal(shift, 1, 5_000), edges) for shift in (0.0, 0.5, 1.0))
        in_force = {"effective_from_ms": HOUR_MS - 60_000}
        db.insert("baselines", [
            baseline(edges, whole, **in_force),
            # In force from the middle of the second window: what that window was compared with when it closed.
            baseline(edges, newer, baseline_id="b2", effective_from_ms=HOUR_MS + 90_000),
            baseline(edges, own, baseline_id="s1", segment="country=DE", **in_force),
        ])  # fmt: skip
        cells = binned.histogram(random.normal(1, 1, 600), edges)
        common = {"window_s": 60, "quantity": "score", "bins": np.flatnonzero(cells).tolist()}
        common |= {"counts": cells[cells > 0].tolist()}
        db.insert("numerics", [
            numeric(np.ones(600), HOUR_MS, layout="b1", **common),
            numeric(np.ones(600), HOUR_MS + 60_000, layout="b2", **common),
            numeric(np.ones(600), HOUR_MS, layout="b1", segment="country=DE", **common),
        ])  # fmt: skip
        rows = db.rows("SELECT segment, baseline_id, psi FROM drift ORDER BY segment, start")
        assert [(row["segment"], row["baseline_id"]) for row in rows] == [("", "b1"), ("", "b2"), ("country=DE", "s1")]
        wanted = psi(np.tile(cells, (3, 1)), np.array([whole, newer, own]))[0]
        assert [row["psi"] for row in rows] == pytest.approx(wanted.tolist(), rel=1e-9)

    def test_scores_and_findings_show_one_row_per_key(self, db: Database) -> None:
        score = {
            **SCOPE, "quantity": "score", "detector": "psi", "window_s": 60, "start_ms": HOUR_MS, "version": 1,
            "score": 0.3, "value": 0.3, "baseline": 0.0, "threshold": 0.1, "noise": 0.02, "p_value": math.nan,
            "rows": 600, "firing": True, "baseline_id": "b1",
        }  # fmt: skip
        finding = {
            **SCOPE, "quantity": "score", "detector": "psi", "kind": "score_drift", "window_s": 60, "start_ms": HOUR_MS,
            "version": 1, "id": "f1", "firing": True, "severity": "warning", "score": 3.0, "value": 0.3,
            "baseline": 0.0, "threshold": 0.1, "unit": "PSI", "rows": 600, "confidence": 0.9,
            "since_ms": HOUR_MS - 60_000, "summary": "drifts", "baseline_id": "b1",
        }  # fmt: skip
        for version in (1, 2, 1):
            db.insert("scores", [score | {"version": version, "score": float(version)}])
            db.insert("findings", [finding | {"version": version}])
        assert [row["score"] for row in db.rows("SELECT score FROM scores")] == [2.0]
        (found,) = db.rows("SELECT * FROM findings")
        assert (found["id"], found["firing"], found["since"].timestamp() * 1000) == ("f1", True, HOUR_MS - 60_000)

    def test_alerts_are_the_last_word_of_each_episode(self, db: Database) -> None:
        def event(episode: str, version: int, status: str, ends_ms: int | None) -> dict[str, Any]:
            return {
                "id": episode, "version": version, "fingerprint": "f", "status": status, "severity": "warning",
                "starts_ms": HOUR_MS, "ends_ms": ends_ms, "updated_ms": HOUR_MS + version, **SCOPE, "kind": "drift",
                "summary": "s", "description": "d", "labels": {"alertname": "ModelDrift"}, "body": "{}",
            }  # fmt: skip

        for _ in range(2):
            db.insert("alerts", [event("a", 1, "firing", None), event("b", 1, "firing", 0)])
            db.insert("alerts", [event("a", 2, "resolved", HOUR_MS + 2)])
        assert db.value("count() FROM alert_history") == 3
        rows = db.rows("SELECT id, status, ends, labels FROM alerts ORDER BY id")
        assert [(row["id"], row["status"], row["ends"] is None) for row in rows] == [
            ("a", "resolved", False),
            ("b", "firing", True),
        ]
        assert rows[0]["labels"] == {"alertname": "ModelDrift"}

    def test_baselines_of_a_name_that_is_number_and_text(self, db: Database) -> None:
        edges = np.linspace(0, 1, 33)
        none: dict[str, Any] = {"edges": [], "counts": [], "values": ["a"], "value_counts": [5]}
        text = baseline(edges, np.ones(34, np.int64)) | none
        for _ in range(2):
            db.insert("baselines", [baseline(edges, np.ones(34, np.int64)), text])
        assert db.value("count() FROM baselines") == 2
