import time

import pytest

from streams.clock import Clock, ManualClock, SystemClock


def test_the_machines_clocks() -> None:
    clock: Clock = SystemClock()
    before = time.time_ns() // 1_000_000
    assert before <= clock.now_ms() <= time.time_ns() // 1_000_000
    first = clock.monotonic_s()
    assert clock.monotonic_s() >= first


def test_a_clock_moved_by_hand() -> None:
    clock = ManualClock(now_ms=1_000)
    clock.advance(0.25)
    assert (clock.now_ms(), clock.monotonic_s()) == (1_250, 1.25)
    clock.set_wall(10)
    assert (clock.now_ms(), clock.monotonic_s()) == (10, 1.25)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)
