"""The producer against librdkafka's own mock of a broker, which lives in this process."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streams.producer import MAX_FAILURES, ProduceError, Producer

MOCK = {"test.mock.num.brokers": 1}
NO_SUCH_PARTITION = 999


@pytest.fixture
async def producer() -> AsyncIterator[Producer]:
    producer = Producer("mock", security=MOCK)
    yield producer
    await producer.close(timeout_s=5)


async def test_a_barrier_waits_until_everything_sent_is_acknowledged(producer: Producer) -> None:
    for number in range(1_000):
        producer.send("panes", b"%d" % number, key=b"k", headers=[("kind", b"pane")])
    assert producer.pending > 0
    await producer.barrier()
    assert producer.pending == 0


async def test_a_barrier_with_nothing_sent_returns_at_once(producer: Producer) -> None:
    await asyncio.wait_for(producer.barrier(), timeout=10)
    assert producer.pending == 0


async def test_a_full_queue_keeps_every_message_in_order() -> None:
    small = Producer("mock", security={**MOCK, "queue.buffering.max.messages": 7})
    refusals: list[bytes] = []
    handed_over: list[bytes] = []
    hand_over = small._produce

    def watch(flight: Any, message: dict[str, Any]) -> bool:
        taken = hand_over(flight, message)
        (handed_over if taken else refusals).append(message["value"])
        return taken

    small._produce = watch  # type: ignore[method-assign]
    sent = [b"%d" % number for number in range(500)]
    for value in sent:
        small.send("panes", value, partition=0)
    assert refusals, "the queue was never full, so this test shows nothing"
    await small.barrier()
    assert handed_over == sent
    assert await small.close() == 0


async def test_an_oversized_message_is_named_by_the_barrier_and_harms_no_other(producer: Producer) -> None:
    producer.send("dead-letters", b"before")
    producer.send("dead-letters", b"x" * 2_000_000, key=b"big")
    producer.send("dead-letters", b"after")
    with pytest.raises(ProduceError, match="dead-letters") as caught:
        await producer.barrier()
    assert caught.value.count == 1
    assert caught.value.too_large
    (failure,) = caught.value.failures
    assert (failure.key, failure.size_bytes, failure.too_large) == (b"big", 2_000_000, True)
    assert producer.pending == 0


async def test_a_failure_is_reported_once_and_does_not_stop_what_follows(producer: Producer) -> None:
    producer.send("panes", b"lost", partition=NO_SUCH_PARTITION)
    with pytest.raises(ProduceError) as caught:
        await producer.barrier()
    (failure,) = caught.value.failures
    assert (failure.topic, failure.partition, failure.too_large) == ("panes", NO_SUCH_PARTITION, False)
    assert failure.reason in str(caught.value)
    assert not caught.value.too_large
    producer.send("panes", b"fine")
    await producer.barrier()


async def test_particulars_are_bounded_but_every_failure_counts(producer: Producer) -> None:
    for _ in range(MAX_FAILURES + 20):
        producer.send("panes", b"lost", partition=NO_SUCH_PARTITION)
    with pytest.raises(ProduceError) as caught:
        await producer.barrier()
    assert caught.value.count == MAX_FAILURES + 20
    assert len(caught.value.failures) == MAX_FAILURES


async def test_a_message_sent_while_a_barrier_waits_belongs_to_the_next_one(producer: Producer) -> None:
    producer.send("panes", b"first")
    waiting = asyncio.create_task(producer.barrier())
    await asyncio.sleep(0)
    producer.send("panes", b"lost", partition=NO_SUCH_PARTITION)
    await waiting
    with pytest.raises(ProduceError):
        await producer.barrier()


async def test_a_cancelled_barrier_leaves_its_failures_to_the_next_one() -> None:
    lonely = Producer("127.0.0.1:1", delivery_timeout_s=0.5, linger_ms=0)
    lonely.send("panes", b"lost")
    waiting = asyncio.create_task(lonely.barrier())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    with pytest.raises(ProduceError):
        await lonely.barrier()
    await lonely.close()


async def test_a_broker_that_never_answers_fails_the_barrier() -> None:
    lonely = Producer("127.0.0.1:1", delivery_timeout_s=0.5, linger_ms=0)
    lonely.send("panes", b"lost")
    with pytest.raises(ProduceError) as caught:
        await lonely.barrier()
    assert caught.value.failures[0].topic == "panes"
    await lonely.close()


async def test_nothing_is_taken_after_close() -> None:
    producer = Producer("mock", security=MOCK)
    producer.send("panes", b"in time")
    assert await producer.close() == 0
    with pytest.raises(RuntimeError, match="closed"):
        producer.send("panes", b"too late")
