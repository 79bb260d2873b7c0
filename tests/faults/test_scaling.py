"""Workers added, removed and replaced while events flow."""

from pathlib import Path

import pytest

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from tests.harness.installation import LEARNING
from tests.harness.scene import plainly, scene
from tests.harness.telling import seeded

CHANGED = {
    "HALCYON_SNAPSHOT_INTERVAL_S": "2",
    "HALCYON_COMMIT_INTERVAL_S": "0.5",
    "HALCYON_CAPS__FEATURES_PER_SCOPE": "64",
    "HALCYON_CAPS__SEGMENTS": "32",
    "HALCYON_CLICKHOUSE__BATCH_ROWS": "5000",
    "HALCYON_KAFKA__MAX_PARTITION_FETCH_BYTES": "262144",
}
"""What may differ between two versions of an installation that run side by side; no cap is met by this traffic."""


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.offsets
@pytest.mark.parametrize("stages", ["all", "ingest+analyse"])
def test_workers_are_added_and_removed(
    kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path: Path, stages: str
) -> None:
    """One, then three, then two of them."""
    rng = seeded()
    workers = {f"{stages}#1": plainly} | ({} if stages == "all" else {"alert+write": plainly})
    with scene(kafka, clickhouse, tmp_path, rng, workers) as cell:
        cell.pass_time(rng.uniform(0.1, 0.2))
        for number in (2, 3):
            cell.add(f"{stages}#{number}").start()
        cell.wait_held()
        cell.pass_time(rng.uniform(0.5, 0.6))
        cell.remove(f"{stages}#{rng.randint(1, 3)}")
        cell.finish()


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.offsets
def test_a_rolling_restart_with_other_settings(kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path: Path) -> None:
    """Two workers, one after the other, while the other one goes on; then a third under the new settings."""
    rng = seeded()
    with scene(kafka, clickhouse, tmp_path, rng, {"all#1": plainly, "all#2": plainly}) as cell:
        cell.installation.changes = {**cell.installation.changes, **CHANGED}
        for number in (1, 2):
            cell.pass_time(number * rng.uniform(0.15, 0.2))
            cell.remove(f"all#{number}")
            cell.add(f"all#{number}").start()
            cell.wait_held()
        cell.add("all#3").start()
        cell.finish()


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.offsets
@pytest.mark.parametrize("learning", [False, True], ids=["baselines-known", "baselines-learned"])
def test_several_workers_of_each_stage_are_killed(
    kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path: Path, learning: bool
) -> None:
    rng = seeded()
    names = ["ingest+analyse#1", "ingest+analyse#2", "alert+write#1", "alert+write#2"]
    changes = LEARNING if learning else {}
    workers = dict.fromkeys(names, plainly)
    with scene(kafka, clickhouse, tmp_path, rng, workers, changes, learning=learning) as cell:
        for at, name in zip(sorted(rng.uniform(0.1, 0.7) for _ in names), rng.sample(names, len(names)), strict=True):
            cell.pass_time(at)
            worker = cell.installation.workers[name]
            worker.kill()
            worker.start()
        cell.finish()
