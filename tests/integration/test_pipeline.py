"""A million events through real workers into ClickHouse: every number against an oracle in numpy."""

import time
from pathlib import Path

import pytest

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from schemas.topics import TopicName
from tests.harness.baselines import publish_baselines
from tests.harness.installation import KNOWING, STAGES, installed
from tests.harness.oracle import Oracle, check_categories, check_ids, check_numerics, check_volumes, wait_shown
from tests.harness.telling import tell
from tests.harness.traffic import MODELS, Traffic, a_while_ago

EVENTS = 1_000_000
SPAN_MS = 1_800_000


@pytest.mark.slow
def test_a_million_events_equal_the_oracle(kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path: Path) -> None:
    began = time.monotonic()
    traffic = Traffic.make(11, EVENTS, a_while_ago(), SPAN_MS, late_ratio=0.001)
    with installed(kafka, clickhouse, tmp_path, KNOWING) as installation:
        edges = publish_baselines(installation, traffic, MODELS[:1])
        for stage in STAGES:
            installation.start(stage)
        traffic.send_all(installation.producer(), installation.topic(TopicName.PREDICTIONS))
        installation.wait_ready()
        oracle = Oracle(traffic)
        assert 0 < oracle.late.sum() < 0.002 * EVENTS
        wait_shown(installation, oracle, 120)
        through_s = time.monotonic() - began
        check_volumes(installation, oracle)
        check_ids(installation, oracle)
        check_categories(installation, oracle)
        windows = check_numerics(installation, oracle, edges=edges)
        assert installation.stop() == dict.fromkeys(STAGES, 0)
    took_s = time.monotonic() - began
    tell(f"{EVENTS:,} events, {windows:,} histograms; shown after {through_s:.0f} s, {took_s:.0f} s in all")
