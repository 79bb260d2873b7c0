"""A migrated database and rows to put into it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.histograms import log
from schemas.clickhouse import migrations
from schemas.rows import CLOSED, TABLES
from streams.config.sections import ClickHouseSettings
from streams.sinks.clickhouse import connect
from streams.sinks.migrator import Migrator

HOUR_MS = 1_700_000_400_000 // 3_600_000 * 3_600_000
QS = np.array([0.5, 0.95, 0.99])
Floats = NDArray[np.float64]

SCOPE = {"family": "prediction", "model": "m", "model_version": "1", "segment": ""}


class Database:
    """A migrated database, with rows written by name."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        self.settings = settings
        self.client = connect(settings)
        self._tokens = count()

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        columns = [[row[name] for row in rows] for name in TABLES[table]]
        self.client.insert(table, columns, f"test-{next(self._tokens)}")

    def rows(self, sql: str) -> list[dict[str, Any]]:
        answer = self.client.query(sql)
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]

    def value(self, expression: str) -> Any:
        return self.client.query(f"SELECT {expression}").rows[0][0]


def numeric(values: Floats, start_ms: int, **changes: Any) -> dict[str, Any]:
    """A row of ``numerics`` for these values, NaN for null."""
    seen = values[~np.isnan(values)]
    bins, counts = log.histogram(seen)
    row = {
        **SCOPE, "quantity": "latency_ms", "window_s": 10, "start_ms": start_ms, "part": CLOSED, "version": 1,
        "rows": len(values), "count": len(seen), "layout": "", "bins": bins.tolist(), "counts": counts.tolist(),
        "mean": float(seen.mean()) if len(seen) else math.nan,
        "m2": float(((seen - seen.mean()) ** 2).sum()) if len(seen) else 0.0,
        "min": float(seen.min()) if len(seen) else math.nan,
        "max": float(seen.max()) if len(seen) else math.nan,
    }  # fmt: skip
    return row | changes


def array(values: NDArray[Any]) -> str:
    return f"[{','.join(repr(value) for value in values.tolist())}]"


def baseline(edges: Floats, counts: NDArray[np.int64], **changes: Any) -> dict[str, Any]:
    row = {
        "baseline_id": "b1", **SCOPE, "quantity": "score", "version": 1, "effective_from_ms": HOUR_MS,
        "built_from": "traffic", "rows": 10_000, "count": 10_000, "mean": 0.0, "m2": 9_999.0, "min": -4.0, "max": 4.0,
        "p50": 0.0, "p95": 1.64, "p99": 2.33, "edges": edges.tolist(), "counts": counts.tolist(), "values": [],
        "value_counts": [],
    }  # fmt: skip
    return row | changes


@contextmanager
def migrated(settings: ClickHouseSettings) -> Iterator[Database]:
    """The database of the settings, with all migrations."""
    found = Database(settings)
    Migrator(found.client, settings.database, migrations()).apply()
    yield found
    found.client.close()
