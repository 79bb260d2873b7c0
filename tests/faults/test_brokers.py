"""One broker: frozen, killed and started again, while events flow. No worker ends of it."""

import time

import pytest

from deploy.local.kafka import LocalKafka
from tests.harness.cell import Cell, Play, failing
from tests.harness.cluster import KafkaCluster, frozen

FROZEN_S = 60.0
KILLS = 3
PATIENT = {
    # Sooner than a worker may wait for its broker: one that waits is alive.
    "HALCYON_HEALTH__TICK_AGE_S": "10",
    "HALCYON_HEALTH__BROKER_WAIT_S": "5",
}


@pytest.mark.matrix
@pytest.mark.slow
def test_a_broker_that_stands_still_for_a_minute(play: Play, kafka1: KafkaCluster, kafka: LocalKafka) -> None:
    with play(kafka1, PATIENT, wall_s=FROZEN_S + 25) as cell:
        cell.wait_until(0.15)
        with frozen(kafka):
            cell.hold(FROZEN_S, lambda: stays_alive(cell))
            assert any(check.endswith(".broker_wait_s") for check in failing(cell.worker))
        cell.recovered("broker frozen for a minute")
        cell.wait_until(1)
        assert not cell.installation.revived


@pytest.mark.matrix
@pytest.mark.slow
def test_no_worker_ends_when_the_broker_is_killed(play: Play, kafka1: KafkaCluster, kafka: LocalKafka) -> None:
    with play(kafka1, wall_s=35) as cell:
        for number in range(1, KILLS + 1):
            cell.wait_until(0.8 * number / KILLS)
            kafka.kill()
            down = time.monotonic()
            kafka.start()
            away_s = time.monotonic() - down
            cell.recovered(f"broker away for {away_s:.1f} s")
        cell.wait_until(1)


def stays_alive(cell: Cell) -> None:
    """Whoever runs workers restarts those whose ``/healthz`` says so: a broker's absence is no reason."""
    assert not failing(cell.worker, "/healthz")
