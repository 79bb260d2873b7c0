"""SIGSTOP for longer than the session timeout, then SIGCONT: a worker that wakes up as a zombie changes nothing.

It sleeps in the middle of its work, with messages and rows in its hands that have not left the process, while another
worker takes its partitions over and goes on. What it sends when it wakes may come twice; it never says anything else.
"""

import signal
import time
from pathlib import Path

import pytest

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from tests.harness.scene import plainly, scene
from tests.harness.telling import Recorder, seeded
from tests.harness.waiting import wait_for
from tests.harness.workers import Worker

STEPS = {
    # (stage, moment): (step, the least and the most often that it is reached before it sleeps)
    ("ingest", "any-time"): ("", 0, 0),
    ("ingest", "panes-in-its-buffers"): ("during-panes", 600, 2_500),
    ("ingest", "produced-not-committed"): ("after-panes", 20, 80),
    ("analyse", "any-time"): ("", 0, 0),
    ("analyse", "findings-in-its-buffers"): ("during-findings", 50, 200),
    ("analyse", "a-snapshot-in-its-buffers"): ("during-state", 9, 20),
    ("analyse", "saved-not-committed"): ("after-state", 9, 20),
    ("alert", "alerts-in-its-buffers"): ("during-alerts", 1, 1),
    ("alert", "a-snapshot-in-its-buffers"): ("during-state", 2, 5),
    ("write", "rows-in-its-hands"): ("during-insert", 10, 60),
    ("write", "inserted-not-committed"): ("after-insert", 10, 60),
}
ALWAYS = {("analyse", "a-snapshot-in-its-buffers")}
"""Run on every change; the others with the whole matrix."""
AWAKE_AFTER_S = 3.0
"""How long the heir has worked when the zombie wakes."""


def cells() -> list[object]:
    """Every stage and moment."""
    marks = {cell: [] if cell in ALWAYS else [pytest.mark.matrix] for cell in STEPS}
    return [pytest.param(*cell, id="-".join(cell), marks=marks[cell]) for cell in STEPS]


@pytest.mark.slow
@pytest.mark.offsets
@pytest.mark.parametrize(("stage", "moment"), cells())
def test_a_zombie_loses(
    kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path: Path, stage: str, moment: str,
    record_property: Recorder,
) -> None:  # fmt: skip
    rng = seeded()
    step, least, most = STEPS[stage, moment]

    def armed(worker: Worker) -> None:
        worker.start(step, rng.randint(least, most), signal.SIGSTOP)

    workers = {stage: armed, f"not-{stage}": plainly}
    with scene(kafka, clickhouse, tmp_path, rng, workers, zombies=True) as cell:
        zombie = cell.installation.workers[stage]
        if not step:
            cell.pass_time(rng.uniform(0.15, 0.35))
            zombie.signal(signal.SIGSTOP)
        wait_for(f"{zombie.name} sleeps", lambda: zombie.is_stopped, 60)
        heir = cell.installation.add(stage, name=f"{stage}#heir")
        cell.restart(heir, stage)
        heir.wait_ready()
        time.sleep(AWAKE_AFTER_S)
        zombie.signal(signal.SIGCONT)
        cell.finish()
        record_property("recovery_s", cell.recovery)
