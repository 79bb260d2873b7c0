"""SIGKILL and SIGTERM of each stage at each step of its work, while events flow."""

import signal
from pathlib import Path

import pytest

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from tests.harness.scene import plainly, scene
from tests.harness.telling import Recorder, seeded
from tests.harness.workers import Worker

STEPS = {
    # (stage, moment): (step, the least and the most often that it is reached before the signal)
    ("ingest", "mid-produce"): ("during-panes", 600, 2_500),
    ("ingest", "between-produce-and-commit"): ("after-panes", 20, 80),
    ("analyse", "mid-produce"): ("during-rows", 150, 600),
    ("analyse", "mid-snapshot"): ("during-state", 9, 20),
    ("analyse", "between-state-and-commit"): ("after-state", 9, 20),
    ("alert", "mid-produce"): ("before-alerts", 1, 1),
    ("alert", "between-produce-and-commit"): ("after-alerts", 1, 1),
    ("alert", "between-state-and-commit"): ("after-state", 3, 5),
    ("write", "mid-insert"): ("during-insert", 10, 60),
    ("write", "between-insert-and-commit"): ("after-insert", 10, 60),
}
"""What happens between the nth reaching of a step and the next is left to chance, and n is too."""

ANY_TIME = [(stage, "mid-window") for stage in ("ingest", "analyse", "alert", "write")]
OFFSETS = {"between-produce-and-commit", "between-state-and-commit", "mid-snapshot"}


def cells() -> list[object]:
    """Every stage and moment; those around offsets and state are marked so that they can be run more often."""
    return [
        pytest.param(stage, moment, id=f"{stage}-{moment}", marks=[pytest.mark.offsets] if moment in OFFSETS else [])
        for stage, moment in (*ANY_TIME, *STEPS)
    ]


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize(("stage", "moment"), cells())
def test_killed(
    kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path: Path, stage: str, moment: str,
    record_property: Recorder,
) -> None:  # fmt: skip
    end(kafka, clickhouse, tmp_path, (stage, moment, signal.SIGKILL), record_property)


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize(("stage", "moment"), cells())
def test_terminated(
    kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path: Path, stage: str, moment: str,
    record_property: Recorder,
) -> None:  # fmt: skip
    end(kafka, clickhouse, tmp_path, (stage, moment, signal.SIGTERM), record_property)


def end(
    kafka: LocalKafka, clickhouse: LocalClickHouse, folder: Path, how: tuple[str, str, signal.Signals],
    record: Recorder,
) -> None:  # fmt: skip
    """End a stage's only worker at a moment, start it again at once, and let the verifier look at what came of it."""
    stage, moment, signum = how

    def armed(worker: Worker) -> None:
        step, least, most = STEPS.get((stage, moment), ("", 0, 0))
        worker.start(step, rng.randint(least, most), signum)

    rng = seeded()
    with scene(kafka, clickhouse, folder, rng, {stage: armed, f"not-{stage}": plainly}) as cell:
        worker = cell.installation.workers[stage]
        if moment == "mid-window":
            cell.pass_time(rng.uniform(0.2, 0.5))
            worker.signal(signum)
        cell.end_of(worker)
        assert worker.exit_code == (0 if signum is signal.SIGTERM else -signum), worker.log_tail()
        cell.restart(worker, stage)
        cell.finish()
        record("recovery_s", cell.recovery)
