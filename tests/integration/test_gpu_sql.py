"""The query that an alert about a GPU carries gives the number that the alert shows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from deploy.local.clickhouse import LocalClickHouse
from detectors.decision import DecisionBank
from detectors.protocol import Scores
from detectors.registry import REGISTRY, make
from schemas.findings import Finding, Severity
from schemas.rows import CLOSED
from schemas.scopes import Family, Scope
from streams.alert.evidence import sql_of
from streams.config.sections import ClickHouseSettings
from tests.integration.clickhouse_support import HOUR_MS, Database, migrated, numeric
from tests.laws.world import Seen, World

HOST = tuple(Scope(Family.GPU, "node-1", f"GPU-{i}") for i in range(3))
Windows = Sequence[Mapping[Scope, Seen]]


def gauges(**values: float) -> Seen:
    return Seen(5, {name: np.full(5, value) for name, value in values.items()})


def last(kind: str, windows: Windows) -> tuple[Scores, Finding]:
    """The scores of the last window, and its finding about the first GPU, which must fire."""
    world, detector, bank = World(dict.fromkeys(HOST)), make(kind), DecisionBank()
    size_ms = detector.window_s * 1000
    steps = []
    for i, seen in enumerate(windows):
        start = HOUR_MS + i * size_ms
        scores = detector.step(world.window(seen, start, size_ms))
        steps.append((start, scores, bank.decide(scores, start, size_ms)))
    start, scores, decided = steps[-1]
    assert decided.firing[0]
    since = int(decided.since_ms[0])
    return scores, Finding(
        "f", HOST[0], REGISTRY[kind].finding, kind, scores.quantity[0], start, size_ms, True, Severity.TICKET,
        float(scores.score[0]), float(scores.value[0]), 0.0, 0.0, scores.unit, 5, 1.0, since, "",
    )  # fmt: skip


def written(db: Database, kind: str, windows: Windows) -> None:
    size_s = make(kind).window_s
    numerics: list[dict[str, Any]] = []
    counted: list[dict[str, Any]] = []
    for i, window in enumerate(windows):
        start = HOUR_MS + i * size_s * 1000
        for scope, seen in window.items():
            of = {"family": "gpu", "model": scope.model, "model_version": scope.model_version, "window_s": size_s}
            numerics += [numeric(values, start, quantity=name, **of) for name, values in seen.numeric.items()]
            counted += [
                {**of, "segment": "", "quantity": name, "counter": True, "start_ms": start, "part": CLOSED,
                 "version": 1, "rows": seen.rows, "values": list(counts), "counts": list(counts.values())}
                for name, counts in seen.counters.items()
            ]  # fmt: skip
    for table, rows in (("numerics", numerics), ("categories", counted)):
        if rows:
            db.insert(table, rows)


def answer(clickhouse: LocalClickHouse, database: str, kind: str, windows: Windows) -> tuple[Scores, list[Any]]:
    scores, finding = last(kind, windows)
    with migrated(ClickHouseSettings(url=clickhouse.url, database=database)) as db:
        written(db, kind, windows)
        return scores, db.rows(sql_of(finding))


def test_xids_of_a_spell(clickhouse: LocalClickHouse, database: str) -> None:
    seen = [
        Seen(5, counters={"xid": {"31": n, "79": m}} if n or m else {}) for n, m in [(1, 0), (0, 0), (2, 1), (0, 0)]
    ]
    scores, rows = answer(clickhouse, database, "gpu_xid", [{HOST[0]: one} for one in seen])
    assert {row["value"]: row["errors"] for row in rows} == {"31": 3, "79": 1}
    assert sum(row["errors"] for row in rows) == scores.value[0]


def test_uncorrected_errors_of_a_spell(clickhouse: LocalClickHouse, database: str) -> None:
    windows = [{HOST[0]: gauges(ecc_uncorrected_total=total)} for total in (7.0, 7.0, 8.0, 8.0, 10.0)]
    scores, rows = answer(clickhouse, database, "gpu_ecc", windows)
    assert sum(row["errors"] for row in rows) == scores.value[0] == 3


def test_corrected_errors_of_the_last_hour(clickhouse: LocalClickHouse, database: str) -> None:
    grown = np.where(np.arange(200) < 150, 0, np.arange(200) % 14)
    windows = [{HOST[0]: gauges(ecc_corrected_total=float(total))} for total in np.cumsum(grown)]
    scores, rows = answer(clickhouse, database, "gpu_ecc_rate", windows)
    assert [row["errors"] for row in rows] == [scores.value[0]]


def test_hours_wasted(clickhouse: LocalClickHouse, database: str) -> None:
    windows = [{HOST[0]: gauges(utilization_ratio=busy, memory_used_bytes=2.0**35)} for busy in [0.5] * 3 + [0.02] * 31]
    scores, (row,) = answer(clickhouse, database, "gpu_idle", windows)
    assert scores.note is not None
    assert scores.note(0) == f"{row['gpu_hours']:.1f} GPU-hours wasted so far, {row['held_gib']:.1f} GiB held"
    assert (row["windows"], row["busiest"]) == (31, pytest.approx(scores.value[0]))


def test_growth_of_memory(clickhouse: LocalClickHouse, database: str) -> None:
    used = 40e9 + 4e8 * np.arange(20) + 1e7 * np.random.default_rng(1).normal(size=20)
    windows = [{HOST[0]: gauges(memory_used_bytes=float(u), memory_total_bytes=80e9)} for u in used]
    scores, rows = answer(clickhouse, database, "gpu_leak", windows)
    assert {row["span_h"]: row["gib_per_h"] for row in rows}[1] == pytest.approx(scores.value[0])


def test_clocks_of_a_host(clickhouse: LocalClickHouse, database: str) -> None:
    clocks = [1.3e9, 1.88e9, 1.9e9]
    window = {
        gpu: gauges(sm_clock_hz=clock, sm_clock_max_hz=2e9, utilization_ratio=0.7)
        for gpu, clock in zip(HOST, clocks, strict=True)
    }
    scores, rows = answer(clickhouse, database, "gpu_slow", [window] * 5)
    found = {row["gpu_uuid"]: row["clock_mhz"] for row in rows}
    assert found["GPU-0"] == scores.value[0]
    assert np.median([found["GPU-1"], found["GPU-2"]]) == scores.reference[0]
