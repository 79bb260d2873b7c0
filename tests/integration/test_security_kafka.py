"""Every client of Halcyon's against a broker that demands TLS, certificates or passwords."""

import asyncio
import base64
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # public, for all but mypy

from streams.acls import READ, WRITE, Acl
from streams.broker import BrokerView
from streams.cli.app import run
from streams.cli.feed import Feed
from streams.compacted import CompactedReader
from streams.config import KafkaSettings, load_settings
from streams.connections import client_config, client_security, consumer_security
from streams.presence import wait_for_topics
from streams.probe import Answer, Verdict, ask_kafka
from streams.producer import Producer
from streams.wire import Progress, TransportSettings
from tests.harness.secure_kafka import LISTENERS, MTLS_USER, PASSWORD, PLAIN_USER, SCRAM_USER, SecureKafka
from tests.harness.waiting import wait_for
from tests.harness.workers import Worker

TIMEOUT_S = 30.0
WELCOMING = [name for name in LISTENERS if name != "ELSEWHERE"]


@pytest.fixture
def topic(secure_kafka: SecureKafka) -> Iterator[str]:
    """A topic that the users of all listeners may read and write."""
    name = f"t{uuid.uuid4().hex[:10]}"
    for made in secure_kafka.admin.create_topics([NewTopic(name, 1, 1)]).values():
        made.result(TIMEOUT_S)
    rights = [Acl("topic", name, READ), Acl("topic", name, WRITE)]
    for user in (PLAIN_USER, SCRAM_USER, MTLS_USER):
        secure_kafka.grant(user, rights)
    yield name
    for gone in secure_kafka.admin.delete_topics([name]).values():
        gone.result(TIMEOUT_S)


def settings(env: Mapping[str, str], **changes: object) -> KafkaSettings:
    return load_settings(env=env, overrides={"kafka": changes}).kafka


class _Stage:
    name = "test"

    def __init__(self, *topics: str) -> None:
        self.topics = topics


@pytest.mark.parametrize("listener", WELCOMING)
async def test_all_clients_come_in(listener: str, secure_kafka: SecureKafka, topic: str) -> None:
    kafka = settings(secure_kafka.settings(listener))
    producer = Producer(kafka.bootstrap_servers, security=client_security(kafka))
    producer.send(topic, b"value", key=b"key")
    await producer.barrier()
    await producer.close()
    reader = CompactedReader(client_config(kafka), topic, None, TIMEOUT_S)
    assert await reader.read_to_end() == [(b"key", b"value")]
    reader.close()
    assert await BrokerView(client_config(kafka), TIMEOUT_S).partitions(topic) == 1
    with Feed(kafka, topic, bytes) as feed:
        assert await asyncio.to_thread(wait_for, "the message", lambda: list(feed.take(0.2)), TIMEOUT_S) == [b"value"]
    transport = TransportSettings(kafka.bootstrap_servers, "unused", security=consumer_security(kafka))
    async with asyncio.timeout(TIMEOUT_S):
        await wait_for_topics(_Stage(topic), transport, Progress(0.0), asyncio.Event())  # type: ignore[arg-type]
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest", **transport.security
        )
        await consumer.start()
        try:
            assert (await consumer.getone()).value == b"value"
        finally:
            await consumer.stop()


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_both_scram_mechanisms(mechanism: str, secure_kafka: SecureKafka) -> None:
    kafka = settings(secure_kafka.settings("SCRAM"), sasl_mechanism=mechanism)
    assert ask_kafka(kafka) == Answer(Verdict.WELCOME)


