"""Baselines from a span of stored windows: the sum of their counts, or an error that says why not."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.local.clickhouse import LocalClickHouse
from detectors.baseline import from_table
from detectors.histograms import binned, log
from schemas.baselines import Baseline
from schemas.rows import CLOSED
from schemas.scopes import Family, Scope
from streams.baseline_files import load
from streams.cli import baseline as commands
from streams.cli.app import run
from streams.cli.context import err, out
from streams.config.sections import ClickHouseSettings
from tests.integration.clickhouse_support import HOUR_MS, SCOPE, Database, Floats, baseline, migrated, numeric

MODEL = Scope(Family.PREDICTION, "m", "1")
HOUR = 3_600_000
HOURS = 26
"""More than a day: two hours of it come twice."""
EDGES = np.linspace(-3, 3, 33)


@pytest.fixture
def db(clickhouse: LocalClickHouse, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setenv("HALCYON_CLICKHOUSE__URL", clickhouse.url)
    monkeypatch.setenv("HALCYON_CLICKHOUSE__DATABASE", database)
    monkeypatch.setattr(commands, "_known", lambda _: [in_force()])
    out.cache_clear()
    err.cache_clear()
    with migrated(ClickHouseSettings(url=clickhouse.url, database=database)) as found:
        yield found
    out.cache_clear()
    err.cache_clear()


def in_force() -> Baseline:
    """What the scope has: rows of two features."""
    rows = np.random.default_rng(9).normal(size=(400, 2))
    columns = {"features.amount": rows[:, 0], "features.age": rows[:, 0] + rows[:, 1]}
    return from_table(MODEL, columns, built_from="test", effective_from_ms=HOUR_MS)


def values_of(hour: int, quantity: str) -> Floats:
    rng = np.random.default_rng([hour, len(quantity)])
    values: Floats = np.exp(rng.normal(3, 0.3, 300)) if quantity == "latency_ms" else rng.normal(hour / 50, 1, 300)
    return values


def binned_row(hour: int, quantity: str, layout: str) -> dict[str, Any]:
    values = values_of(hour, quantity)
    cells = binned.histogram(values, EDGES)
    used = np.flatnonzero(cells)
    histogram = {"layout": layout, "bins": used.tolist(), "counts": cells[used].tolist()}
    return numeric(values, HOUR_MS + hour * HOUR, quantity=quantity, window_s=3600, **(histogram if layout else {}))


def fill(db: Database, layouts: dict[int, str] | None = None) -> None:
    """The hours of a model; ``layouts`` are those that are not of ``b1``."""
    for name in ("features.amount", "features.age"):
        db.insert("baselines", [baseline(EDGES, np.ones(34, np.int64), quantity=name)])
    rows, volumes, texts = [], [], []
    for hour in range(HOURS):
        at = {**SCOPE, "window_s": 3600, "start_ms": HOUR_MS + hour * HOUR, "part": CLOSED, "version": 1, "rows": 300}
        layout = (layouts or {}).get(hour, "b1")
        rows += [binned_row(hour, name, layout) for name in ("features.amount", "features.age")]
        rows.append(numeric(values_of(hour, "latency_ms"), HOUR_MS + hour * HOUR, window_s=3600))
        volumes.append({**at, "late": 0})
        texts.append({**at, "quantity": "features.kind", "counter": False, "values": ["a", "b"], "counts": [100, 200]})
        texts.append({**at, "quantity": "status", "counter": True, "values": ["ok", "bad"], "counts": [290, 10]})
    db.insert("numerics", rows)
    db.insert("volumes", volumes)
    db.insert("categories", texts)


def build(file: Path, first: int = 0, last: int = HOURS) -> int:
    since, until = (iso(HOUR_MS + hour * HOUR) for hour in (first, last))
    scope = ["--model", "m", "--model-version", "1"]
    span = ["--since", since, "--until", until]
    return run(["baseline", "build", "--from", "clickhouse", *scope, *span, "--out", str(file)])


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def test_the_counts_are_those_of_the_windows(db: Database, tmp_path: Path) -> None:
    fill(db)
    assert build(tmp_path / "b") == 0
    made = load(tmp_path / "b")
    assert (made.scope, made.rows, made.learned_days, made.layout) == (MODEL, HOURS * 300, -1, "b1")
    assert made.rows / made.panes == pytest.approx(300 / 360)
    parts = {part.name: part for part in made.numeric}
    amounts = np.concatenate([values_of(hour, "features.amount") for hour in range(HOURS)])
    assert parts["features.amount"].edges == EDGES.tobytes()
    assert np.frombuffer(parts["features.amount"].counts, "<u4").tolist() == binned.histogram(amounts, EDGES).tolist()
    assert parts["features.amount"].mean == pytest.approx(amounts.mean(), rel=1e-9)
    assert parts["features.amount"].m2 == pytest.approx(((amounts - amounts.mean()) ** 2).sum(), rel=1e-9)
    latencies = np.concatenate([values_of(hour, "latency_ms") for hour in range(HOURS)])
    bins, counts = log.histogram(latencies)
    assert np.frombuffer(parts["latency_ms"].log_bins, "<i2").tolist() == bins.tolist()
    assert np.frombuffer(parts["latency_ms"].log_counts, "<u4").tolist() == counts.tolist()
    kind = next(part for part in made.categories if part.name == "features.kind")
    assert dict(zip(kind.values, kind.counts, strict=True)) == {"a": 100 * HOURS, "b": 200 * HOURS}
    assert made.counters[0].name == "status"
    # Rows are not stored: those of the baseline in force stay.
    assert made.sample == in_force().sample
    assert made.joint is not None
    assert made.joint.names == made.sample_names


def test_a_span_in_several_layouts_is_refused_by_name(
    db: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(db, dict.fromkeys(range(20), ""))
    assert build(tmp_path / "b") == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "features.age were counted in layouts that cannot be added" in told
    assert "LogHistogram from" in told
    assert "b1 from" in told
    assert build(tmp_path / "b", first=20) == 0
    assert load(tmp_path / "b").rows == 6 * 300
    assert build(tmp_path / "c", last=20) == 0
    edges = {part.name: part.edges for part in load(tmp_path / "c").numeric}["features.amount"]
    assert edges not in (b"", EDGES.tobytes()), "quantiles of the LogHistograms"


def test_a_span_without_windows_is_refused(db: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(tmp_path / "b") == 2
    assert "There are no windows of m 1" in " ".join(capsys.readouterr().err.split())
    assert run(["baseline", "build", "--from", "clickhouse", "--model", "m"]) != 0
    assert "Since when?" in capsys.readouterr().err
