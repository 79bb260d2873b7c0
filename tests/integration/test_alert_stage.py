"""The alert stage as a worker on a real broker: killed at any moment, and still each alert event stands there once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from confluent_kafka import Producer
from rich.console import Console

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from schemas import findings
from schemas.alerts import decode
from schemas.control import Control, ControlKind
from schemas.control import encode as encode_control
from schemas.findings import FindingMessage, Kind, Progress
from schemas.scopes import Family, Scope
from schemas.topics import Sizes, declarations
from streams.alert.evidence import sql_of
from streams.alert.feeds import KafkaAlertLog, KafkaControlFeed
from streams.alert.rows import alerts_rows, findings_rows
from streams.alert.stage import ORIGIN_HEADER
from streams.cli import alerts as alerts_command
from streams.cli.app import run
from streams.cli.feed import Feed
from streams.config.sections import ClickHouseSettings, KafkaSettings
from streams.errors import UnavailableError
from streams.topics import Topic, TopicAdmin
from tests.integration.clickhouse_support import HOUR_MS, SCOPE, migrated, numeric
from tests.unit.alert.helpers import finding, through
from tests.unit.alert.test_lifecycle import play, published, random_history

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0
TIMEOUT_S = 10.0
KILLS = 3


@pytest.fixture
def prefix(kafka: LocalKafka, topic_prefix: str) -> str:
    declared = declarations(Sizes(partitions=2), topic_prefix)
    topics = [Topic(topic.name, topic.partitions, 1, topic.config) for topic in declared]
    TopicAdmin({"bootstrap.servers": kafka.bootstrap}).apply(topics)
    return topic_prefix


@contextlib.contextmanager
def worker(environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An alert worker; what is left of it at the end is killed."""
    with log.open("ab") as out:
        command = [sys.executable, "-m", "streams", "worker", "--stage", "alert"]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=out, stderr=out)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def send(kafka: LocalKafka, topic: str, values: list[bytes], pause_s: float = 0.0) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "acks": "all", "enable.idempotence": True})
    for value in values:
        producer.produce(topic, value)
        time.sleep(pause_s)
    assert producer.flush(TIMEOUT_S) == 0


def environment_of(kafka: LocalKafka, prefix: str) -> dict[str, str]:
    return {
        "HALCYON_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
        "HALCYON_KAFKA__TOPIC_PREFIX": prefix,
        "HALCYON_WEB__PORT": "0",
    }


def alert_log(kafka: LocalKafka, prefix: str) -> KafkaAlertLog:
    config = {"bootstrap.servers": kafka.bootstrap}
    return KafkaAlertLog(config, f"{prefix}alerts", f"{prefix}findings", TIMEOUT_S)


def read_alerts(kafka: LocalKafka, prefix: str, count: int) -> list[tuple[str, int]]:
    """(id, sequence) of what stands on the topic, once there are `count` and then nothing more for a while."""
    found: list[tuple[str, int]] = []
    deadline = time.monotonic() + PATIENCE_S
    with Feed(KafkaSettings(bootstrap_servers=kafka.bootstrap), f"{prefix}alerts", decode) as feed:
        while time.monotonic() < deadline:
            came = [(alert.id, alert.sequence) for alert in feed.take(2.0)]
            found += came
            if len(found) >= count and not came:
                break
    return found


@pytest.mark.slow
def test_kills_neither_repeat_nor_lose_an_alert_event(kafka: LocalKafka, prefix: str, tmp_path: Path) -> None:
    messages: list[FindingMessage] = [*random_history(11), through(9999), through(9999, partition=1)]
    expected = [(event.alert.id, event.alert.sequence) for event in play(messages) if event.published]
    assert len(expected) > 20
    rng, environment = random.Random(11), environment_of(kafka, prefix)
    values = [findings.encode(message) for message in messages]
    sending = threading.Thread(target=send, args=(kafka, f"{prefix}findings", values, 0.02))
    sending.start()
    log = tmp_path / "worker.log"
    try:
        for _ in range(KILLS):
            with worker(environment, log) as process:
                time.sleep(rng.uniform(5.0, 9.0))  # a session has to time out first, then some are folded
                assert process.poll() is None, log.read_text()
                process.send_signal(signal.SIGKILL)
        sending.join()
        with worker(environment, log) as process:
            found = read_alerts(kafka, prefix, len(expected))
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        sending.join()
    assert found == expected


