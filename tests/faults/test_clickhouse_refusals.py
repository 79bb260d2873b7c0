"""ClickHouse that is there and does not do what it is asked: refusing, slow, failing to say that it has done it."""

import time
from collections.abc import Iterator

import pytest

from deploy.local.clickhouse import LocalClickHouse
from tests.harness.cell import SLOWDOWN, Cell, Play, failing, metric
from tests.harness.cluster import KafkaCluster
from tests.harness.expectations import wait_slow
from tests.harness.http_proxy import CODES, ClickHouseProxy
from tests.harness.traffic import MODELS
from tests.harness.waiting import wait_for

INSERT_AGE = "write.insert_age_s"
AGAIN = "ClickHouse takes rows again"
LOST = 8


@pytest.fixture
def proxy(clickhouse: LocalClickHouse) -> Iterator[ClickHouseProxy]:
    with ClickHouseProxy(clickhouse.port) as between:
        yield between


def through(proxy: ClickHouseProxy) -> dict[str, str]:
    """Workers that reach ClickHouse through the proxy, and complain of waiting rows after four seconds."""
    return {"HALCYON_CLICKHOUSE__URL": proxy.url, "HALCYON_HEALTH__INSERT_AGE_S": "4"}


@pytest.mark.matrix
@pytest.mark.slow
def test_refusals_are_waited_out_and_said(play: Play, kafka1: KafkaCluster, proxy: ClickHouseProxy) -> None:
    with play(kafka1, through(proxy), wall_s=50) as cell:
        reasons = cell.rng.sample(sorted(CODES), len(CODES))
        for number, reason in enumerate(reasons):
            cell.wait_until(0.1 + 0.8 * number / len(reasons))
            shown = cell.rows_shown()
            with proxy.refusing(CODES[reason]):
                began = time.monotonic()
                wait_said(cell, reason)
                refused_s = time.monotonic() - began
            cell.recovered(f"{reason} for {refused_s:.0f} s", cell.rows_shown)
            assert cell.rows_shown() > shown
            # The load that waited is durable when all of its tables are: only then does the next refusal begin.
            wait_for("it is said", lambda: cell.worker.log().count(AGAIN), 60, until=(number + 1).__le__)
            wait_for("ready again", lambda: INSERT_AGE not in failing(cell.worker), 60)
        assert cell.worker.log().count(AGAIN) == len(reasons)
        cell.wait_until(1)
    assert proxy.counts["refused"] >= len(reasons)


@pytest.mark.matrix
@pytest.mark.slow
def test_alerts_go_on_while_clickhouse_refuses(play: Play, kafka1: KafkaCluster, proxy: ClickHouseProxy) -> None:
    with play(kafka1, through(proxy)) as cell:
        cell.wait_until(0.3)
        with proxy.refusing(CODES["disk_full"]):
            cell.hold(1)
            shown = cell.rows_shown()
            wait_slow(cell.installation, MODELS[SLOWDOWN.model])
            assert cell.rows_shown() == shown, "rows arrived though every insert was refused"
        cell.recovered("an alert without a database", cell.rows_shown)
        cell.wait_until(1)


@pytest.mark.matrix
@pytest.mark.slow
def test_inserts_that_take_seconds_are_only_slow(play: Play, kafka1: KafkaCluster, proxy: ClickHouseProxy) -> None:
    with play(kafka1, through(proxy)) as cell, proxy.slow(1.5):
        wait_slow(cell.installation, MODELS[SLOWDOWN.model])
        cell.wait_until(1)


@pytest.mark.matrix
@pytest.mark.slow
def test_an_insert_whose_answer_is_lost_counts_once(play: Play, kafka1: KafkaCluster, proxy: ClickHouseProxy) -> None:
    with play(kafka1, through(proxy)) as cell:
        for number in range(1, LOST + 1):
            cell.wait_until(0.1 + 0.8 * number / LOST)
            # Clients try such an insert once more by themselves: of two in a row the worker hears.
            proxy.lose_answers(2)
        cell.recovered("answers lost", cell.rows_shown)
        cell.wait_until(1)
        cell.told.append(f"answers lost: {proxy.counts['lost']}")
    assert proxy.counts["lost"] >= LOST


def wait_said(cell: Cell, reason: str) -> None:
    """Wait until the worker says on every channel that its rows wait, and why."""
    wait_for("readyz names it", lambda: INSERT_AGE in failing(cell.worker), 30)
    assert failing(cell.worker, "/healthz") == []
    assert metric(cell.worker, "halcyon_insert_failures_total", reason=reason) >= 1
    assert "ClickHouse takes no rows, waiting for it" in cell.worker.log()
    assert f"reason={reason}" in cell.worker.log()
