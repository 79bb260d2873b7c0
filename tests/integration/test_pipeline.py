"""A million events through real workers into ClickHouse: every number against an oracle in numpy."""

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from detectors.baseline import from_table
from schemas import rows as row_codec
from schemas.baselines import Baseline
from schemas.scopes import Family, Scope
from schemas.topics import TopicName
from streams.analyse.rows import baseline_rows
from streams.baselines import message
from streams.producer import Producer
from tests.harness.installation import STAGES, Installation, installed
from tests.harness.oracle import Oracle, check_categories, check_numerics, check_volumes, wait_shown
from tests.harness.telling import tell
from tests.harness.traffic import MODELS, Floats, Traffic, a_while_ago

EVENTS = 1_000_000
SPAN_MS = 1_800_000


@pytest.mark.slow
def test_a_million_events_equal_the_oracle(kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path: Path) -> None:
    began = time.monotonic()
    traffic = Traffic.make(11, EVENTS, a_while_ago(), SPAN_MS, late_ratio=0.001)
    # A baseline that is learned takes effect in the middle of longer windows; here every bin shall be exact.
    changes = {"HALCYON_BASELINE__MIN_ROWS": "1000000", "HALCYON_BASELINE__MIN_PANES": "10000"}
    with installed(kafka, clickhouse, tmp_path, changes) as installation:
        edges = publish_baseline(installation, traffic)
        for stage in STAGES:
            installation.start(stage)
        traffic.send_all(installation.producer(), installation.topic(TopicName.PREDICTIONS))
        installation.wait_ready()
        oracle = Oracle(traffic)
        assert 0 < oracle.late.sum() < 0.002 * EVENTS
        wait_shown(installation, oracle, 120)
        through_s = time.monotonic() - began
        check_volumes(installation, oracle)
        check_categories(installation, oracle)
        windows = check_numerics(installation, oracle, edges={MODELS[0]: edges})
        assert installation.stop() == dict.fromkeys(STAGES, 0)
    took_s = time.monotonic() - began
    tell(f"{EVENTS:,} events, {windows:,} histograms; shown after {through_s:.0f} s, {took_s:.0f} s in all")


def publish_baseline(installation: Installation, traffic: Traffic) -> dict[str, Floats]:
    """A baseline of the first model's features and score, in force from the first pane on; its edges by quantity."""
    rng = np.random.default_rng(5)
    names = [name for name in traffic.numeric if name != "latency_ms"]
    sample = rng.choice(np.flatnonzero(traffic.model == 0), 4_000, replace=False)
    columns = {name: traffic.numeric[name][sample] for name in names}
    scope = Scope(Family.PREDICTION, *MODELS[0])
    baseline = from_table(scope, columns, built_from="a sample", effective_from_ms=traffic.start_ms)
    asyncio.run(_publish(installation, baseline))
    return {quantity.name: np.frombuffer(quantity.edges, "<f8") for quantity in baseline.numeric}


async def _publish(installation: Installation, baseline: Baseline) -> None:
    producer = Producer(installation.kafka.bootstrap, max_message_bytes=14 << 20)
    key, value = message(baseline)
    producer.send(installation.topic(TopicName.BASELINES), value, key=key)
    for batch in baseline_rows(baseline, 1):
        producer.send(installation.topic(TopicName.ROWS), row_codec.encode(batch), key=batch.table.encode())
    await producer.barrier()
    await producer.close()