def test_secrets_come_from_files(secure_kafka: SecureKafka, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    env = secure_kafka.settings("SCRAM")
    del env["HALCYON_KAFKA__SASL_PASSWORD"]
    kafka = settings(env, sasl_password_file=str(tmp_path / "password"))
    assert ask_kafka(kafka) == Answer(Verdict.WELCOME)
    # The file is read when a client is made: what stands in it by then counts.
    (tmp_path / "password").write_text("another")
    assert ask_kafka(kafka).verdict is Verdict.REFUSED


def test_an_encrypted_key_is_opened(secure_kafka: SecureKafka, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    locked = {"ssl_cert_file": str(secure_kafka.locked.cert), "ssl_key_file": str(secure_kafka.locked.key)}
    kafka = settings(secure_kafka.settings("MTLS"), **locked, ssl_key_password_file=str(tmp_path / "password"))
    assert ask_kafka(kafka) == Answer(Verdict.WELCOME)
    assert consumer_security(kafka)["ssl_context"].check_hostname


def test_the_name_in_the_certificate_counts_unless_told_otherwise(secure_kafka: SecureKafka) -> None:
    env = secure_kafka.settings("ELSEWHERE")
    assert ask_kafka(settings(env)).verdict is Verdict.REFUSED
    assert ask_kafka(settings(env, ssl_check_hostname=False)) == Answer(Verdict.WELCOME)
    assert not consumer_security(settings(env, ssl_check_hostname=False))["ssl_context"].check_hostname


def mistakes(broker: SecureKafka) -> dict[str, tuple[str, dict[str, object]]]:
    """What can be wrong: (listener, what is changed)."""
    impostor: dict[str, object] = {"ssl_cert_file": str(broker.impostor.cert), "ssl_key_file": str(broker.impostor.key)}
    return {
        "wrong scram password": ("SCRAM", {"sasl_password": f"{PASSWORD}!"}),
        "wrong plain password": ("PLAIN", {"sasl_password": f"{PASSWORD}!"}),
        "unknown user": ("SCRAM", {"sasl_username": "nobody"}),
        "mechanism that is not offered": ("PLAIN", {"sasl_mechanism": "SCRAM-SHA-512"}),
        "another authority": ("TLS", {"ssl_ca_file": str(broker.stranger.file)}),
        "certificate of another authority": ("MTLS", impostor),
        "no certificate": ("MTLS", {"ssl_cert_file": "", "ssl_key_file": ""}),
    }


MISTAKES = (
    "wrong scram password",
    "wrong plain password",
    "unknown user",
    "mechanism that is not offered",
    "another authority",
    "certificate of another authority",
    "no certificate",
)


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_who_is_not_known_stays_outside_and_is_told(mistake: str, secure_kafka: SecureKafka) -> None:
    listener, changes = mistakes(secure_kafka)[mistake]
    kafka = settings(secure_kafka.settings(listener), **changes)
    answer = await asyncio.to_thread(ask_kafka, kafka)
    assert answer.verdict is Verdict.REFUSED, answer
    assert "correct horse" not in answer.words
    # aiokafka stays outside just as well.
    consumer = AIOKafkaConsumer("x", bootstrap_servers=kafka.bootstrap_servers, **consumer_security(kafka))
    with pytest.raises(Exception, match="bootstrap") as caught:
        await consumer.start()
    await consumer.stop()
    assert "correct horse" not in repr(caught.value)


def test_a_client_that_does_not_encrypt_gets_nowhere(secure_kafka: SecureKafka) -> None:
    plain = {"HALCYON_KAFKA__BOOTSTRAP_SERVERS": secure_kafka.address("TLS")}
    assert ask_kafka(settings(plain), patience_s=2.0).verdict is Verdict.AWAY


def test_config_check_says_whether_the_credentials_work(
    secure_kafka: SecureKafka, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in secure_kafka.settings("SCRAM").items():
        monkeypatch.setenv(name, value)
    assert run(["config", "check"]) == 0
    assert "Kafka lets this client in" in capsys.readouterr().out
    monkeypatch.setenv("HALCYON_KAFKA__SASL_PASSWORD", f"{PASSWORD}!")
    assert run(["config", "check"]) == 1
    said = capsys.readouterr()
    assert "Kafka refuses this client" in said.out
    assert "correct horse" not in said.out + said.err


@pytest.mark.parametrize(
    ("listener", "known"),
    [("PLAIN", True), ("PLAIN", False), ("SCRAM", True)],
    ids=["PLAIN, let in", "PLAIN, refused", "SCRAM"],
)
def test_a_worker_tells_its_secrets_nobody(
    listener: str, known: bool, secure_kafka: SecureKafka, tmp_path: Path
) -> None:
    """Not in its log, however much it logs, not on its pages, not in its arguments."""
    env = secure_kafka.settings(listener) | {
        "HALCYON_LOGGING__LEVEL": "debug",
        "HALCYON_CLICKHOUSE__PASSWORD": f"{PASSWORD} too",
    }
    if not known:
        env["HALCYON_KAFKA__SASL_PASSWORD"] += "!"
    worker = Worker("worker", ("ingest", "write"), tmp_path, env)
    worker.start()
    try:
        said = "waiting for topics"
        wait_for("it waits for its topics", lambda: said in worker.log_path.read_text(), 60.0)
        url = (tmp_path / "worker.ready").read_text()
        pages = [_page(f"{url}/{name}") for name in ("metrics", "healthz", "readyz")]
        shown = "\n".join([*pages, *psutil.Process(worker.pid).cmdline()])
    finally:
        worker.stop()
    shown += worker.log_path.read_text()
    for secret in hidden(PASSWORD):
        assert secret not in shown, [line for line in shown.splitlines() if secret in line][:3]


def hidden(secret: str) -> list[str]:
    """The ways in which a secret could be written."""
    half = secret[:13]
    return [half, repr(secret)[1:-1], base64.b64encode(half.encode()).decode()[:12], half.encode().hex()]


def _page(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as page:  # noqa: S310 - the worker's own http://
            return page.read().decode()  # type: ignore[no-any-return]
    except urllib.error.HTTPError as error:
        return error.read().decode()
