"""Workers that are killed, frozen, signalled, or come and go, on a real broker."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from deploy.local.kafka import LocalKafka
from streams.stage import Position, TopicPartition
from streams.wire import State
from tests.integration.transport_support import PATIENCE_S, Broker, Life, Recorder, Worker, check_order, until


@pytest.fixture
def broker(kafka: LocalKafka, topic_prefix: str) -> Broker:
    return Broker(kafka, topic_prefix)


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


class Restless(Recorder):
    """A stage whose every step takes a random while, so that rebalances meet it anywhere."""

    def __init__(self, name: str, topic: str, dice: random.Random) -> None:
        super().__init__(name, [topic])
        self.before = lambda _: asyncio.sleep(dice.random() * 0.02)
        self._dice = dice

    async def assigned(
        self, partitions: Mapping[TopicPartition, Position | None]
    ) -> Mapping[TopicPartition, int | None]:
        await asyncio.sleep(self._dice.random() * 0.2)
        return await super().assigned(partitions)

    async def revoked(self, partitions: AbstractSet[TopicPartition]) -> None:
        await asyncio.sleep(self._dice.random() * 0.2)
        await super().revoked(partitions)


async def test_a_worker_without_a_partition_is_a_spare_until_one_is_free(broker: Broker) -> None:
    broker.create(partitions=1)
    names = ("first", "second")
    stages = [broker.recorder(name) for name in names]
    first = broker.run(stages[0])
    await until(lambda: first.apps[0].delivery.state is State.RUNNING, first)
    second = broker.run(stages[1])
    lives = [first, second]

    def states() -> set[State]:
        return {life.apps[0].delivery.state for life in lives}

    await until(lambda: states() == {State.RUNNING, State.SPARE}, *lives)
    (holder,) = (life for life in lives if life.apps[0].delivery.state is State.RUNNING)
    (spare,) = (life for life in lives if life is not holder)
    assert await holder.end() == 0
    await until(lambda: spare.apps[0].delivery.state is State.RUNNING, spare)
    broker.send(10)
    heir = stages[lives.index(spare)]
    await until(lambda: len(heir.seen) == 10, spare)
    assert await spare.end() == 0


@pytest.mark.slow
async def test_workers_that_come_and_go_read_everything_once(broker: Broker) -> None:
    dice, partitions = random.Random(7), 6
    broker.create(partitions=partitions)
    stages: list[Restless] = []
    lives: list[Life] = []

    def start() -> None:
        stages.append(Restless(f"worker-{len(stages)}", broker.topic, dice))
        lives.append(broker.run(stages[-1], buffer_bytes=200_000))

    start()
    for _ in range(20):
        for partition in range(partitions):
            await asyncio.to_thread(broker.send, dice.randrange(500), partition)
        if len(lives) < 4 and (len(lives) == 1 or dice.random() < 0.6):
            start()
        else:
            assert await lives.pop(dice.randrange(len(lives))).end() == 0
        await asyncio.sleep(dice.random())
    await until(lambda: sum(len(stage.seen) for stage in stages) >= sum(broker.sent.values()), *lives)
    assert [await life.end() for life in lives] == [0] * len(lives)
    assert Counter(offset for stage in stages for offset in stage.seen) == Counter(broker.everything())
    for stage in stages:
        check_order(stage)
