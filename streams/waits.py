"""Who waits for the brokers, and since when: what tells a worker that waits from one that hangs."""

from collections.abc import Callable
from types import TracebackType


class Waits:
    """Counts the questions of one stage that the brokers have not answered.

    A stage that waits for them can do nothing else, and starting it again would not help: it is alive, and not ready.
    Every such wait ends by itself, with an answer or an error. Used as a context manager around each, also nested and
    side by side; in one event loop.

    Parameters
    ----------
    now_s
        The monotonic clock.

    Examples
    --------
    >>> waits = Waits(iter([10.0, 13.0]).__next__)
    >>> waits.age_s is None
    True
    >>> with waits:
    ...     waits.age_s
    3.0
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._open = 0
        self._since_s = 0.0

    @property
    def age_s(self) -> float | None:
        """Seconds since somebody began to wait; None while nobody does."""
        return self._now_s() - self._since_s if self._open else None

    def __enter__(self) -> None:
        if not self._open:
            self._since_s = self._now_s()
        self._open += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open -= 1


def nobody() -> Waits:
    """For clients whose waits nobody asks about."""
    return Waits(lambda: 0.0)
