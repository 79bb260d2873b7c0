"""``halcyon-loadgen run`` against a real broker, its processes and all."""

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from deploy.local.kafka import LocalKafka
from loadgen import truth
from loadgen.__main__ import run
from streams.topics import Topic, TopicAdmin

pytestmark = pytest.mark.integration

PARTITIONS = 3


def play(kafka: LocalKafka, prefix: str, folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    account = folder / "account.json"
    where = ("--bootstrap", kafka.bootstrap, "--topic-prefix", prefix, "--account", str(account))
    found = run(["run", "demo", "--duration-s", "60", *where, *options])
    return found, json.loads(account.read_text())


def read(kafka: LocalKafka, topic: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "reading", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in range(PARTITIONS)])
    found: list[bytes] = []
    while len(found) < count:
        messages = consumer.consume(count, 20.0)
        assert messages, f"{len(found)} of {count} messages in {topic}"
        found += [message.value() or b"" for message in messages]
    assert not consumer.consume(1, 0.5)
    consumer.close()
    return found


def made(kafka: LocalKafka, prefix: str) -> str:
    admin = TopicAdmin({"bootstrap.servers": kafka.bootstrap})
    admin.apply([Topic(prefix + name, PARTITIONS) for name in ("predictions", "truth")])
    return prefix


def test_two_processes_send_what_one_sends_and_the_account_is_true(
    kafka: LocalKafka, topic_prefix: str, tmp_path: Path
) -> None:
    ids = []
    for processes in (1, 2):
        prefix = made(kafka, f"{topic_prefix}{processes}.")
        # So long that a busy machine does not void it: this is not about being in time.
        options = ("--speed", "20", "--processes", str(processes), "--behind-limit-s", "60", "--poison-ratio", "0.01")
        found, account = play(kafka, prefix, tmp_path, *options)
        assert found == 0
        assert not account["void"]
        messages = read(kafka, f"{prefix}predictions", account["messages"])
        sound = [value for value in messages if value[:1] == b"{" and b'"intended_ts_ms"' in value[-40:]]
        events = [json.loads(value) for value in sound]
        assert len(events) == account["events"]
        assert account["messages"] == account["events"] + account["wire"]["poison"]
        ids.append(sorted(event["event_id"] for event in events))
        assert all(event["intended_ts_ms"] >= account["begin_ms"] for event in events)
    assert ids[0] == ids[1]


def test_a_generator_that_falls_behind_voids_the_run(
    kafka: LocalKafka, topic_prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = made(kafka, topic_prefix)
    options = ("--speed", "1000", "--lead-s", "0", "--behind-limit-s", "0.001")
    found, account = play(kafka, prefix, tmp_path, *options)
    assert found == 1
    assert account["void"]
    assert "void" in capsys.readouterr().err


def test_the_truth_goes_to_a_file_and_a_topic(kafka: LocalKafka, topic_prefix: str, tmp_path: Path) -> None:
    prefix = made(kafka, topic_prefix)
    file = tmp_path / "truth.jsonl"
    pace = ("--duration-s", "1500", "--speed", "500", "--behind-limit-s", "60", "--encoding", "arrow")
    where = ("--truth-file", str(file), "--truth-topic", f"{prefix}truth")
    found, account = play(kafka, prefix, tmp_path, *pace, *where)
    assert found == 0
    said = truth.read(file)
    assert [one.name for one in said] == ["amounts in another currency"]
    assert account["start_ms"] + 1_200_000 == said[0].onset_ms
    assert [truth.decode(raw) for raw in read(kafka, f"{prefix}truth", 1)] == said


def test_a_topic_that_does_not_exist_is_named(
    kafka: LocalKafka, topic_prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", "demo", "--bootstrap", kafka.bootstrap, "--topic-prefix", topic_prefix]) == 1
    assert f"{topic_prefix}predictions" in capsys.readouterr().err
