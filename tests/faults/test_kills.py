"""kill -9 of every stage, at random moments and between producing and committing, while events flow: nothing is lost,
nothing is counted twice, and one regression is one alert."""

import random
import time
from pathlib import Path

import pytest

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from schemas.topics import TopicName
from tests.harness.expectations import check_alerts
from tests.harness.installation import LEARNING, installed
from tests.harness.killing import Reaper
from tests.harness.playing import Playing
from tests.harness.telling import drawn_seed, tell
from tests.harness.traffic import MODELS, Slowdown, Traffic, a_while_ago
from tests.harness.verifier import Verifier

WALL_S = 60.0
EVENTS = 120_000
SPAN_MS = 1_500_000
KILLS = 12
SLOWDOWN = Slowdown(model=2, after_ms=750_000)

STEPS = {
    # Panes are out and acknowledged; nothing says so yet.
    "ingest": "after-panes",
    # The state is saved whole; the offset it stands for is not committed.
    "analyse": "after-state",
    # Alerts are on their way; whether they arrived, the next life must find out.
    "alert": "before-alerts",
    # Rows are in ClickHouse, and will come again.
    "write": "after-insert",
}


@pytest.mark.slow
def test_everything_is_exact_under_kill_9(kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path: Path) -> None:
    seed = drawn_seed()
    traffic = Traffic.make(seed, EVENTS, a_while_ago(), SPAN_MS, late_ratio=0.002, slowdown=SLOWDOWN)
    with installed(kafka, clickhouse, tmp_path, LEARNING) as installation:
        workers = {stage: installation.start(stage) for stage in STEPS}
        reaper = Reaper(workers, random.Random(seed))
        installation.wait_ready()
        began = time.monotonic()
        with Playing(traffic, installation.producer(), installation.topic(TopicName.PREDICTIONS), WALL_S) as playing:
            reaper.run(STEPS, KILLS, 0.85 * WALL_S, lambda: playing.over)
        reaper.settle()
        verified = Verifier(installation).check()
        alerts = check_alerts(installation, MODELS[SLOWDOWN.model])
        took_s = time.monotonic() - began
        assert installation.stop() == dict.fromkeys(STEPS, 0)
    assert sum(reaper.kills.values()) >= 10
    assert set(reaper.kills) == set(STEPS)
    assert set(reaper.at_steps) == set(filter(None, STEPS.values()))
    tell(f"{verified}; {reaper.report()}; {took_s:.0f} s; alerts {alerts}")
