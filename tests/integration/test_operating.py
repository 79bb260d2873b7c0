"""What operators do by hand: tables built anew from the rows that Kafka keeps, a day counted again beside the first
count, a baseline moved to another installation."""

from pathlib import Path

import numpy as np
import pytest

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from schemas import baselines
from schemas.scopes import Family, Scope
from schemas.topics import TopicName
from streams.baseline_files import from_file
from streams.cli.app import run
from streams.cli.context import err, out
from tests.harness.expectations import check_everything
from tests.harness.installation import STAGES, Installation, installed
from tests.harness.oracle import Oracle
from tests.harness.traffic import Traffic, a_while_ago

TABLES = ("volumes_raw", "numerics_raw", "categories_raw")


def halcyon(installation: Installation, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command line, with the settings of the workers."""
    out.cache_clear()
    err.cache_clear()
    with monkeypatch.context() as patch:
        for name, value in installation.env.items():
            patch.setenv(name, value)
        return run(list(arguments))


@pytest.mark.slow
def test_what_was_read_is_read_again(
    kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    traffic = Traffic.make(31, 20_000, a_while_ago(), 400_000, late_ratio=0.002)
    oracle = Oracle(traffic)
    with installed(kafka, clickhouse, tmp_path) as first:
        first.start(*STAGES)
        first.wait_ready()
        source = first.topic(TopicName.PREDICTIONS)
        producer = first.producer()
        traffic.send_all(producer, source)
        traffic.send_closing(producer, source)
        producer.flush()
        check_everything(first, oracle)

        assert halcyon(first, monkeypatch, "rewind", "write") == 1
        assert "Stop the workers of stage write first" in capsys.readouterr().err
        assert first.stop() == {"-".join(STAGES): 0}
        first.workers.clear()

        # The tables are lost; the rows of a day are still in Kafka.
        for table in TABLES:
            first.query(f"TRUNCATE TABLE {table}")
        assert halcyon(first, monkeypatch, "rewind", "write", "--dry-run") == 0
        assert "would move" in capsys.readouterr().out
        assert halcyon(first, monkeypatch, "rewind", "write") == 0
        first.start("write")
        first.wait_ready()
        check_everything(first, oracle)

        # Counted already: not here again.
        assert halcyon(first, monkeypatch, "rewind", "ingest") == 1
        assert "kafka.source_prefix" in capsys.readouterr().err
        assert halcyon(first, monkeypatch, "rewind", "analyse") == 2

        changes = {"HALCYON_KAFKA__SOURCE_PREFIX": first.prefix}
        with installed(kafka, clickhouse, tmp_path, changes) as again:
            assert halcyon(again, monkeypatch, "rewind", "ingest", "--to", "2020-01-01T00:00:00Z") == 0
            again.start(*STAGES, name="again")
            again.wait_ready()
            check_everything(again, oracle)
            assert again.stop() == {"again": 0}
        assert first.stop()["write"] == 0


def test_a_place_that_is_no_time_is_refused(
    kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with installed(kafka, clickhouse, tmp_path) as installation:
        assert halcyon(installation, monkeypatch, "rewind", "write", "--to", "yesterday") == 2
        assert "'yesterday' is not a time" in capsys.readouterr().err
        assert halcyon(installation, monkeypatch, "rewind", "write", "--to", "2999-01-01") == 0
        assert "the beginning → 0, 0 messages to read" in capsys.readouterr().out


def test_a_baseline_moves_from_one_installation_to_another(
    kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    table, file = tmp_path / "train.csv", tmp_path / "amounts.baseline"
    amounts = np.random.default_rng(5).normal(20.0, 3.0, 3_000).tolist()
    table.write_text("\n".join(["amount", *map(str, amounts)]))
    with (
        installed(kafka, clickhouse, tmp_path) as staging,
        installed(kafka, clickhouse, tmp_path) as production,
    ):
        build = ("baseline", "build", "--from", str(table), "--model", "fraud", "--publish")
        assert halcyon(staging, monkeypatch, *build) == 0
        built = capsys.readouterr().out.split()[0]
        assert halcyon(staging, monkeypatch, "baseline", "export", "no-such", "--out", str(file)) == 1
        assert "There is no baseline no-such" in capsys.readouterr().err
        assert halcyon(staging, monkeypatch, "baseline", "export", built, "--out", str(file)) == 0
        assert halcyon(production, monkeypatch, "baseline", "publish", str(file)) == 0
        (moved,) = (baselines.decode(m.value() or b"") for m in production.read(TopicName.BASELINES))
    original = from_file(table, Scope(Family.PREDICTION, "fraud", ""), 0)
    assert moved.scope == original.scope
    assert moved.numeric == original.numeric
