"""ClickHouse away, and the broker killed, while events flow."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from schemas.topics import TopicName
from tests.harness.expectations import check_alerts, check_everything, wait_slow
from tests.harness.installation import LEARNING, STAGES, Installation, installed
from tests.harness.oracle import Oracle
from tests.harness.playing import Playing
from tests.harness.telling import drawn_seed, tell
from tests.harness.traffic import MODELS, Slowdown, Traffic, a_while_ago

WALL_S = 45.0
EVENTS = 90_000
SPAN_MS = 1_200_000
SLOWDOWN = Slowdown(model=2, after_ms=600_000)
DOWN_S = 20.0


@pytest.fixture
def installation(kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path: Path) -> Iterator[Installation]:
    """All stages in one worker: what one of them waits for must not hold the others."""
    with installed(kafka, clickhouse, tmp_path, LEARNING) as fresh:
        fresh.start(*STAGES)
        fresh.wait_ready()
        yield fresh


def play(installation: Installation, traffic: Traffic) -> Playing:
    """The traffic, at its pace."""
    return Playing(traffic, installation.producer(), installation.topic(TopicName.PREDICTIONS), WALL_S)


def wait_until(installation: Installation, playing: Playing, at_ms: float) -> None:
    """Wait until the traffic has come so far."""
    while playing.at_ms < at_ms:
        installation.check_alive()
        time.sleep(0.05)


@pytest.mark.slow
def test_alerts_come_while_clickhouse_is_away(installation: Installation, clickhouse: LocalClickHouse) -> None:
    traffic = Traffic.make(21, EVENTS, a_while_ago(), SPAN_MS, late_ratio=0.002, slowdown=SLOWDOWN)
    with play(installation, traffic) as playing:
        wait_until(installation, playing, SLOWDOWN.after_ms - 200_000)
        clickhouse.kill()
        down = time.monotonic()
        wait_slow(installation, MODELS[SLOWDOWN.model])
        alerted_s = time.monotonic() - down
        assert not clickhouse.alive, "the alert must not have waited for the database"
        time.sleep(max(0.0, DOWN_S - alerted_s))
        down_s = time.monotonic() - down
        clickhouse.start()
        up = time.monotonic()
    check_everything(installation, Oracle(traffic))
    shown_s, alerts = time.monotonic() - up, check_alerts(installation, MODELS[SLOWDOWN.model])
    tell(f"ClickHouse away for {down_s:.0f} s, alert {alerted_s:.0f} s into it, all rows {shown_s:.0f} s after it")
    tell(f"alerts {alerts}")
    assert installation.stop() == {"-".join(STAGES): 0}


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_when_the_broker_is_killed(installation: Installation, kafka: LocalKafka) -> None:
    seed = drawn_seed()
    moments = sorted(random.Random(seed).uniform(0.15, 0.85) * SPAN_MS for _ in range(2))
    traffic = Traffic.make(seed, EVENTS, a_while_ago(), SPAN_MS, late_ratio=0.002, slowdown=SLOWDOWN)
    down_s = []
    with play(installation, traffic) as playing:
        for at_ms in moments:
            wait_until(installation, playing, at_ms)
            kafka.kill()
            down = time.monotonic()
            kafka.start()
            down_s.append(round(time.monotonic() - down, 1))
        wait_until(installation, playing, SPAN_MS)
    sent = time.monotonic()
    check_everything(installation, Oracle(traffic))
    shown_s, alerts = time.monotonic() - sent, check_alerts(installation, MODELS[SLOWDOWN.model])
    tell(f"broker away for {down_s} s; all rows {shown_s:.0f} s after the last event; alerts {alerts}")
    assert installation.stop() == {"-".join(STAGES): 0}
