"""A generator that costs little: messages made beforehand, only their time is written when they are sent."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Producer

from tests.bench.traffic import Traffic

_SLOT_S: Final = 0.02
_MARK: Final = b"1767225600000"
Template = tuple[bytes, bytes]


def templates(traffic: Traffic, count: int, **changes: Any) -> list[Template]:
    """Messages of a traffic cut in two where their time stands; ``changes`` replace whole columns."""
    still = Traffic(traffic.models, traffic.versions, traffic.features, 1e12, int(_MARK))
    return [cut(value) for value in still.json(0, count, **changes)]


def cut(value: bytes, ts_ms: int = int(_MARK)) -> Template:
    """One message, cut at its time, which it has."""
    head, mark, tail = value.partition(b'"ts_ms":%d' % ts_ms)
    if not mark:
        raise ValueError(f"no time to write in {value!r}")
    return head + b'"ts_ms":', tail


@dataclass(slots=True)
class Player:
    """Sends messages on an absolute schedule, and says how late it ever was.

    Attributes
    ----------
    rate_per_s
        Messages a second of the clock.
    speed
        How fast event time runs.
    begin_ms
        Event time of the first message; by default such that it meets the clock at the end, which is the latest there
        may be.
    """

    bootstrap: str
    partitions: int
    rate_per_s: float
    speed: float = 1.0
    begin_ms: float | None = None
    worst_behind_s: float = 0.0
    sent: int = 0

    def play(
        self, topic: str, seconds: float, choose: Callable[[float, int], Sequence[Template]],
        beside: Callable[[Producer, float, int], None] | None = None,
    ) -> None:  # fmt: skip
        """Send for so many seconds.

        Parameters
        ----------
        choose
            (seconds since the start, messages) → what to send now.
        beside
            (producer, seconds since the start, event time in ms): sends what else is due.
        """
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "compression.type": "lz4", "linger.ms": 5, "log_level": 3}
        )
        # Event time ahead of the clock would be refused.
        began_s, began_ms = (
            time.monotonic(),
            latest_begin_ms(seconds, self.speed) if self.begin_ms is None else self.begin_ms,
        )
        for slot, at_s in _slots(began_s, seconds):
            self.worst_behind_s = max(self.worst_behind_s, time.monotonic() - began_s - at_s)
            due = int((at_s + _SLOT_S) * self.rate_per_s) - self.sent
            ts_ms = int(began_ms + at_s * 1000 * self.speed)
            stamp = str(ts_ms).encode()
            batch = [{"value": head + stamp + tail} for head, tail in choose(at_s, due)]
            if producer.produce_batch(topic, batch, slot % self.partitions) < len(batch):
                raise SystemExit("the producer's queue is full: the broker cannot keep up with the generator")
            self.sent += due
            if beside is not None:
                beside(producer, at_s, ts_ms)
            producer.poll(0)
        producer.flush(30)


def latest_begin_ms(seconds: float, speed: float) -> float:
    """Event time of the first message, for that of the last to meet the clock."""
    return (time.time() - seconds * (speed - 1)) * 1000


def _slots(began_s: float, seconds: float) -> Iterator[tuple[int, float]]:
    for slot in range(int(seconds / _SLOT_S)):
        at_s = slot * _SLOT_S
        ahead = began_s + at_s - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        yield slot, at_s
