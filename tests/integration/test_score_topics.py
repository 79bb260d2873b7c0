"""Truths and alerts are scored from their topics as from files."""

import json
from pathlib import Path

import pytest
from confluent_kafka import Producer

from deploy.local.kafka import LocalKafka
from loadgen import truth
from loadgen.__main__ import run
from schemas import alerts
from streams.topics import Topic, TopicAdmin
from tests.unit.loadgen.test_score_card import TRUTHS, alert


def test_topics_are_read_to_their_ends(
    kafka: LocalKafka, topic_prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truths, said, empty = (topic_prefix + name for name in ("truth", "alerts", "empty"))
    TopicAdmin({"bootstrap.servers": kafka.bootstrap}).apply([Topic(truths, 3), Topic(said, 1), Topic(empty, 2)])
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for one in (*TRUTHS, *TRUTHS):
        producer.produce(truths, truth.encode(one), key=truth.key(one))
    for event in (alert(780), alert(780), alert(100, id_="b", severity="warning")):
        producer.produce(said, alerts.encode(event))
    assert producer.flush(30) == 0
    account = tmp_path / "account.json"
    asked = ["score", "--bootstrap", kafka.bootstrap, "--kafka", "client.id=judge", "--json", str(account)]

    assert run([*asked, "--truth-topic", truths, "--alert-topic", said]) == 0
    told = json.loads(account.read_bytes())
    assert (told["total"]["must"], told["total"]["recall"]) == (1, 1.0)
    assert told["duplicates"] == 1
    assert told["total"]["false"]["tickets"] == 1

    assert run([*asked, "--truth-topic", truths, "--alert-topic", empty]) == 0
    assert json.loads(account.read_bytes())["total"]["recall"] == 0.0

    capsys.readouterr()
    assert run([*asked, "--truth-topic", truths, "--alert-topic", topic_prefix + "absent"]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert run([*asked, "--truth-topic", said, "--alert-topic", said]) == 1
    assert "partition 0, offset 0 cannot be used: not a ground truth" in " ".join(capsys.readouterr().err.split())


def test_brokers_that_do_not_answer_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "--bootstrap", "127.0.0.1:9"]) == 1
    assert "no broker answers" in capsys.readouterr().err
