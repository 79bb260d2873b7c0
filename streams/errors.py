"""The errors of this package. Each says what went wrong, where, and what to do about it.

Three kinds matter to a running stage: a bad message goes to the dead letters, :class:`BackpressureError` makes the
stage wait, and everything else ends the worker, which starts again from what it committed.
"""

from typing import ClassVar


class HalcyonError(Exception):
    """Root of the errors that are meant to be read by whoever runs Halcyon.

    Parameters
    ----------
    what
        What went wrong, one sentence or a few lines.
    where
        The file, knob, topic or address concerned; empty when ``what`` says it already.
    todo
        What the reader can do about it; empty when nothing but a retry helps.

    Examples
    --------
    >>> str(HalcyonError("No broker answers.", "127.0.0.1:9092", "Start one with 'halcyon up'."))
    "No broker answers. (127.0.0.1:9092) Start one with 'halcyon up'."
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, where: str = "", todo: str = "") -> None:
        super().__init__(what, where, todo)
        self.what = what
        self.where = where
        self.todo = todo

    def __str__(self) -> str:
        located = f"({self.where})" if self.where else ""
        return " ".join(part for part in (self.what, located, self.todo) if part)


class ConfigError(HalcyonError):
    """The settings, or the way a command was called, cannot be used. Exit code 2."""

    exit_code: ClassVar[int] = 2


class UnavailableError(HalcyonError):
    """A broker, database or file that is needed does not answer."""


class BackpressureError(HalcyonError):
    """A system behind this one cannot take more now: wait, then try the same work again.

    Parameters
    ----------
    retry_after_s
        Seconds to wait, > 0.
    """

    def __init__(self, what: str, where: str = "", todo: str = "", *, retry_after_s: float = 1.0) -> None:
        super().__init__(what, where, todo)
        self.retry_after_s = retry_after_s
