"""Stages on a real broker: what is delivered, what is committed, what ends a worker."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from confluent_kafka import Producer

from deploy.local.kafka import LocalKafka
from streams.clock import SystemClock
from streams.stage import Batch, Position, TopicPartition
from streams.transport import StageApp, build_app
from streams.wire import CommitRefusedError, State
from tests.integration.transport_support import PATIENCE_S, Broker, Life, Recorder, check_order, until


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
        check_order(stage)
        assert not any(batch for batch in stage.batches if len(batch.records) == 0)
    assert sum(call == "assigned" for call, _ in one.calls) >= 3


async def _flow(broker: Broker, partitions: int) -> None:
    while True:
        for partition in range(partitions):
            broker.send(20, partition)
        await asyncio.sleep(0.02)


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
