"""The local broker keeps what it acknowledged, says what is wrong, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from deploy.local import jars
from deploy.local.jars import find_java, kafka_version, resolve_jars
from deploy.local.kafka import LocalKafka
from deploy.local.ports import Ports, free_port, port_is_free
from deploy.local.process import ChildProcess, LocalPartError, tail

pytestmark = pytest.mark.integration

WAIT_S = 30.0
METADATA = '{"watermark_ms": 1700000000000, "high": 8}'


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that ended and was not yet waited for is no longer running.
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text() if sys.platform == "linux" else True


def create_topic(broker: LocalKafka, topic: str, partitions: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(WAIT_S)


def produce(broker: LocalKafka, topic: str, values: list[bytes]) -> None:
    failures: list[KafkaError] = []
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all"})
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: failures.append(error) if error else None)
    assert producer.flush(WAIT_S) == 0
    assert failures == []


def consumer(broker: LocalKafka, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )


def read(client: Consumer, count: int) -> list[bytes]:
    values: list[bytes] = []
    deadline = time.monotonic() + WAIT_S
    while len(values) < count and time.monotonic() < deadline:
        for message in client.consume(count - len(values), timeout=1.0):
            assert message.error() is None
            values.append(message.value() or b"")
    return values


def test_what_is_produced_is_consumed(kafka: LocalKafka, topic_prefix: str) -> None:
    topic = topic_prefix + "events"
    create_topic(kafka, topic, partitions=3)
    produce(kafka, topic, [b"%d" % n for n in range(300)])
    client = consumer(kafka, topic_prefix + "group")
    client.subscribe([topic])
    assert sorted(read(client, 300), key=int) == [b"%d" % n for n in range(300)]
    client.close()


def test_an_unknown_topic_is_an_error_not_a_new_topic(kafka: LocalKafka, topic_prefix: str) -> None:
    client = consumer(kafka, topic_prefix + "group")
    client.assign([TopicPartition(topic_prefix + "misspelt", 0)])
    with pytest.raises(KafkaException) as raised:
        client.get_watermark_offsets(TopicPartition(topic_prefix + "misspelt", 0), timeout=WAIT_S)
    assert raised.value.args[0].code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION}
    client.close()
    topics = AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=WAIT_S).topics
    assert topic_prefix + "misspelt" not in topics


def test_messages_and_commit_metadata_survive_a_kill(kafka: LocalKafka, topic_prefix: str) -> None:
    topic, group = topic_prefix + "events", topic_prefix + "group"
    create_topic(kafka, topic)
    produce(kafka, topic, [b"%d" % n for n in range(1000)])
    before = consumer(kafka, group)
    before.commit(offsets=[TopicPartition(topic, 0, 600, METADATA)], asynchronous=False)
    before.close()
    address, killed_pid = kafka.bootstrap, kafka.pid

    kafka.kill()
    assert not runs(killed_pid)
    kafka.restart()

    assert kafka.bootstrap == address
    after = consumer(kafka, group)
    (committed,) = after.committed([TopicPartition(topic, 0)], timeout=WAIT_S)
    assert (committed.offset, committed.metadata) == (600, METADATA)
    after.assign([committed])
    assert read(after, 400) == [b"%d" % n for n in range(600, 1000)]
    assert after.get_watermark_offsets(TopicPartition(topic, 0), timeout=WAIT_S) == (0, 1000)
    after.close()


def test_listens_on_one_address_only(kafka: LocalKafka) -> None:
    # A server on all addresses would answer at this one too; it needs no network to be tried.
    for port in (kafka.port, kafka.controller_port):
        assert not port_is_free(port)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=WAIT_S).close()


def test_a_stopped_broker_leaves_no_process_and_no_port(kafka: LocalKafka) -> None:
    pid, port = kafka.pid, kafka.port
    kafka.stop()
    try:
        assert not kafka.alive
        assert not runs(pid)
        assert port_is_free(port)
        with pytest.raises(LocalPartError, match=r"not running: call start\(\)"):
            _ = kafka.pid
    finally:
        kafka.start()


def test_starting_twice_is_an_error(kafka: LocalKafka) -> None:
    with pytest.raises(LocalPartError, match=f"already runs as process {kafka.pid}"):
        kafka.start()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LocalPartError, match=f"port {port} on 127.0.0.1 is taken"):
            LocalKafka(tmp_path, port=port).start()


def test_a_broker_that_ends_while_starting_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "meta.properties").write_text("version=1\ncluster.id=AAAAAAAAAAAAAAAAAAAAAA\nnode.id=99\n")
    broker = LocalKafka(tmp_path)
    with pytest.raises(LocalPartError, match=r"(?s)ended with status \d+ while starting.*kafka.log.*node.id.*99"):
        broker.start()
    assert not broker.alive


def test_a_broker_that_is_not_ready_in_time_is_ended(tmp_path: Path) -> None:
    broker = LocalKafka(tmp_path)
    with pytest.raises(LocalPartError, match=r"was not ready after 0 s"):
        broker.start(timeout_s=0)
    assert not broker.alive
    assert port_is_free(broker.port)


PARENT = """
import sys, time
from pathlib import Path
from deploy.local.process import ChildProcess
child = ChildProcess("sleeper", Path(sys.argv[1]) / "log")
child.start(["/bin/sleep", "600"])
print(child.pid, flush=True)
{then}
"""


def start_parent(folder: Path, then: str) -> tuple[subprocess.Popen[str], int]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(then=then), str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills the children of a killed process")
def test_a_child_dies_with_a_killed_parent(tmp_path: Path) -> None:
    parent, child_pid = start_parent(tmp_path, "time.sleep(600)")
    assert runs(child_pid)
    with parent:
        parent.send_signal(signal.SIGKILL)
    assert eventually(lambda: not runs(child_pid))


@pytest.mark.parametrize("then", ["pass", "sys.exit(3)", "raise ValueError"])
def test_a_child_dies_with_a_parent_that_forgets_it(tmp_path: Path, then: str) -> None:
    parent, child_pid = start_parent(tmp_path, f"sys.stderr = open('/dev/null', 'w'); {then}")
    with parent:
        parent.wait(WAIT_S)
    assert eventually(lambda: not runs(child_pid))


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[ChildProcess]:
    child = ChildProcess("sleeper", tmp_path / "log")
    yield child
    child.kill()


def test_a_child_outlives_the_thread_that_started_it(sleeper: ChildProcess) -> None:
    starter = threading.Thread(target=sleeper.start, args=(["/bin/sleep", "600"],))
    starter.start()
    starter.join()
    # The kernel would send the death signal as the thread ends: give it the time to arrive.
    time.sleep(0.3)
    assert sleeper.alive


def test_a_child_that_ignores_sigterm_is_killed(sleeper: ChildProcess, tmp_path: Path) -> None:
    sleeper.start(["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"])
    sleeper.wait_ready(lambda: "ready" in sleeper.log_tail(), WAIT_S)
    pid = sleeper.pid
    sleeper.stop(timeout_s=0.2)
    assert not runs(pid)


def test_free_ports_are_free_and_differ() -> None:
    ports = [free_port() for _ in range(250)]
    assert len(set(ports)) == len(ports)
    assert all(port_is_free(port) for port in ports[-10:])


TAKE_THREE = """
import sys
from pathlib import Path
from deploy.local.ports import Ports
ports = Ports(range(20_000, 20_200), Path(sys.argv[1]))
print(*(ports.take() for _ in range(3)), flush=True)
sys.stdin.read()
"""


def test_no_two_processes_are_given_the_same_port(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE_THREE, str(tmp_path)]
    first, second = (subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2))
    with first, second:
        blocks = [{int(port) // 100 for port in one.stdout.readline().split()} for one in (first, second) if one.stdout]
        assert len(blocks[0]) == len(blocks[1]) == 1
        assert not blocks[0] & blocks[1]
        with pytest.raises(LocalPartError, match="no free port"):
            Ports(range(20_000, 20_200), tmp_path).take()
        first.communicate()
        second.communicate()
    with closing(Ports(range(20_000, 20_200), tmp_path)) as heir:
        assert heir.take() in range(20_000, 20_200)


def test_ports_are_given_again_when_all_were(tmp_path: Path) -> None:
    with closing(Ports(range(20_000, 20_010), tmp_path)) as ports:
        taken = [ports.take() for _ in range(25)]
    assert set(taken) <= set(range(20_000, 20_010))


def test_where_no_port_is_free_it_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LocalPartError, match="no free port"):
            Ports(range(port, port + 1), tmp_path).take()


def test_tail_reads_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("\n".join(str(n) for n in range(100_000)))
    assert tail(path, 2).split() == ["99998", "99999"]
    assert tail(tmp_path / "missing") == ""


FAKE_MAVEN = """#!/bin/sh
echo run >> "$FAKE_LOG"
for argument in "$@"; do case "$argument" in -DoutputDirectory=*) out="${argument#*=}" ;; esac; done
sleep 0.2
mkdir -p "$out"
[ -n "$FAKE_FAILS" ] && { echo "the artifact is not there"; exit 1; }
touch "$out/kafka_2.13-0.jar"
"""


@pytest.fixture
def fake_maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "mvn"
    program.parent.mkdir()
    program.write_text(FAKE_MAVEN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "runs"))
    monkeypatch.setenv("FAKE_FAILS", "")
    return tmp_path / "runs"


def test_jars_are_resolved_once_by_callers_at_once(fake_maven: Path, tmp_path: Path) -> None:
    folders: list[Path] = []
    callers = [threading.Thread(target=lambda: folders.append(resolve_jars(root=tmp_path / "cache"))) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(set(folders)) == 1
    assert len(folders) == 4
    assert folders[0].name.startswith(f"kafka-{kafka_version()}-")
    assert fake_maven.read_text().split() == ["run"]
    assert sorted(entry.name for entry in folders[0].parent.iterdir()) == [folders[0].name, "lock"]


def test_a_failed_resolution_leaves_nothing_and_is_tried_again(
    fake_maven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAILS", "1")
    with pytest.raises(LocalPartError, match=r"(?s)check the network.*the artifact is not there"):
        resolve_jars(root=tmp_path / "cache")
    assert [entry.name for entry in (tmp_path / "cache" / "kafka").iterdir()] == ["lock"]
    monkeypatch.setenv("FAKE_FAILS", "")
    assert resolve_jars(root=tmp_path / "cache").is_dir()


def test_another_pom_is_another_folder(fake_maven: Path, tmp_path: Path) -> None:
    changed = tmp_path / "pom.xml"
    changed.write_text(jars.POM_PATH.read_text() + "<!-- changed -->\n")
    assert resolve_jars(changed, tmp_path / "cache") != resolve_jars(root=tmp_path / "cache")


def test_the_pom_names_no_repository() -> None:
    text = jars.POM_PATH.read_text()
    assert "<repositor" not in text
    assert [part for part in text.split('"') if "://" in part] == ["http://maven.apache.org/POM/4.0.0"]


@pytest.fixture
def no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    find_java.cache_clear()
    yield
    find_java.cache_clear()


@pytest.mark.usefixtures("no_programs")
def test_missing_java_and_maven_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LocalPartError, match=r"Java is missing on the PATH.*setup\.sh"):
        find_java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(LocalPartError, match=r"Java is missing in JAVA_HOME=.*nowhere"):
        find_java()
    with pytest.raises(LocalPartError, match=r"Maven \(mvn\) is missing.*setup\.sh"):
        resolve_jars(root=tmp_path / "cache")


@pytest.mark.usefixtures("no_programs")
def test_an_old_java_is_named(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    with pytest.raises(LocalPartError, match="is Java 11; the local Kafka broker needs 17"):
        find_java()
