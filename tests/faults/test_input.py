"""Input as it should not be: poison, repeats, disorder and clocks that disagree; and a disk that is full."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import psutil
import pytest
from confluent_kafka import Producer

from schemas.findings import Kind
from schemas.scopes import INVALID
from schemas.topics import TopicName
from tests.harness.cell import Cell, Play, verified
from tests.harness.cluster import KafkaCluster
from tests.harness.installation import Installation
from tests.harness.oracle import Oracle
from tests.harness.traffic import Traffic
from tests.harness.verifier import Verifier
from tests.harness.waiting import wait_for

POISONED: Final = 4
"""A fifth partition, which the good traffic does not use."""
MIB: Final = 1 << 20
REPEATED: Final = 0.1


@pytest.mark.matrix
@pytest.mark.slow
def test_a_partition_of_nothing_but_poison_holds_nobody_up(play: Play, kafka1: KafkaCluster) -> None:
    changes = {
        "HALCYON_TOPICS__PARTITIONS": str(POISONED + 1),
        "HALCYON_TIME__IDLE_TIMEOUT_S": "8",
        "HALCYON_DECISION__BAD_EVENTS_MIN": "200",
    }
    with play(kafka1, changes, wall_s=40) as cell, poisoning(cell) as sent:
        # Good partitions go on: their windows close while the poison flows.
        wait_for("windows close", cell.rows_shown, 60)
        cell.wait_until(0.6)
        sizes, shown = [cell.worker.rss_bytes], cell.rows_shown()
        wait_for("windows go on closing", cell.rows_shown, 60, until=lambda rows: rows > shown)
        wait_for("a finding", lambda: bad_input(cell.installation), 60)
        cell.wait_until(0.95)
        sizes.append(cell.worker.rss_bytes)
        cell.told.append(f"{sent[0]:,} bad messages; memory {[f'{size / MIB:.0f} MiB' for size in sizes]}")
        assert sizes[-1] < 1.5 * sizes[0]


@pytest.mark.matrix
@pytest.mark.slow
def test_repeats_disorder_and_clocks_that_disagree_are_counted_as_they_come(play: Play, kafka1: KafkaCluster) -> None:
    """An event that stands twice in the topic counts twice: what Kafka holds is what is counted."""

    def unruly(traffic: Traffic) -> Traffic:
        for partition, ahead_ms in enumerate((0, 45_000, -45_000, 20_000)):
            traffic.ts_ms[traffic.partition == partition] += ahead_ms
        swapped = np.random.default_rng(traffic.start_ms).random(len(traffic)) < 0.03
        traffic.ts_ms[swapped] -= 90_000
        return traffic

    with play(kafka1, shape=unruly, check=verified_unruly) as cell:
        topic, producer = cell.installation.topic(TopicName.PREDICTIONS), cell.installation.producer()
        for step in range(1, 9):
            cell.wait_until(step / 10)
            last = int(np.searchsorted(cell.traffic.base_ms, cell.traffic.span_ms * step / 10))
            cell.traffic.send(producer, topic, max(0, last - int(REPEATED * len(cell.traffic) / 8)), last, arrow=True)
            assert producer.flush(30) == 0
        cell.wait_until(1)


@pytest.mark.matrix
@pytest.mark.slow
def test_a_worker_needs_no_disk(play: Play, kafka1: KafkaCluster) -> None:
    """Not a byte can be written to any file, the log included: state is in Kafka, and lines of the log are lost."""
    with play(kafka1) as cell:
        cell.wait_until(0.3)
        psutil.Process(cell.worker.pid).rlimit(psutil.RLIMIT_FSIZE, (0, 0))
        size = cell.worker.log_path.stat().st_size
        cell.recovered("no file can grow")
        cell.wait_until(1)
    assert cell.worker.log_path.stat().st_size == size


def verified_unruly(installation: Installation) -> str:
    """What stands in the topic is what is counted; there are repeats and disorder enough in it to show that."""
    raw = Verifier(installation).raw()
    assert len(raw.twice) > REPEATED / 2 * len(raw.traffic)
    assert Oracle(raw.traffic).late.sum() > 0.02 * len(raw.traffic)
    return verified(installation)


def bad_input(installation: Installation) -> int:
    """Findings that a share of the input cannot be read."""
    sql = f"SELECT count() FROM findings WHERE kind = '{Kind.BAD_INPUT}' AND model = '{INVALID}' AND firing"
    return int(installation.query(sql)[0][0])


@contextmanager
def poisoning(cell: Cell) -> Iterator[list[int]]:
    """Bad messages without a pause, to one partition; how many so far."""
    topic, over, sent = cell.installation.topic(TopicName.PREDICTIONS), threading.Event(), [0]
    producer: Producer = cell.installation.producer()
    event = json.dumps({"ts_ms": cell.traffic.start_ms, "model": "closing"}).encode()
    producer.produce(topic, event, partition=POISONED)

    def run() -> None:
        while not over.is_set():
            # In small pieces, so that whoever reads them is never at the end.
            for _ in range(10):
                producer.produce(topic, b'{"ts_ms": oops', partition=POISONED)
            sent[0] += 10
            producer.poll(0)
            time.sleep(0.005)

    thread = threading.Thread(target=run, name="poison", daemon=True)
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join()
        # What closes the last windows.
        end_ms = cell.traffic.start_ms + cell.traffic.span_ms + 600_000
        producer.produce(topic, json.dumps({"ts_ms": end_ms, "model": "closing"}).encode(), partition=POISONED)
        producer.flush(30)
