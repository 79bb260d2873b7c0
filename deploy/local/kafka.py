"""Apache Kafka itself, as one child process on the loopback interface: broker and controller in one (KRaft)."""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from deploy.local.jars import find_java, resolve_jars
from deploy.local.ports import LOOPBACK, free_port, port_accepts, port_is_free
from deploy.local.process import ChildProcess, LocalPartError

_FORMAT_TIMEOUT_S = 120.0
_PROBE_TIMEOUT_S = 2.0
_START_TIMEOUT_S = 60.0
# One collector thread and the quick compiler alone: starts sooner and takes less memory, at no lower throughput for a
# broker of this size; the machine's cores belong to the workers.
_JVM_COMMON = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true", "-Dfile.encoding=UTF-8")

_SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=BROKER://{host}:{port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs={log_dir}

# A misspelt topic name is an error, not a new topic.
auto.create.topics.enable=false

# One node: internal topics cannot have more replicas than there are brokers; few partitions start sooner.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1

# The first member of a group need not wait for others.
group.initial.rebalance.delay.ms=0

# After a kill the controller refuses the same broker until the session of its last life is over (default: 9 s).
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500

# What a small heap and two cores can bear.
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=16777216
log.segment.bytes=268435456
log.index.size.max.bytes=2097152
"""

# To stdout, which is the child's log file: what the JVM itself says before it dies stands there too.
_LOG4J_PROPERTIES = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %-5p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""


def new_cluster_id() -> str:
    """Kafka's form of an identifier: 16 random bytes in URL-safe base 64 without padding."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


