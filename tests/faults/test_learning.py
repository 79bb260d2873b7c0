"""kill -9 of analyse, again and again, while it learns whole days and lays what was read beside what models were given.

What it remembers here reaches back a day, and over two topics: a life that follows must remember the same.
"""

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from confluent_kafka import Producer

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from schemas.baselines import Baseline, decode
from schemas.codecs import encode_arrow
from schemas.findings import Finding, Kind
from schemas.topics import TopicName
from tests.harness.installation import STAGES, Installation, installed
from tests.harness.killing import Reaper
from tests.harness.telling import Recorder, drawn_seed, tell
from tests.harness.traffic import HOUR_MS, a_while_ago
from tests.harness.verifier import Verifier
from tests.harness.waiting import wait_for

ACTIVE_H: Final = (*range(8), *range(24, 32))
"""Traffic of office hours: a day and what follows it, in half the windows."""
SKEWED_H: Final = 28
STEP_MS: Final = 300_000
STEPS: Final = [n for n in range(400) if n * STEP_MS // HOUR_MS in ACTIVE_H]
EVENTS: Final = 80
"""Of each topic, in each step."""
WALL_S: Final = 60.0
KILLS: Final = 6
SETTINGS: Final = {
    "HALCYON_TOPICS__PARTITIONS": "1",
    "HALCYON_TIME__PANE_S": "60",
    "HALCYON_BASELINE__MIN_ROWS": "300",
    "HALCYON_BASELINE__MIN_PANES": "20",
    "HALCYON_BASELINE__LEARN_DAYS": "1",
    "HALCYON_SNAPSHOT_INTERVAL_S": "3",
}


def messages(rng: np.random.Generator, start_ms: int) -> Iterator[list[tuple[TopicName, bytes]]]:
    """What comes in each step, in both topics. Amounts follow the hour; in the end models are given cents."""
    for number in STEPS:
        ts_ms = start_ms + number * STEP_MS + np.sort(rng.integers(0, STEP_MS, EVENTS))
        evening = np.sin((ts_ms - start_ms) / HOUR_MS / 24 * 2 * np.pi)
        amount = np.exp(rng.normal(3, 1, EVENTS) + 0.5 * evening)
        kind = np.where(rng.random(EVENTS) < 0.5 + 0.3 * evening, "card", "sepa").tolist()
        asked = {
            "ts_ms": ts_ms,
            "event_id": [f"{number}-{i}" for i in range(EVENTS)],
            "model": ["cards"] * EVENTS,
            "model_version": ["1"] * EVENTS,
            "segment": {"country": rng.choice(["DE", "SE"], EVENTS).tolist()},
            "latency_ms": np.exp(rng.normal(3, 0.3, EVENTS)),
            "features": {"amount": amount * (100 if number * STEP_MS >= SKEWED_H * HOUR_MS else 1), "kind": kind},
        }
        values = {"amount": amount, "kind": kind}
        read = {"ts_ms": ts_ms, "feature_set": ["card-24h"] * EVENTS, "model": ["cards"] * EVENTS, "values": values}
        yield [(TopicName.FEATURES, encode_arrow(read)), (TopicName.PREDICTIONS, encode_arrow(asked))]
    # What closes the last hour.
    ts_ms = np.array([start_ms + (ACTIVE_H[-1] + 1) * HOUR_MS + STEP_MS])
    closing = {"ts_ms": ts_ms, "event_id": ["closing"], "model": ["closing"], "model_version": ["1"]}
    yield [(TopicName.PREDICTIONS, encode_arrow(closing))]


class Player(threading.Thread):
    """Sends it all at a steady pace."""

    def __init__(self, installation: Installation, steps: list[list[tuple[TopicName, bytes]]]) -> None:
        super().__init__(name="traffic", daemon=True)
        self._installation, self._steps, self._pause = installation, steps, threading.Event()
        self.left = -1

    def run(self) -> None:
        producer: Producer = self._installation.producer()
        for step in self._steps:
            for topic, value in step:
                producer.produce(self._installation.topic(topic), value)
            producer.poll(0)
            self._pause.wait(WALL_S / len(self._steps))
        self.left = producer.flush(60)


def learned(installation: Installation) -> list[Baseline]:
    return [decode(message.value() or b"") for message in installation.read(TopicName.BASELINES)]


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.offsets
def test_days_and_reads_are_as_in_one_life(
    kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path: Path, record_property: Recorder
) -> None:
    seed = drawn_seed()
    start_ms = a_while_ago() - (ACTIVE_H[-1] + 1) * HOUR_MS
    steps = list(messages(np.random.default_rng(seed), start_ms))
    with installed(kafka, clickhouse, tmp_path, SETTINGS) as installation:
        victim = installation.start("analyse")
        installation.start(*(stage for stage in STAGES if stage != "analyse"))
        reaper = Reaper({"analyse": victim}, random.Random(seed))
        installation.wait_ready()
        player = Player(installation, steps)
        player.start()
        reaper.run({"analyse": "after-state"}, KILLS, 0.85 * WALL_S, lambda: not player.is_alive())
        reaper.settle()
        assert player.left == 0
        counted = (
            "SELECT sum(rows) + sum(late) FROM volume "
            "WHERE family = 'prediction' AND model = 'cards' AND segment = '' AND window_s = 3600"
        )
        sent = len(STEPS) * EVENTS
        wait_for(
            f"{sent} events are shown", lambda: int(installation.query(counted)[0][0]), 120, until=lambda n: n >= sent
        )
        verifier = Verifier(installation)
        verifier.check_panes()
        verifier.check_rows()
        found, alerts = verifier.check_findings(), verifier.check_alerts()
        assert int(installation.query(counted)[0][0]) == sent
        days = [baseline for baseline in learned(installation) if baseline.learned_days == 1]
        skewed = [one for one in verifier.findings() if isinstance(one, Finding) and one.kind is Kind.SKEW]
        assert set(installation.stop().values()) == {0}
    assert {baseline.scope.segment for baseline in days} >= {"", "country=DE", "country=SE"}
    assert skewed
    # At this pace a side may be more than the three windows behind that the other waits for.
    assert 0 <= min(one.since_ms for one in skewed) - (start_ms + SKEWED_H * HOUR_MS) <= 6 * STEP_MS
    assert sum(reaper.kills.values()) >= KILLS
    record_property("recovery_s", f"{max(seconds for _, seconds in reaper.recoveries_s):.1f}")
    told = f"{found} findings, {alerts} alert events, {len(days)} baselines of a day, {len(skewed)} findings of skew"
    tell(f"{told}; {reaper.report()}")
