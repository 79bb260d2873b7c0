"""The topic ``state`` is emptied: the state is made anew, loudly, and what follows is as if it had never gone."""

import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from schemas.topics import TopicName
from streams.cli.topics import declared
from streams.topics import TopicAdmin
from tests.harness.installation import Installation
from tests.harness.scene import plainly, scene
from tests.harness.telling import Recorder, seeded
from tests.harness.waiting import wait_for

SAID = "its state is gone from the state topic"


def empty(installation: Installation, name: TopicName) -> None:
    """Delete a topic, and create it again as it is declared."""
    admin = AdminClient({"bootstrap.servers": installation.kafka.bootstrap})
    topic = installation.topic(name)
    for deletion in admin.delete_topics([topic]).values():
        deletion.result(30)
    wait_for(f"{topic} is gone", lambda: topic not in admin.list_topics(timeout=30).topics, 30)
    time.sleep(1.0)  # the broker's log may not have let go of the name yet
    TopicAdmin({"bootstrap.servers": installation.kafka.bootstrap}).apply(declared(installation.settings))


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.offsets
def test_a_state_that_is_gone_is_made_anew(
    kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path: Path, record_property: Recorder
) -> None:
    rng = seeded()
    workers = {"analyse+alert": plainly, "ingest+write": plainly}
    with scene(kafka, clickhouse, tmp_path, rng, workers, with_state=False) as cell:
        cell.pass_time(rng.uniform(0.35, 0.6))
        worker = cell.installation.workers["analyse+alert"]
        assert worker.stop() == 0
        empty(cell.installation, TopicName.STATE)
        cell.restart(worker, "analyse")
        worker.wait_ready()
        wait_for("both stages say so", lambda: worker.log().count(SAID) >= 2, 30)
        page = worker.page("/metrics").decode()
        assert all(f'halcyon_lost_states_total{{stage="{stage}"}}' in page for stage in ("analyse", "alert")), page
        cell.finish()
        record_property("recovery_s", cell.recovery)
