"""Stages on a real broker: what is delivered, what is committed, and what outlives a kill."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from deploy.local.kafka import LocalKafka
from streams.clock import SystemClock
from streams.runner import serve
from streams.stage import Batch, Position, TopicPartition
from streams.transport import StageApp, TransportSettings, build_app
from streams.wire import CommitRefusedError, State

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


@pytest.fixture
def broker(kafka: LocalKafka, topic_prefix: str) -> Broker:
    return Broker(kafka, topic_prefix)


async def test_batches_come_whole_and_positions_with_metadata_outlive_the_worker(broker: Broker) -> None:
    broker.create(partitions=2)
    broker.send(500, partition=0)
    broker.send(300, partition=1)
    first = broker.recorder()
    life = broker.run(first)
    await until(lambda: len(first.seen) == 800, life)
    await until(lambda: broker.committed() == {0: (500, "after 499"), 1: (300, "after 299")}, life)
    assert len(first.batches) < 100, "records came one by one"
    assert first.batches[-1].lag == 0
    assert await life.end() == 0
    assert set(first.seen) == broker.everything()
    assert [call for call, _ in first.calls if call != "process"] == ["start", "assigned", "revoked", "stop"]

    broker.send(100, partition=1)
    second = broker.recorder()
    life = broker.run(second)
    await until(lambda: second.seen, life)
    assert await life.end() == 0
    assert second.calls[1] == (
        "assigned",
        {
            TopicPartition(broker.topic, 0): Position(500, "after 499"),
            TopicPartition(broker.topic, 1): Position(300, "after 299"),
        },
    )
    assert sorted(second.seen) == [(TopicPartition(broker.topic, 1), offset) for offset in range(300, 400)]


async def test_faust_creates_nothing_on_the_broker(broker: Broker) -> None:
    broker.create()
    broker.send(10)
    before = broker.topics()
    stage = broker.recorder()
    life = broker.run(stage)
    await until(lambda: len(stage.seen) == 10, life)
    await life.end()
    assert broker.topics() - before <= {"__consumer_offsets"}


async def test_a_missing_topic_is_waited_for_and_not_created(broker: Broker) -> None:
    stage = broker.recorder()
    life = broker.run(stage)
    (app,) = life.apps
    await until(lambda: app.delivery.progress.missing_topics == (broker.topic,), life)
    assert app.delivery.state is State.WAITING_FOR_TOPICS
    assert stage.calls == []
    assert broker.topic not in broker.topics()
    broker.create()
    broker.send(10)
    await until(lambda: len(stage.seen) == 10, life)
    assert not app.delivery.progress.missing_topics
    assert await life.end() == 0


async def test_a_stop_while_waiting_for_topics_is_in_good_order(broker: Broker) -> None:
    stage = broker.recorder()
    life = broker.run(stage)
    await until(lambda: life.apps[0].delivery.progress.missing_topics, life)
    assert await life.end() == 0
    assert stage.calls == [("stop", None)]


async def test_a_stop_before_partitions_came_is_in_good_order(broker: Broker) -> None:
    broker.create()
    stage = broker.recorder()
    life = broker.run(stage)
    await until(lambda: stage.calls, life)
    assert await life.end() == 0
    assert stage.calls[-1] == ("stop", None)


async def test_an_error_in_process_ends_the_worker_and_skips_nothing(broker: Broker) -> None:
    broker.create()
    broker.send(50)
    stage = broker.recorder()
    life = broker.run(stage)
    await until(lambda: broker.committed() == {0: (50, "after 49")}, life)

    def fail(_: Batch) -> None:
        raise ValueError("not a bad message")

    stage.before = fail
    broker.send(50)
    await until(life.exit.done)
    assert life.exit.result() == 1
    assert str(life.apps[0].delivery.failure) == "not a bad message"
    assert broker.committed() == {0: (50, "after 49")}
    assert stage.calls[-1] == ("stop", None)

    again = broker.recorder()
    life = broker.run(again)
    await until(lambda: len(again.seen) == 50, life)
    assert again.seen[0] == (TopicPartition(broker.topic, 0), 50)
    assert await life.end() == 0


async def test_an_error_of_the_client_ends_the_worker(broker: Broker) -> None:
    broker.create()
    broker.send(10)
    stage = broker.recorder()
    life = broker.run(stage)
    await until(lambda: stage.seen, life)

    async def fail(*_: object) -> list[Any]:
        raise ConnectionError("the client broke")

    life.apps[0].consumer._thread._fetch = fail  # type: ignore[attr-defined]
    await until(life.exit.done)
    assert life.exit.result() == 1
    assert str(life.apps[0].delivery.failure) == "the client broke"


async def test_a_stage_may_start_where_it_wants(broker: Broker) -> None:
    broker.create()
    broker.send(50)
    stage = broker.recorder()

    async def from_30(partitions: Mapping[TopicPartition, Position | None]) -> Mapping[TopicPartition, int | None]:
        return dict.fromkeys(partitions, 30)

    stage.assigned = from_30  # type: ignore[method-assign]
    life = broker.run(stage)
    await until(lambda: len(stage.seen) == 20, life)
    assert stage.seen[0][1] == 30
    await life.end()


async def test_a_topic_that_was_created_anew_starts_at_its_beginning(broker: Broker) -> None:
    broker.create()
    broker.send(50)
    stage = broker.recorder()
    life = broker.run(stage)
    await until(lambda: broker.committed() == {0: (50, "after 49")}, life)
    await life.end()
    broker.admin.delete_topics([broker.topic])[broker.topic].result(PATIENCE_S)
    await until(lambda: broker.topic not in broker.topics())
    broker.create()
    broker.send(5)
    stage = broker.recorder()
    life = broker.run(stage)
    await until(lambda: len(stage.seen) == 5, life)
    assert await life.end() == 0


async def test_partitions_move_from_one_worker_to_two_and_back_while_events_flow(broker: Broker) -> None:
    partitions = 4
    broker.create(partitions=partitions)
    one, two = broker.recorder("one"), broker.recorder("two")
    first = broker.run(one)
    flowing = asyncio.create_task(_flow(broker, partitions))
    await until(lambda: one.seen, first)
    second = broker.run(two)
    await until(lambda: len({tp for tp, _ in two.seen}) >= 1, first, second)
    await until(lambda: one.calls.count(("process", one.batches[-1].tp)) > 3, first, second)
    assert await second.end() == 0
    moved_back = len(one.seen)
    await until(lambda: len(one.seen) > moved_back, first)
    flowing.cancel()
    await asyncio.wait({flowing})
    await until(lambda: len(one.seen) + len(two.seen) >= sum(broker.sent.values()), first)
    assert await first.end() == 0

    # Every worker gave up in good order and committed all it had processed: so once each, not only at least once.
    assert Counter(one.seen + two.seen) == Counter(broker.everything())
    for stage in (one, two):
        _check_order(stage)
        assert not any(batch for batch in stage.batches if len(batch.records) == 0)
    assert sum(call == "assigned" for call, _ in one.calls) >= 3


async def _flow(broker: Broker, partitions: int) -> None:
    while True:
        for partition in range(partitions):
            broker.send(20, partition)
        await asyncio.sleep(0.02)


def _check_order(stage: Recorder) -> None:
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


async def test_a_commit_of_an_old_generation_never_reaches_the_group(broker: Broker) -> None:
    broker.create()
    broker.send(10)
    stage = broker.recorder()
    life = broker.run(stage)
    await until(lambda: broker.committed() == {0: (10, "after 9")}, life)
    wire = life.apps[0].delivery.wire
    now = life.apps[0].delivery.ledger.generation
    with pytest.raises(CommitRefusedError):
        await wire.commit_positions({TopicPartition(broker.topic, 0): Position(3, "zombie")}, now - 1)
    assert broker.committed() == {0: (10, "after 9")}
    assert await life.end() == 0


async def test_a_slow_stage_bounds_memory_and_loses_nothing(broker: Broker) -> None:
    broker.create(partitions=2)
    for partition in range(2):
        broker.send(2_000, partition, size_bytes=1_000)
    stage = broker.recorder()
    most = 0

    def slow(_: Batch) -> Any:
        nonlocal most
        most = max(most, life.apps[0].delivery.buffer.size_bytes)
        return asyncio.sleep(0.01)

    stage.before = slow
    limit = 400_000
    life = broker.run(stage, buffer_bytes=limit)
    await until(lambda: len(stage.seen) == 4_000, life)
    assert set(stage.seen) == broker.everything()
    assert len(stage.seen) == len(set(stage.seen))
    assert limit / 2 < most <= limit
    assert len(stage.batches) < 200, "a slow stage was fed in crumbs"
    assert await life.end() == 0


async def test_the_fetch_loop_never_sleeps_on_a_full_buffer(broker: Broker) -> None:
    """Stock Faust sleeps a second when every partition is over its buffer: here that would dwarf the work."""
    broker.create()
    broker.send(1_000, size_bytes=1_000)
    stage = broker.recorder()
    stage.before = lambda _: asyncio.sleep(0.01)
    life = broker.run(stage, buffer_bytes=80_000)
    await until(lambda: stage.seen, life)
    began = time.monotonic()
    await until(lambda: len(stage.seen) == 1_000, life)
    taken_s, work_s = time.monotonic() - began, 0.01 * len(stage.batches)
    await life.end()
    assert len(stage.batches) > 30, "the buffer was never full"
    assert taken_s < 5 * work_s


async def test_two_stages_share_a_process_each_in_its_group(broker: Broker) -> None:
    broker.create(partitions=2)
    broker.send(100, 0)
    broker.send(100, 1)
    stages = [broker.recorder("one"), broker.recorder("two")]
    groups = [f"{broker.group}-{stage.name}" for stage in stages]
    apps = [
        build_app(stage, settings=broker.settings(group=group), clock=SystemClock())
        for stage, group in zip(stages, groups, strict=True)
    ]
    life = Life(*apps)
    await until(lambda: all(len(stage.seen) == 200 for stage in stages), life)
    assert await life.end() == 0
    for group in groups:
        assert broker.committed(group) == {0: (100, "after 99"), 1: (100, "after 99")}


async def test_one_failed_stage_ends_the_process_and_the_other_stops_in_good_order(broker: Broker) -> None:
    broker.create()
    good, bad = broker.recorder("good"), broker.recorder("bad")

    def fail(_: Batch) -> None:
        raise ValueError("bad")

    bad.before = fail
    apps = [
        build_app(stage, settings=broker.settings(group=f"{broker.group}-{stage.name}"), clock=SystemClock())
        for stage in (good, bad)
    ]
    life = Life(*apps)
    await until(lambda: all(app.delivery.state is State.RUNNING for app in apps), life)
    broker.send(10)
    await until(life.exit.done)
    assert life.exit.result() == 1
    assert [call for call, _ in good.calls if call != "process"] == ["start", "assigned", "revoked", "stop"]


async def test_records_of_aborted_transactions_do_not_count(broker: Broker) -> None:
    broker.create()
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": f"{broker.prefix}tx"})
    producer.init_transactions(PATIENCE_S)
    for end in (producer.commit_transaction, producer.abort_transaction, producer.commit_transaction):
        producer.begin_transaction()
        for _ in range(10):
            producer.produce(broker.topic, b"x", partition=0)
        producer.flush(PATIENCE_S)  # or an abort would keep them from ever being written
        end(PATIENCE_S)
    stage = broker.recorder()
    life = broker.run(stage)
    await until(lambda: len(stage.seen) == 20, life)
    assert await life.end() == 0
    assert [offset for _, offset in stage.seen] == [*range(10), *range(22, 32)]
    assert life.apps[0].delivery.counters.rewinds == 0


@pytest.mark.slow
async def test_a_broker_restart_loses_nothing(broker: Broker) -> None:
    broker.create(partitions=2)
    stage = broker.recorder()
    life = broker.run(stage, commit_timeout_s=2.0)
    for partition in range(2):
        broker.send(200, partition)
    await until(lambda: len(stage.seen) == 400, life)
    await asyncio.to_thread(broker.kafka.restart)
    for partition in range(2):
        await asyncio.to_thread(broker.send, 200, partition)
    await until(lambda: set(stage.seen) == broker.everything(), life)
    await until(lambda: broker.committed() == {0: (400, "after 399"), 1: (400, "after 399")}, life)
    assert await life.end() == 0


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


@pytest.fixture
def workers(broker: Broker, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    started: list[Worker] = []

    def start(**changes: Any) -> Worker:
        started.append(Worker(broker, tmp_path, **changes))
        return started[-1]

    yield start
    for worker in started:
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_a_worker_in_good_order(
    broker: Broker, workers: Callable[..., Worker], number: signal.Signals
) -> None:
    broker.create()
    broker.send(100)
    worker = workers(commit_interval_s=3_600.0)
    await until(lambda: worker.read() == 100)
    assert broker.committed() == {}
    assert await asyncio.to_thread(worker.end, number) == 0
    assert broker.committed() == {0: (100, "")}
    assert worker.lines()[-2:] == ["revoked", "refused 0"], worker.lines()


async def test_a_poisoned_worker_exits_with_an_error_and_the_next_reads_the_same_batch(
    broker: Broker, workers: Callable[..., Worker]
) -> None:
    broker.create()
    broker.send(10)
    worker = workers()
    await until(lambda: broker.committed() == {0: (10, "")})
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(broker.topic, b"poison")
    producer.flush(PATIENCE_S)
    assert await asyncio.to_thread(worker.process.wait, PATIENCE_S) == 1
    again = workers()
    assert await asyncio.to_thread(again.process.wait, PATIENCE_S) == 1
    assert "assigned 10" in again.lines()
    assert again.read() == 0
    assert broker.committed() == {0: (10, "")}


@pytest.mark.slow
async def test_after_kill_9_the_next_life_starts_at_what_was_committed(
    broker: Broker, workers: Callable[..., Worker]
) -> None:
    broker.create()
    broker.send(50)
    first = workers()
    await until(lambda: broker.committed() == {0: (50, "")})
    await asyncio.to_thread(first.end, signal.SIGTERM)
    killed = workers(commit_interval_s=3_600.0)
    await until(lambda: "assigned 50" in killed.lines())
    broker.send(50)
    await until(lambda: killed.read() == 100)
    assert await asyncio.to_thread(killed.end, signal.SIGKILL) == -signal.SIGKILL
    assert broker.committed() == {0: (50, "")}
    following = workers()
    await until(lambda: following.read() == 100)
    assert "assigned 50" in following.lines()
    assert await asyncio.to_thread(following.end, signal.SIGTERM) == 0


@pytest.mark.slow
async def test_a_worker_that_slept_through_a_rebalance_does_not_turn_offsets_back(
    broker: Broker, workers: Callable[..., Worker]
) -> None:
    broker.create()
    broker.send(50)
    sleeper = workers(commit_interval_s=3_600.0)
    await until(lambda: sleeper.read() == 50)
    sleeper.process.send_signal(signal.SIGSTOP)
    broker.send(50)  # what the sleeper had asked for: it finds this when it wakes, and nothing after it
    other = workers()
    await until(lambda: broker.committed() == {0: (100, "")})
    broker.send(50)
    await until(lambda: broker.committed() == {0: (150, "")})
    # The group is empty again when the sleeper wakes: the broker would now take its commit, of generation -1, gladly.
    assert await asyncio.to_thread(other.end, signal.SIGTERM) == 0
    sleeper.process.send_signal(signal.SIGCONT)
    await until(lambda: "revoked" in sleeper.lines())
    await until(lambda: sleeper.lines().count("assigned 150") == 1)
    assert broker.committed() == {0: (150, "")}
    assert await asyncio.to_thread(sleeper.end, signal.SIGTERM) == 0
    assert "refused 1" in sleeper.lines()


@contextlib.asynccontextmanager
async def running(broker: Broker, stage: Recorder) -> AsyncIterator[StageApp]:
    life = broker.run(stage)
    await until(lambda: life.apps[0].delivery.state is State.RUNNING, life)
    yield life.apps[0]
    assert await life.end() == 0


async def test_health_shows_that_the_loop_and_the_stage_are_alive(broker: Broker) -> None:
    broker.create()
    stage = broker.recorder()
    async with running(broker, stage) as app:
        before = app.delivery.progress.tick_s
        await until(lambda: app.delivery.progress.tick_s > before)
        broker.send(10)
        await until(lambda: app.delivery.progress.committed_s is not None)
        assert app.delivery.progress.delivered_s is not None
        assert app.delivery.claims.lags() == {TopicPartition(broker.topic, 0): 0}


async def test_a_batch_that_faust_drops_is_read_again(broker: Broker) -> None:
    """Drop what is on its way as a rebalance of Faust's would, but without one."""
    broker.create()
    stage = broker.recorder()
    async with running(broker, stage) as app:
        consumer: Any = app.consumer
        callback = consumer.callback
        seen = []

        async def drop_third(message: Any) -> None:
            seen.append(message)
            if len(seen) != 3:
                await callback(message)

        consumer.callback = drop_third
        for _ in range(6):
            before = len(seen)
            broker.send(10)
            await until(lambda before=before: len(seen) > before)  # type: ignore[misc]
        await until(lambda: set(stage.seen) == broker.everything())
        assert app.delivery.counters.rewinds == 1
        assert Counter(stage.seen) == Counter(broker.everything())