def test_the_log_is_read_back_from_an_end_and_control_from_where_it_was_left(kafka: LocalKafka, prefix: str) -> None:
    config = {"bootstrap.servers": kafka.bootstrap}

    async def check() -> None:
        log, control = alert_log(kafka, prefix), KafkaControlFeed(config, f"{prefix}control", TIMEOUT_S)
        try:
            assert await log.ends() == {0: 0}
            assert (await log.published_since({})).ids == frozenset()
            producer = Producer(config)
            for number in range(5):
                told: list[tuple[str, str | bytes | None]] = [("ce_id", f"e{number}"), (ORIGIN_HEADER, f"{number}0")]
                producer.produce(f"{prefix}alerts", b"{}", headers=told)
            producer.produce(f"{prefix}findings", b"x")
            silence = Control(kind=ControlKind.SILENCE, id="s1", matchers={"model": "fraud"})
            for _ in range(3):
                producer.produce(f"{prefix}control", encode_control(silence))
            assert producer.flush(TIMEOUT_S) == 0
            assert await log.ends() == {0: 5}
            assert await log.source_end() == 1
            behind = await log.published_since({0: 2})
            assert (behind.ids, behind.last_origin) == (frozenset({"e2", "e3", "e4"}), 40)
            assert len((await log.published_since({0: 99})).ids) == 0
            await control.seek({0: 1})
            came: list[int] = []
            while len(came) < 2:
                came += [record.offset for record in await control.poll()]
                await asyncio.sleep(0.02)
            assert came == [1, 2]
        finally:
            await log.close()
            await control.close()

    asyncio.run(asyncio.wait_for(check(), PATIENCE_S))


def test_a_topic_that_is_not_there_is_said(kafka: LocalKafka, topic_prefix: str) -> None:
    async def check() -> None:
        log = alert_log(kafka, topic_prefix)
        try:
            with pytest.raises(UnavailableError, match="topics apply"):
                await log.ends()
        finally:
            await log.close()

    asyncio.run(check())


def test_alerts_tail_shows_what_stands_on_the_topic(
    kafka: LocalKafka, prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment_of(kafka, prefix).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(alerts_command, "out", lambda: Console(width=120))
    cleared = finding(Kind.ERRORS, "errors", 1, firing=False)
    messages: list[FindingMessage] = [
        finding(Kind.ERRORS, "errors", 0, unit="error ratio"),
        through(1),
        cleared,
        through(2),
    ]
    events = play(messages)
    assert published(events) == [("firing", "HalcyonErrors"), ("resolved", "HalcyonErrors")]
    send(kafka, f"{prefix}alerts", [msgspec.json.encode(event.alert) for event in events])
    assert run(["alerts", "tail", "--no-follow"]) == 0
    text = capsys.readouterr().out
    assert "fraud v3 fails requests" in text
    assert "RESOLVED" in text
    assert run(["alerts", "tail", "--no-follow", "--json", "--status", "firing", "--since", "2023-01-01"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert decode(line.encode()) == events[0].alert


def test_the_query_of_every_kind_of_finding_runs(clickhouse: LocalClickHouse, database: str) -> None:
    hostile = "it's \\' OR 1 = 1 -- "
    with migrated(ClickHouseSettings(url=clickhouse.url, database=database)) as db:
        for kind in Kind:
            assert db.rows(sql_of(finding(kind, hostile, 0))) == []


def test_an_alert_is_a_row_and_its_query_gives_its_number(clickhouse: LocalClickHouse, database: str) -> None:
    scope = Scope(Family.PREDICTION, SCOPE["model"], SCOPE["model_version"])
    late: dict[str, Any] = {"scope": scope, "window_start_ms": HOUR_MS, "window_ms": 10_000, "unit": "null ratio"}
    seen = finding(Kind.NULLS, "latency_ms", 0, value=0.25, **late)
    events = play([seen, Progress(0, HOUR_MS + 10_000)])
    with migrated(ClickHouseSettings(url=clickhouse.url, database=database)) as db:
        db.insert("numerics", [numeric(np.array([1.0, 2.0, 3.0, np.nan]), HOUR_MS)])
        for number, batch in enumerate((findings_rows([(1, seen)]), alerts_rows(events))):
            db.client.insert(batch.table, list(batch.columns), f"alert-{number}")
        (row,) = db.rows("SELECT status, severity, kind, labels, body FROM alerts")
        assert (row["status"], row["severity"], row["kind"]) == ("firing", "warning", "nulls")
        stored = decode(row["body"].encode())
        assert stored == events[0].alert
        assert row["labels"] == stored.labels
        assert db.rows("SELECT quantity, value FROM findings") == [{"quantity": "latency_ms", "value": 0.25}]
        (recomputed,) = db.rows(stored.evidence.leading.sql)
        assert recomputed["null_ratio"] == stored.evidence.leading.value
