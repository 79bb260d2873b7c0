"""Waiting for what must come true, and saying what was seen when it does not."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.1


def wait_for(what: str, ask: Callable[[], T], timeout_s: float, *, until: Callable[[T], bool] = bool) -> T:
    """The first answer of ``ask`` that ``until`` takes; an AssertionError with the last one when the time is over."""
    deadline = time.monotonic() + timeout_s
    while not until(answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not after {timeout_s:g} s; last seen: {answer!r}")
        time.sleep(POLL_S)
    return answer
