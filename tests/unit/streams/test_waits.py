"""Who waits for the brokers is seen to wait, for as long as it lasts."""

import asyncio
from typing import Any

import pytest

from streams.clock import ManualClock
from streams.producer import Producer
from streams.waits import Waits


def test_waits_side_by_side_count_from_the_first_to_the_last() -> None:
    clock = ManualClock()
    waits = Waits(clock.monotonic_s)
    with waits:
        clock.advance(2)
        with waits:
            clock.advance(3)
        assert waits.age_s == 5
    assert waits.age_s is None


def test_a_wait_that_fails_is_over() -> None:
    waits = Waits(ManualClock().monotonic_s)
    with pytest.raises(OSError, match="gone"), waits:
        raise OSError("gone")
    assert waits.age_s is None


async def test_a_barrier_that_is_open_is_a_wait() -> None:
    clock = ManualClock()
    waits = Waits(clock.monotonic_s)
    mock: dict[str, Any] = {"test.mock.num.brokers": 1, "linger.ms": 500}
    producer = Producer("mock", security=mock, waits=waits)
    producer.send("panes", b"on its way")
    barrier = asyncio.create_task(producer.barrier())
    await asyncio.sleep(0)
    clock.advance(7)
    waited_s = waits.age_s
    await barrier
    assert (waited_s, waits.age_s) == (7, None)
    assert await producer.close() == 0
