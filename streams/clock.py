"""The one place that asks what time it is.

Event time comes out of the events and is passed on as a value. Everything else that needs the hour (deadlines, idle
partitions, ages for health pages) is handed a :class:`Clock`, so that a test can move time by hand.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one that people share, and one that never goes back."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 in UTC. May jump when the machine's clock is set."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start, for durations and deadlines. Never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 in UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()


class ManualClock:
    """A clock for tests, moved by hand.

    Parameters
    ----------
    now_ms
        Where both clocks start, milliseconds since 1970.

    Examples
    --------
    >>> clock = ManualClock(now_ms=1_000)
    >>> clock.advance(2.5)
    >>> clock.now_ms(), clock.monotonic_s()
    (3500, 3.5)
    """

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms
        self._monotonic_s = now_ms / 1_000

    def now_ms(self) -> int:
        """Milliseconds since 1970 in UTC."""
        return self._now_ms

    def monotonic_s(self) -> float:
        """Seconds since 1970: advances with :meth:`now_ms`, but does not follow :meth:`set_wall`."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks.

        Parameters
        ----------
        seconds
            >= 0.

        Raises
        ------
        ValueError
            If `seconds` is negative: use :meth:`set_wall` to turn the wall clock back.
        """
        if seconds < 0:
            raise ValueError(f"time does not go back by {-seconds} s; set_wall() turns the wall clock alone")
        self._now_ms += round(seconds * 1_000)
        self._monotonic_s += seconds

    def set_wall(self, now_ms: int) -> None:
        """Set the wall clock alone, as an operator or NTP would.

        Parameters
        ----------
        now_ms
            Milliseconds since 1970.
        """
        self._now_ms = now_ms
