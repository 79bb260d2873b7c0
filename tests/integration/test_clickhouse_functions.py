"""The SQL functions and the client on ClickHouse's real engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deploy.local.clickhouse import LocalClickHouse
from detectors.drift.psi import psi
from detectors.drift.wasserstein import wasserstein
from detectors.histograms import binned, log
from schemas.rows import CLOSED, TABLES
from streams.config.sections import ClickHouseSettings
from streams.sinks.clickhouse import ClickHouse, connect
from streams.sinks.errors import ClickHouseRefusedError, ClickHouseUnavailableError, Reason
from tests.integration.clickhouse_support import HOUR_MS, SCOPE, Database, Floats, array, migrated, numeric


@pytest.fixture
def clickhouse_settings(clickhouse: LocalClickHouse, database: str) -> ClickHouseSettings:
    return ClickHouseSettings(url=clickhouse.url, database=database)


@pytest.fixture
def db(clickhouse_settings: ClickHouseSettings) -> Iterator[Database]:
    with migrated(clickhouse_settings) as found:
        yield found


def within_cell(cells: NDArray[np.int64], edges: Floats, q: float, low: float, high: float) -> float:
    """The q-quantile of a BinnedHistogram, linear within the cell in which the distribution reaches q."""
    reached = np.cumsum(cells)
    wanted = q * reached[-1]
    cell = int(np.flatnonzero((reached >= wanted) & (reached > 0))[0])
    bounds = [min(low, edges[0]), *edges, max(high, edges[-1])]
    share = (wanted - (reached[cell] - cells[cell])) / cells[cell]
    return float(np.clip(bounds[cell] + (bounds[cell + 1] - bounds[cell]) * share, low, high))


class TestFunctions:
    def test_bins_and_their_values_are_the_histograms_own(self, db: Database) -> None:
        random = np.random.default_rng(10)
        values = np.concatenate([random.lognormal(0, 20, 400) * random.choice([-1, 1], 400), [0.0, 1e-9, -1e-9, 1e300]])
        bins = log.bins_of(values)
        answer = db.client.query(
            f"SELECT halcyon_bin(v), halcyon_bin_value(halcyon_bin(v)) FROM (SELECT arrayJoin({array(values)}) AS v)"
        )
        assert [row[0] for row in answer.rows] == bins.tolist()
        assert [row[1] for row in answer.rows] == pytest.approx(log.values_of(bins).tolist(), rel=1e-12)

    @pytest.mark.parametrize("size", [1, 2, 100, 5_000])
    def test_quantiles_of_log_histograms(self, db: Database, size: int) -> None:
        random = np.random.default_rng(size)
        values = random.lognormal(3, 2, size) * random.choice([-1, 1], size, p=[0.1, 0.9])
        bins, counts = log.histogram(values)
        qs = np.array([0.0, 0.01, 0.07, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0])
        found = db.value(f"arrayMap(q -> halcyon_quantile(q, {array(bins)}, {array(counts)}), {array(qs)})")
        assert found == pytest.approx(log.quantile(bins, counts, qs).tolist(), rel=1e-12)
        # At 0.07 numpy takes 0.07 * 100 for more than 7.
        exact = np.quantile(values, qs[qs != 0.07], method="inverted_cdf")
        assert np.array(found)[qs != 0.07] == pytest.approx(exact, rel=0.0100001)

    def test_quantiles_of_nothing(self, db: Database) -> None:
        assert math.isnan(db.value("halcyon_quantile(0.5, CAST([], 'Array(Int16)'), CAST([], 'Array(UInt64)'))"))

    @pytest.mark.parametrize("seed", range(8))
    def test_quantiles_of_binned_histograms(self, db: Database, seed: int) -> None:
        random = np.random.default_rng(seed)
        edges = binned.quantile_edges(random.normal(0, 1, 2_000))
        values = random.normal(seed - 4, 0.5 + seed, int(random.integers(1, 400)))
        cells = binned.histogram(values, edges)
        present = np.flatnonzero(cells)
        qs = np.array([0.0, 0.1, 0.5, 0.9, 0.95, 0.99, 1.0])
        low, high = float(values.min()), float(values.max())
        arguments = f"{array(edges)}, {array(present)}, {array(cells[present])}, {low!r}, {high!r}"
        found = db.value(f"arrayMap(q -> halcyon_quantile_binned(q, {arguments}), {array(qs)})")
        wanted = [within_cell(cells, edges, q, low, high) for q in qs.tolist()]
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9)
        assert binned.quantile(cells, edges, qs, low, high) == pytest.approx(wanted, rel=1e-9, abs=1e-9)

    @pytest.mark.parametrize("seed", range(12))
    def test_distances_are_the_detectors_own(self, db: Database, seed: int) -> None:
        random = np.random.default_rng(seed)
        even = [0.05, 0.3, 5.0][seed % 3]
        reference = random.multinomial(int(random.integers(200, 5_000)), random.dirichlet(np.full(34, even)))
        current = random.multinomial(int(random.integers(20, 5_000)), random.dirichlet(np.full(34, even)))
        edges = np.cumsum(random.exponential(size=33)) + 1e6 * (seed % 2)
        found = db.value(f"halcyon_psi({array(reference)}, {array(current)})")
        assert found == pytest.approx(psi(current[None], reference[None])[0][0], rel=1e-9)
        found = db.value(f"halcyon_wasserstein({array(edges)}, {array(reference)}, {array(current)})")
        assert found == pytest.approx(wasserstein(current[None], reference[None], edges[None])[0][0], rel=1e-9)

    def test_dense_cells(self, db: Database) -> None:
        assert db.value("halcyon_dense([0, 5, 33], [7, 8, 9])") == [7, 0, 0, 0, 0, 8, *[0] * 27, 9]


class TestClient:
    def test_a_wrong_statement_is_refused_in_clickhouses_words(self, db: Database) -> None:
        with pytest.raises(ClickHouseRefusedError, match=r"^Unknown expression .*nope") as caught:
            db.client.query("SELECT nope")
        assert (caught.value.code, caught.value.reason) == (47, Reason.SCHEMA)
        assert "DB::Exception" not in caught.value.what

    def test_a_missing_table_says_to_migrate(self, clickhouse_settings: ClickHouseSettings) -> None:
        client = connect(clickhouse_settings)
        with pytest.raises(ClickHouseRefusedError, match="halcyon migrate") as caught:
            client.insert("volumes", [["x"] for _ in TABLES["volumes"]], "t")
        assert caught.value.reason is Reason.SCHEMA
        client.close()

    @pytest.mark.parametrize(("column", "bad"), [("mean", None), ("start_ms", "x"), ("counts", [-1]), ("bins", None)])
    def test_a_row_that_does_not_fit_is_told_from_a_server_that_is_away(
        self, db: Database, column: str, bad: Any
    ) -> None:
        with pytest.raises(ClickHouseRefusedError, match="does not fit") as caught:
            db.insert("numerics", [numeric(np.ones(3), HOUR_MS) | {column: bad}])
        assert caught.value.reason is Reason.DATA
        db.insert("numerics", [numeric(np.ones(3), HOUR_MS)])
        assert db.value("count() FROM windows") == 1

    def test_a_server_that_is_away(self) -> None:
        client: ClickHouse = connect(ClickHouseSettings(url="http://127.0.0.1:9"))
        with pytest.raises(ClickHouseUnavailableError, match="Connection refused") as caught:
            client.query("SELECT 1")
        assert caught.value.reason is Reason.UNREACHABLE
        client.close()

    def test_a_repeated_token_is_dropped(self, db: Database) -> None:
        row = {**SCOPE, "window_s": 10, "start_ms": 0, "part": CLOSED, "version": 1, "rows": 3, "late": 0}
        columns = [[row[name]] for name in TABLES["volumes"]]
        for _ in range(2):
            db.client.insert("volumes", columns, "same")
        assert db.value("count() FROM volumes_raw") == 1
