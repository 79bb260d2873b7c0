"""Traffic at a steady pace while something is done to the installation."""

import threading
import time
from types import TracebackType
from typing import Self

from confluent_kafka import Producer

from tests.harness.traffic import Traffic

_STEP_S = 0.1


class Playing:
    """Sends traffic from a thread: ``speed`` seconds of event time in a second, every seventh step as JSON.

    Leaving the block waits for the end; the last thing sent is what closes the windows.
    """

    def __init__(self, traffic: Traffic, producer: Producer, topic: str, wall_s: float) -> None:
        self._traffic, self._producer, self._topic = traffic, producer, topic
        self._ms_per_s = traffic.span_ms / wall_s
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._failure: BaseException | None = None
        self.began_s = 0.0

    @property
    def at_ms(self) -> float:
        """How far into the traffic's span it has come."""
        return (time.monotonic() - self.began_s) * self._ms_per_s

    @property
    def over(self) -> bool:
        """Whether everything has been sent."""
        return not self._thread.is_alive()

    def wait(self, timeout_s: float) -> None:
        """Wait until everything has been sent and acknowledged."""
        self._thread.join(timeout_s)
        assert self.over, "the traffic was not sent in time"
        assert self._failure is None, repr(self._failure)

    def __enter__(self) -> Self:
        self.began_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.wait(300)

    def _run(self) -> None:
        try:
            self._send()
        except BaseException as failure:  # noqa: BLE001 - told by wait
            self._failure = failure

    def _send(self) -> None:
        first, step, base = 0, 0, self._traffic.base_ms
        while first < len(base):
            last = int(base.searchsorted(self.at_ms, side="right"))
            self._traffic.send(self._producer, self._topic, first, last, arrow=step % 7 > 0)
            first, step = last, step + 1
            time.sleep(_STEP_S)
        self._traffic.send_closing(self._producer, self._topic)
        left = self._producer.flush(120)
        if left:
            raise RuntimeError(f"{left} messages were not acknowledged")
