"""The agent's loop: read, send, wait for the next beat."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from schemas.gpu import GpuSample
from streams.clock import Clock
from streams.errors import ConfigError
from streams.gpu_agent.sources import Source

log = logging.getLogger(__name__)

MAX_PENDING: Final = 10_000
"""Samples that wait for the brokers; what comes on top is left out, so that an outage does not fill the memory."""
_UNITS_S: Final = {"": 1.0, "s": 1.0, "ms": 1e-3, "m": 60.0}

Pause = Callable[[float], Awaitable[None]]


class Sender(Protocol):
    """What the agent asks of a producer."""

    @property
    def pending(self) -> int:
        """Messages sent and not yet acknowledged."""
        ...

    def send(self, topic: str, value: bytes | None, key: bytes | None = None) -> None:
        """Send without waiting."""
        ...


@dataclass
class Outcome:
    """What an agent has done."""

    sent: int = 0
    left_out: int = 0
    missed_beats: int = 0


class Agent:
    """Sends a sample of each GPU per interval.

    Parameters
    ----------
    source
        Where samples come from.
    deliver
        Takes the samples of one reading; False when it cannot take them now.
    clock
        Gives the samples' time and the beat.
    interval_s
        From beat to beat, > 0. A reading that takes longer skips beats, it does not pile them up.
    """

    def __init__(
        self, source: Source, deliver: Callable[[Sequence[GpuSample]], bool], clock: Clock, interval_s: float
    ) -> None:
        self._source, self._deliver, self._clock, self._interval_s = source, deliver, clock, interval_s
        self.outcome = Outcome()

    async def beat(self) -> None:
        """One reading of all GPUs."""
        samples = await asyncio.to_thread(self._source.read, self._clock.now_ms())
        if self._deliver(samples):
            self.outcome.sent += len(samples)
            return
        self._source.put_back(samples)
        if not self.outcome.left_out:
            log.warning("the brokers do not keep up: samples are left out until they do")
        self.outcome.left_out += len(samples)

    async def run(self, stop: asyncio.Event, pause: Pause = asyncio.sleep) -> None:
        """Beat until ``stop`` is set."""
        due_s = self._clock.monotonic_s()
        while not stop.is_set():
            await self.beat()
            due_s += self._interval_s
            late_s = self._clock.monotonic_s() - due_s
            if late_s > 0:
                missed = int(late_s // self._interval_s) + 1
                self.outcome.missed_beats += missed
                due_s += missed * self._interval_s
            await _until(stop, due_s - self._clock.monotonic_s(), pause)


def to_topic(sender: Sender, topic: str) -> Callable[[Sequence[GpuSample]], bool]:
    """Deliver to Kafka, keyed by the GPU, unless too much waits already."""
    encoder = msgspec.json.Encoder()

    def deliver(samples: Sequence[GpuSample]) -> bool:
        if sender.pending + len(samples) > MAX_PENDING:
            return False
        for sample in samples:
            sender.send(topic, encoder.encode(sample), sample.gpu_uuid.encode())
        return True

    return deliver


def to_text(write: Callable[[str], object]) -> Callable[[Sequence[GpuSample]], bool]:
    """Deliver as lines of JSON."""

    def deliver(samples: Sequence[GpuSample]) -> bool:
        for sample in samples:
            write(msgspec.json.encode(sample).decode() + "\n")
        return True

    return deliver


def interval_s(text: str) -> float:
    """Seconds of ``1s``, ``500ms``, ``2m`` or a plain number.

    Raises
    ------
    ConfigError
        If it is no span, or not within 10 ms and an hour.

    Examples
    --------
    >>> interval_s("500ms"), interval_s("2")
    (0.5, 2.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|)", text.strip())
    seconds = float(found[1]) * _UNITS_S[found[2]] if found else 0.0
    if not 0.01 <= seconds <= 3600:
        raise ConfigError(f"{text!r} is no interval from 10 ms to an hour.", "--interval", "Give 1s, 500ms or 1m.")
    return seconds


async def _until(stop: asyncio.Event, wait_s: float, pause: Pause) -> None:
    """Pause, but no longer than until ``stop``."""
    pausing, stopping = asyncio.ensure_future(pause(max(0.0, wait_s))), asyncio.ensure_future(stop.wait())
    _, open_ = await asyncio.wait({pausing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in open_:
        task.cancel()
