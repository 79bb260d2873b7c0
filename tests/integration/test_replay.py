import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from deploy.local.kafka import LocalKafka
from streams.cli.app import run
from streams.topics import Topic, TopicAdmin

PARTITIONS = 3
ROWS = 5_000
START_MS = 1_777_636_800_000
MAPS = ("ts_ms=at", "model=const:m", "latency_ms=took:s", "features.amount=amount")


@pytest.fixture
def events(tmp_path: Path) -> Path:
    file = tmp_path / "events.parquet"
    table = {
        "at": pa.array([START_MS + 200 * place for place in range(ROWS)], pa.timestamp("ms")),
        "took": [0.001 * (place % 97) for place in range(ROWS)],
        "amount": [None if place % 10 == 0 else float(place) for place in range(ROWS)],
    }
    pq.write_table(pa.table(table), file)
    return file


@pytest.fixture
def broker(kafka: LocalKafka, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> LocalKafka:
    monkeypatch.setenv("HALCYON_KAFKA__BOOTSTRAP_SERVERS", kafka.bootstrap)
    monkeypatch.setenv("HALCYON_KAFKA__TOPIC_PREFIX", topic_prefix)
    TopicAdmin({"bootstrap.servers": kafka.bootstrap}).apply([Topic(topic_prefix + "predictions", PARTITIONS)])
    return kafka


def arguments(file: Path, *more: str) -> list[str]:
    return ["replay", str(file), *(part for rule in MAPS for part in ("--map", rule)), *more]


def read_back(bootstrap: str, topic: str) -> list[list[dict[str, object]]]:
    """The events of each partition, in order."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
        ends = {n: consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=30)[1] for n in range(PARTITIONS)}
        partitions: list[list[dict[str, object]]] = [[] for _ in range(PARTITIONS)]
        while sum(map(len, partitions)) < sum(ends.values()):
            for message in consumer.consume(1000, 5.0):
                number, value = message.partition(), message.value()
                assert message.error() is None
                assert number is not None
                assert value is not None
                partitions[number].append(json.loads(value))
        return partitions
    finally:
        consumer.close()


def test_every_row_arrives_once_in_time_order_and_partitions_advance_together(
    broker: LocalKafka, topic_prefix: str, events: Path
) -> None:
    assert run(arguments(events)) == 0
    partitions = read_back(broker.bootstrap, topic_prefix + "predictions")
    ids = [event["event_id"] for partition in partitions for event in partition]
    assert sorted(map(str, ids)) == sorted(f"events-{row}" for row in range(1, ROWS + 1))
    for partition in partitions:
        times = [int(str(event["ts_ms"])) for event in partition]
        assert times == sorted(times)
    assert max(map(len, partitions)) - min(map(len, partitions)) <= 1
    first = min((event for partition in partitions for event in partition), key=lambda event: str(event["ts_ms"]))
    assert first["features"] == {"amount": None}


def test_a_rerun_of_only_the_first_rows_appends_them(broker: LocalKafka, topic_prefix: str, events: Path) -> None:
    assert run(arguments(events, "--limit", "10", "--anchor", "start=2020-01-01T00:00:00Z")) == 0
    partitions = read_back(broker.bootstrap, topic_prefix + "predictions")
    times = sorted(int(str(event["ts_ms"])) for partition in partitions for event in partition)
    assert times == [1_577_836_800_000 + 200 * place for place in range(10)]


def test_a_file_older_than_its_topic_is_refused_unless_told_otherwise(
    broker: LocalKafka, topic_prefix: str, events: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(events, "--limit", "100")) == 0
    assert run(arguments(events, "--limit", "10", "--anchor", "by=-3600")) == 1
    assert "Play older files first" in " ".join(capsys.readouterr().err.split())
    assert run(arguments(events, "--limit", "10", "--anchor", "by=-3600", "--late")) == 0
    assert run(arguments(events, "--limit", "10", "--anchor", "by=3600")) == 0
    assert sum(map(len, read_back(broker.bootstrap, topic_prefix + "predictions"))) == 120


def test_a_dry_run_prints_three_messages_and_sends_nothing(
    broker: LocalKafka, topic_prefix: str, events: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(events, "--dry-run")) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event_id"] for event in shown] == ["events-1", "events-2", "events-3"]
    assert sum(map(len, read_back(broker.bootstrap, topic_prefix + "predictions"))) == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--as", "labels"), "event_id"),
        (("--anchor", "start=2099-01-01"), "ahead of the clock"),
        (("--speed", "2", "--rate", "5"), "contradict"),
        (("--topic", "elsewhere"), "does not exist"),
    ],
)
def test_what_cannot_be_played_is_said_in_one_place(
    broker: LocalKafka, events: Path, more: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(events, *more)) != 0
    said = capsys.readouterr().err
    assert words in " ".join(said.split())
    assert "Traceback" not in said


def test_a_file_out_of_order_is_refused_unless_told_otherwise(
    broker: LocalKafka, topic_prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "shuffled.csv"
    seconds = (0, 100, 40, 200)
    file.write_text("at,took,amount\n" + "".join(f"{START_MS // 1000 + s},1,2\n" for s in seconds))
    assert run(arguments(file)) == 1
    assert "row 3 is 60 s older" in " ".join(capsys.readouterr().err.split())
    assert run(arguments(file, "--sort")) == 0
    times = sorted(
        str(event["ts_ms"])
        for partition in read_back(broker.bootstrap, topic_prefix + "predictions")
        for event in partition
    )
    assert times == [str(START_MS + 1000 * s) for s in sorted(seconds)]