class LocalKafka:
    """A Kafka broker that keeps its log in a folder: a cluster of its own, or a node of one.

    Parameters
    ----------
    data_dir
        Folder of the log, the configuration and ``kafka.log``; made when missing. Starting again on the same
        folder keeps topics, messages and committed offsets, also after a kill.
    port
        Port of the broker on 127.0.0.1; by default a free one, chosen once.
    heap_mb
        Bound of the Java heap in MiB, >= 128.
    properties
        Lines of ``server.properties`` that are added, or replace those of the same name. The plain listener
        ``BROKER`` must stay: readiness is asked for there. A node of a cluster has its ``node.id`` and
        ``controller.quorum.voters`` here.
    cluster_id
        What all nodes of a cluster share, see :func:`new_cluster_id`; by default one of its own. It counts when the
        folder is used for the first time.

    Notes
    -----
    A killed broker loses nothing that it acknowledged: acknowledged records are in the operating system's page
    cache. Only a crash of the machine could lose them; a broker of one node promises no more.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        heap_mb: int = 512,
        properties: Mapping[str, str] | None = None,
        cluster_id: str | None = None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.heap_mb = heap_mb
        self.properties = dict(properties or {})
        self.cluster_id = cluster_id or new_cluster_id()
        self.port = free_port() if port is None else port
        self.controller_port = free_port()
        self._child = ChildProcess("the local Kafka broker", self.data_dir / "kafka.log")

    @property
    def bootstrap(self) -> str:
        """Address for clients, ``host:port``."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def node_id(self) -> int:
        """Number of the broker in its cluster."""
        return int(self.properties.get("node.id", "1"))

    @property
    def pid(self) -> int:
        """Process id of the running broker; an error when it does not run."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the broker's process runs."""
        return self._child.alive

    def start(self, timeout_s: float = _START_TIMEOUT_S) -> Self:
        """Start the broker and wait until it answers a metadata request; returns itself.

        The first start ever fetches the jars (tens of MB), on top of `timeout_s`.

        Raises
        ------
        LocalPartError
            When Java or Maven is missing, a port is taken, or the broker ends or is not ready in time.
        """
        self.launch()
        self.wait_ready(timeout_s)
        return self

    def launch(self) -> None:
        """Start the broker's process, and return at once: a node of a cluster is not ready before most of them run.

        Raises
        ------
        LocalPartError
            When it runs already, Java or Maven is missing, or a port is taken.
        """
        if self._child.alive:
            raise LocalPartError(f"the local Kafka broker already runs as process {self.pid}: stop() it first")
        java, jars = find_java(), resolve_jars()
        for port in (self.port, self.controller_port):
            if not port_is_free(port):
                raise LocalPartError(f"port {port} on {LOOPBACK} is taken: end what listens there, or choose another")
        self._prepare(java, jars)
        self._child.start(
            [
                java,
                f"-Xmx{self.heap_mb}m",
                # A first estimate of the working set saves collections while starting.
                f"-Xms{min(self.heap_mb, 256)}m",
                *_JVM_COMMON,
                f"-Dlog4j2.configurationFile={self.data_dir / 'log4j2.properties'}",
                "-cp",
                f"{jars}/*",
                "kafka.Kafka",
                str(self._properties_path),
            ]
        )

    def wait_ready(self, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Wait until the launched broker answers, and is one of its cluster's.

        Raises
        ------
        LocalPartError
            When it ends or is not ready in time.
        """
        self._child.wait_ready(self._answers, timeout_s)

    def stop(self, timeout_s: float = 15.0) -> None:
        """Shut the broker down in order (SIGTERM), and kill it when it takes longer."""
        self._child.stop(timeout_s)

    def kill(self) -> None:
        """End the broker at once (SIGKILL)."""
        self._child.kill()

    def restart(self, timeout_s: float = _START_TIMEOUT_S) -> Self:
        """Stop the broker if it runs and start it again on the same folder and ports."""
        self.stop()
        return self.start(timeout_s)

    def log_tail(self, lines: int = 30) -> str:
        """Return the last lines that the broker logged."""
        return self._child.log_tail(lines)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _properties_path(self) -> Path:
        return self.data_dir / "server.properties"

    def _prepare(self, java: str, jars: Path) -> None:
        log_dir = self.data_dir / "log"
        self.data_dir.mkdir(parents=True, exist_ok=True)
        ours = _SERVER_PROPERTIES.format(
            host=LOOPBACK, port=self.port, controller_port=self.controller_port, log_dir=log_dir
        )
        # Of two lines with one name the later one counts.
        theirs = "".join(f"{name}={value}\n" for name, value in self.properties.items())
        self._properties_path.write_text(f"{ours}\n{theirs}")
        (self.data_dir / "log4j2.properties").write_text(_LOG4J_PROPERTIES)
        meta = log_dir / "meta.properties"
        if not meta.exists():
            self._format(java, jars)
        pairs = dict(line.split("=", 1) for line in meta.read_text().splitlines() if "=" in line)
        self.cluster_id = pairs["cluster.id"]

    def _format(self, java: str, jars: Path) -> None:
        command = [java, "-Xmx128m", *_JVM_COMMON, "-Dlog4j2.level=ERROR"]
        command += ["-cp", f"{jars}/*", "kafka.tools.StorageTool", "format"]
        # With "=": an identifier may begin with a dash.
        command += [f"--cluster-id={self.cluster_id}", "--config", str(self._properties_path)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_FORMAT_TIMEOUT_S)
        if answer.returncode != 0:
            raise LocalPartError(
                f"Kafka could not format {self.data_dir}: empty the folder or name another.\n"
                f"{answer.stdout}{answer.stderr}"
            )

    def _answers(self) -> bool:
        if not port_accepts(self.port):
            return False
        # Log level 0: connections that fail while the broker starts are expected.
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "client.id": "halcyon-local"})
        try:
            metadata = admin.list_topics(timeout=_PROBE_TIMEOUT_S)
        except KafkaException:
            return False
        # The identifier tells our broker from one that took the port in between.
        answered_by: str | None = metadata.cluster_id
        return answered_by == self.cluster_id and self.node_id in metadata.brokers
