"""Kafka clusters for tests: started, stopped, killed, frozen, and with their leaders moved."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest
from confluent_kafka import ElectionType, TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.local.kafka import LocalKafka, new_cluster_id
from deploy.local.ports import LOOPBACK, free_port
from tests.harness.proxy import Requests, TcpProxy
from tests.harness.waiting import wait_for

_ANSWER_S: Final = 30.0
_SETTLED_S: Final = 60.0

_REPLICATED: Final = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
    # Leaders move when a test moves them.
    "auto.leader.rebalance.enable": "false",
    # A follower that was killed is out of the in-sync replicas soon, not after 30 s.
    "replica.lag.time.max.ms": "3000",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.fetch.timeout.ms": "1000",
}


class Process(Protocol):
    """What can be frozen."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...


@contextmanager
def frozen(process: Process) -> Iterator[None]:
    """SIGSTOP for as long as the block lasts: nothing is answered, nothing is closed."""
    pid = process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class KafkaCluster:
    """One or three brokers, each a controller too.

    Three keep every topic on all of them, and acknowledge (``acks=all``) what two have. Each broker has a second
    listener whose advertised address is that of a proxy: whoever bootstraps at ``proxied_bootstrap`` goes through the
    proxies of :meth:`network`, everybody else goes straight to the brokers.

    Parameters
    ----------
    folder
        For logs and configuration.
    nodes
        1 or 3.
    heap_mb
        Of each broker.
    """

    def __init__(self, folder: Path, nodes: int = 1, heap_mb: int = 512) -> None:
        cluster_id = new_cluster_id()
        self.nodes: list[LocalKafka] = []
        self._listeners: list[int] = []
        self._proxies: list[int] = []
        self._keepers = ExitStack()
        for number in range(1, nodes + 1):
            self.nodes.append(LocalKafka(folder / f"kafka-{number}", heap_mb=heap_mb, cluster_id=cluster_id))
            self._listeners.append(free_port())
            self._proxies.append(free_port())
        voters = ",".join(f"{n}@{LOOPBACK}:{node.controller_port}" for n, node in enumerate(self.nodes, 1))
        for number, node in enumerate(self.nodes, 1):
            behind, before = self._listeners[number - 1], self._proxies[number - 1]
            node.properties |= {
                "node.id": str(number),
                "controller.quorum.voters": voters,
                "listeners": f"BROKER://{LOOPBACK}:{node.port},CONTROLLER://{LOOPBACK}:{node.controller_port},"
                f"PROXIED://{LOOPBACK}:{behind}",
                "advertised.listeners": f"BROKER://{LOOPBACK}:{node.port},PROXIED://{LOOPBACK}:{before}",
                "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT",
                **(_REPLICATED if nodes > 1 else {}),
            }

    @property
    def bootstrap(self) -> str:
        """Addresses of all brokers."""
        return ",".join(node.bootstrap for node in self.nodes)

    @property
    def proxied_bootstrap(self) -> str:
        """Addresses of all proxies."""
        return ",".join(f"{LOOPBACK}:{port}" for port in self._proxies)

    @property
    def copies(self) -> int:
        """The replication factor of topics."""
        return len(self.nodes)

    @property
    def alive(self) -> bool:
        """Whether every broker runs."""
        return all(node.alive for node in self.nodes)

    def start(self) -> Self:
        """Start what does not run, and wait until all answer; returns itself."""
        started = [node for node in self.nodes if not node.alive]
        with ThreadPoolExecutor(max(len(started), 1)) as pool:
            list(pool.map(LocalKafka.launch, started))
            list(pool.map(LocalKafka.wait_ready, started))
        return self

    def stop(self) -> None:
        """End all brokers at once: what they hold is thrown away with their folder."""
        for node in self.nodes:
            node.kill()

    def __enter__(self) -> Self:
        self._keep_ports()
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._keepers.close()

    @contextmanager
    def network(self, losing: bytes = b"") -> Iterator["Network"]:
        """The proxies, while the block lasts; what answers they lose are to messages for the topic ``losing``."""
        self._keepers.close()
        try:
            with ExitStack() as stack:
                places = zip(self._listeners, self._proxies, strict=True)
                proxies = [TcpProxy(behind, before, lambda: Requests(losing)) for behind, before in places]
                yield Network([stack.enter_context(proxy) for proxy in proxies])
        finally:
            self._keep_ports()

    def _keep_ports(self) -> None:
        """Listen where the proxies will: the brokers advertise it for as long as they live, and ports are in demand."""
        for port in self._proxies:
            self._keepers.enter_context(socket.create_server((LOOPBACK, port)))

    # -- leaders -----------------------------------------------------------------------------------------------------

    def node(self, number: int) -> LocalKafka:
        """A broker by its ``node.id``."""
        return self.nodes[number - 1]

    def leaders(self, topic: str) -> dict[int, int]:
        """Partition → number of the broker that leads it; -1 for none."""
        return {number: info.leader for number, info in self._partitions(topic).items()}

    def in_sync(self, topic: str) -> dict[int, set[int]]:
        """Partition → brokers that have all of it."""
        return {number: set(info.isrs) for number, info in self._partitions(topic).items()}

    def move_leader(self, topic: str, partition: int, to: int) -> None:
        """Make an in-sync broker the leader of a partition, and wait until it is."""
        replicas = sorted(self._partitions(topic)[partition].replicas, key=lambda number: number != to)
        asyncio.run(self._reassign(topic, partition, replicas))

        def elected() -> int:
            place = TopicPartition(topic, partition)
            # ELECTION_NOT_NEEDED is as good as done; anything else shows in who leads.
            admin = self._admin()
            admin.elect_leaders(ElectionType.PREFERRED, [place]).result(_ANSWER_S)
            return self.leaders(topic)[partition]

        wait_for(f"broker {to} leads {topic}[{partition}]", elected, _SETTLED_S, until=lambda leader: leader == to)

    def wait_in_sync(self, topic: str) -> None:
        """Wait until every broker has all of a topic."""
        everyone = {node.node_id for node in self.nodes}
        wait_for(
            f"all copies of {topic} are in sync", lambda: self.in_sync(topic), _SETTLED_S,
            until=lambda found: all(has == everyone for has in found.values()),
        )  # fmt: skip

    async def _reassign(self, topic: str, partition: int, replicas: list[int]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            request = AlterPartitionReassignmentsRequest(30_000, [(topic, [(partition, replicas, {})], {})], {})
            answer = await admin._send_to_controller(request)
            codes = [answer.error_code, *(p[1] for _, partitions, *_ in answer.responses for p in partitions)]
            assert not any(codes), f"{topic}[{partition}] → {replicas}: {answer}"
        finally:
            await admin.close()

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def _partitions(self, topic: str) -> dict[int, "PartitionInfo"]:
        return dict(self._admin().list_topics(topic, _ANSWER_S).topics[topic].partitions)


class PartitionInfo(Protocol):
    """What a broker says of a partition."""

    leader: int
    replicas: list[int]
    isrs: list[int]


class Network:
    """All proxies of a cluster, treated alike."""

    def __init__(self, proxies: list[TcpProxy]) -> None:
        self.proxies = proxies

    @contextmanager
    def cut(self) -> Iterator[None]:
        """No connection, and none can be made."""
        with ExitStack() as stack:
            for proxy in self.proxies:
                stack.enter_context(proxy.refused())
            yield

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Connections stay, and nothing passes on them: a cable that was pulled."""
        with ExitStack() as stack:
            for proxy in self.proxies:
                stack.enter_context(proxy.stalled())
            yield

    @contextmanager
    def delayed(self, seconds: float) -> Iterator[None]:
        """Everything takes so much longer, each way."""
        with ExitStack() as stack:
            for proxy in self.proxies:
                stack.enter_context(proxy.delayed(seconds))
            yield
