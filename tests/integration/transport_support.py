"""What tests of the transport share: a stage that notes everything, lives in this process and in others, a broker."""

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from deploy.local.kafka import LocalKafka
from streams.clock import SystemClock
from streams.runner import serve
from streams.stage import Batch, Position, TopicPartition
from streams.transport import StageApp, TransportSettings, build_app

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
Offset = tuple[TopicPartition, int]


class Recorder:
    """A stage that notes everything, and may commit what it has processed."""

    def __init__(self, name: str, topics: Sequence[str]) -> None:
        self.name, self.topics = name, topics
        self.calls: list[tuple[str, Any]] = []
        self.seen: list[Offset] = []
        self.batches: list[Batch] = []
        self.positions: dict[TopicPartition, Position] = {}
        self.before: Callable[[Batch], Any] = lambda _: None

    async def start(self) -> None:
        self.calls.append(("start", None))

    async def assigned(
        self, partitions: Mapping[TopicPartition, Position | None]
    ) -> Mapping[TopicPartition, int | None]:
        self.calls.append(("assigned", dict(partitions)))
        return {}

    async def process(self, batch: Batch) -> None:
        waiting = self.before(batch)
        if waiting is not None:
            await waiting
        self.calls.append(("process", batch.tp))
        self.batches.append(batch)
        self.seen += [(batch.tp, record.offset) for record in batch.records]
        self.positions[batch.tp] = Position(batch.records[-1].offset + 1, f"after {batch.records[-1].offset}")

    async def tick(self) -> None: ...

    async def revoked(self, partitions: AbstractSet[TopicPartition]) -> None:
        self.calls.append(("revoked", set(partitions)))

    async def stop(self) -> None:
        self.calls.append(("stop", None))

    def committable(self) -> Mapping[TopicPartition, Position]:
        return self.positions


class Life:
    """One worker's life in this process."""

    def __init__(self, *apps: StageApp) -> None:
        self.apps = apps
        self.stop = asyncio.Event()
        self.exit = asyncio.create_task(serve(apps, self.stop))

    async def end(self) -> int:
        self.stop.set()
        return await self.exit


async def until(reached: Callable[[], object], *lives: Life, patience_s: float = PATIENCE_S) -> None:
    """Wait for a condition; an ended life or lost patience fails the test."""
    deadline = time.monotonic() + patience_s
    while not reached():
        assert not any(life.exit.done() for life in lives), "a worker ended"
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.02)


class Broker:
    """The broker as a test uses it."""

    def __init__(self, kafka: LocalKafka, prefix: str) -> None:
        self.kafka, self.bootstrap, self.prefix = kafka, kafka.bootstrap, prefix
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap})
        self.topic, self.group = f"{prefix}in", f"{prefix}group"
        self.sent: Counter[int] = Counter()

    def create(self, partitions: int = 1, topic: str | None = None) -> None:
        topic = topic or self.topic
        self.admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(PATIENCE_S)

    def topics(self) -> set[str]:
        return set(self.admin.list_topics(timeout=PATIENCE_S).topics)

    def send(self, count: int, partition: int = 0, size_bytes: int = 20, topic: str | None = None) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 5})
        for _ in range(count):
            producer.produce(topic or self.topic, b"x" * size_bytes, partition=partition)
            producer.poll(0)
        producer.flush(PATIENCE_S)
        self.sent[partition] += count

    def committed(self, group: str | None = None) -> dict[int, tuple[int, str]]:
        """Ask with aiokafka: confluent-kafka reads past the end of commit metadata, which has no terminating zero."""
        with ThreadPoolExecutor(1) as thread:  # a loop of its own, so that conditions need not be coroutines
            return thread.submit(asyncio.run, self._committed(group or self.group)).result(PATIENCE_S)

    async def _committed(self, group: str) -> dict[int, tuple[int, str]]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(group)
        except GroupCoordinatorNotAvailableError:  # the first group of a broker waits for the topic of offsets
            return {}
        finally:
            await admin.close()
        return {tp.partition: (at.offset, at.metadata) for tp, at in found.items() if tp.topic == self.topic}

    def settings(self, **changes: Any) -> TransportSettings:
        return TransportSettings(self.bootstrap, changes.pop("group", self.group), commit_interval_s=0.1, **changes)

    def run(self, stage: Any, **changes: Any) -> Life:
        return Life(build_app(stage, settings=self.settings(**changes), clock=SystemClock()))

    def recorder(self, name: str = "recorder") -> Recorder:
        return Recorder(name, [self.topic])

    def everything(self) -> set[Offset]:
        return {(TopicPartition(self.topic, p), offset) for p, count in self.sent.items() for offset in range(count)}


def check_order(stage: Recorder) -> None:
    """Check that each partition is taken, fed and given up in this order, and offsets never go back within a life."""
    held: set[TopicPartition] = set()
    for call, what in stage.calls:
        if call == "assigned":
            assert not held, "taken over before the last ones were given up"
            held = set(what)
        elif call == "process":
            assert what in held, "a batch of a partition that is not held"
        elif call == "revoked":
            assert what == held
            held = set()
    for tp in {tp for tp, _ in stage.seen}:
        offsets = [offset for at, offset in stage.seen if at == tp]
        assert offsets == sorted(offsets)


WORKER = """
    import sys
    from streams.runner import run_apps
    from streams.stage import Position
    from streams.transport import TransportSettings, build_app

    class Lines:
        name = "lines"

        def __init__(self, topic):
            self.topics, self.positions = [topic], {}

        async def start(self): ...
        async def assigned(self, partitions):
            print("assigned", *(at.offset if at else "-" for at in partitions.values()), flush=True)
            return {}
        async def process(self, batch):
            for record in batch.records:
                if record.value == b"poison":
                    raise ValueError("poison")
            self.positions[batch.tp] = Position(batch.records[-1].offset + 1)
            print("read", batch.records[0].offset, batch.records[-1].offset + 1, flush=True)
        async def tick(self): ...
        async def revoked(self, partitions):
            print("revoked", flush=True)
        async def stop(self):
            print("refused", app.delivery.counters.commits_refused, flush=True)
        def committable(self):
            return self.positions

    bootstrap, topic, group, interval_s = sys.argv[1:]
    settings = TransportSettings(bootstrap, group, commit_interval_s=float(interval_s), session_timeout_s=6.0)
    app = build_app(Lines(topic), settings=settings)
    sys.exit(run_apps(app))
"""


class Worker:
    """A worker process of its own, for signals."""

    def __init__(self, broker: Broker, folder: Path, commit_interval_s: float = 0.1) -> None:
        self._out = folder / f"{time.monotonic_ns()}.txt"
        arguments = [broker.bootstrap, broker.topic, broker.group, str(commit_interval_s)]
        with self._out.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", textwrap.dedent(WORKER), *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def lines(self) -> list[str]:
        return self._out.read_text().splitlines()

    def read(self) -> int:
        """Return how far it has read."""
        return max((int(line.split()[2]) for line in self.lines() if line.startswith("read")), default=0)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)
