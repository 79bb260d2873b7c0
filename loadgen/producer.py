"""Open-loop load: messages go out on an absolute schedule, whether or not anyone keeps up, and falling behind is said.

A closed loop would slow down with what it measures and so hide every stall. Here each message is due at a time that was
fixed beforehand; :attr:`Progress.behind_s` is how late the generator itself is, to be told apart from a late consumer.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as Delivered

from loadgen.columns import Floats, Ints

SLOT_S: Final = 0.02
"""Messages due within so much wall time go out together."""
SLOT_MESSAGES: Final = 2000
BEHIND_S: Final = 1.0
"""From so much delay on the generator has fallen behind, unless it is told otherwise."""
_QUEUE_MESSAGES: Final = 100_000
_FLUSH_S: Final = 30.0
_APPEAR_S: Final = 3.0


class LoadError(RuntimeError):
    """Load could not be made or sent; the message says what to do."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message to send: ``ts_ms`` is the newest event time in it, by which it is scheduled.

    ``topic`` is where it goes; empty for its sink's own.
    """

    ts_ms: int
    key: bytes
    value: bytes
    events: int = 1
    topic: str = ""


class Pace(Protocol):
    """When messages are due."""

    def due_s(self, ts_ms: Ints, sent: Ints) -> Floats:
        """Seconds after the start at which messages are due: float64[n].

        Parameters
        ----------
        ts_ms
            int64[n], their event times.
        sent
            int64[n], the events that are sent before each.
        """
        ...


@dataclass(frozen=True, slots=True)
class EventTimePace:
    """Event time runs ``speed`` times as fast as the clock, > 0, from ``start_ms`` on."""

    start_ms: int
    speed: float

    def __post_init__(self) -> None:
        if self.speed <= 0:
            raise ValueError(f"event time must go forward, not at {self.speed:g} times the clock's speed")

    def due_s(self, ts_ms: Ints, sent: Ints) -> Floats:
        """See :class:`Pace`."""
        del sent
        return (ts_ms - self.start_ms) / 1000 / self.speed


@dataclass(frozen=True, slots=True)
class RatePace:
    """``events_per_s`` events a second of the clock, > 0, or as fast as possible when it is infinite."""

    events_per_s: float

    def __post_init__(self) -> None:
        if not self.events_per_s > 0:
            raise ValueError(f"a rate must be over 0 events/s, not {self.events_per_s:g}")

    def due_s(self, ts_ms: Ints, sent: Ints) -> Floats:
        """See :class:`Pace`."""
        del ts_ms
        return sent / self.events_per_s


@dataclass(slots=True)
class Progress:
    """How far a player has come; written by the player, read by whoever shows it."""

    events: int = 0
    messages: int = 0
    ts_ms: int = 0
    behind_s: float = 0.0
    worst_behind_s: float = 0.0
    behind_limit_s: float = BEHIND_S

    @property
    def fell_behind(self) -> bool:
        """Whether the generator ever was later than is fair."""
        return self.worst_behind_s > self.behind_limit_s


class Sink(Protocol):
    """Where messages go."""

    def send(self, messages: Sequence[Message]) -> None:
        """Take messages, in order; may block while there is no room."""
        ...

    def close(self) -> None:
        """Wait until everything that was sent has arrived."""
        ...


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


@dataclass(slots=True)
class Player:
    """Plays messages into a sink by a pace.

    Attributes
    ----------
    monotonic_s
        The clock of the schedule.
    wait
        Sleeps for so many seconds; true ends the playing (``threading.Event().wait`` is one).
    """

    sink: Sink
    pace: Pace
    monotonic_s: Callable[[], float] = time.monotonic
    wait: Callable[[float], bool] = _sleep
    progress: Progress = field(default_factory=Progress)

    def play(self, messages: Iterable[Message], begin_s: float | None = None) -> Progress:
        """Send messages, which come in the order of their event time, each not before it is due.

        Parameters
        ----------
        begin_s
            When the schedule begins, by ``monotonic_s``; by default now.

        Raises
        ------
        LoadError
            When a message could not be delivered.
        """
        start_s = self.monotonic_s() if begin_s is None else begin_s
        for due_s, slot in self._slots(messages):
            late_s = self.monotonic_s() - start_s - due_s
            if self.wait(max(-late_s, 0.0)):
                break
            self.sink.send(slot)
            self._note(slot, max(late_s, 0.0) if due_s > 0 else 0.0)
        self.sink.close()
        return self.progress

    def _slots(self, messages: Iterable[Message]) -> Iterator[tuple[float, list[Message]]]:
        """Cut the messages into what is due within one slot, and when the last of it is due."""
        rest, planned = iter(messages), 0
        while chunk := list(islice(rest, SLOT_MESSAGES)):
            ts_ms = np.fromiter((message.ts_ms for message in chunk), np.int64, len(chunk))
            sent = planned + np.cumsum([0, *(message.events for message in chunk)])
            due_s = self.pace.due_s(ts_ms, sent[:-1])
            planned = int(sent[-1])
            ends = [*(np.flatnonzero(np.diff(due_s // SLOT_S)) + 1).tolist(), len(chunk)]
            for begin, end in zip([0, *ends], ends, strict=False):
                yield float(due_s[end - 1]), chunk[begin:end]

    def _note(self, slot: Sequence[Message], behind_s: float) -> None:
        progress = self.progress
        progress.events += sum(message.events for message in slot)
        progress.messages += len(slot)
        progress.ts_ms = slot[-1].ts_ms
        progress.behind_s = behind_s
        progress.worst_behind_s = max(progress.worst_behind_s, behind_s)


class KafkaSink:
    """A topic, or several.

    Messages keep their order within a partition. With ``spread`` they go round the partitions in turn, so that event
    time advances in all of them together; otherwise their keys choose.

    Parameters
    ----------
    config
        librdkafka settings, ``bootstrap.servers`` at least.
    topic
        Where messages go that name no topic of their own. Must exist, as must the others.
    spread
        See above.
    timeout_s
        How long the brokers may take to answer at first.

    Raises
    ------
    LoadError
        When no broker answers, or the topic does not exist.
    """

    def __init__(self, config: dict[str, Any], topic: str, *, spread: bool = True, timeout_s: float = 10.0) -> None:
        self.topic = topic
        self._spread, self._timeout_s = spread, timeout_s
        self._failures: list[str] = []
        self._producer = Producer(
            {
                "enable.idempotence": True,
                # Errors reach us by the delivery reports; warnings are retried by the client itself.
                "log_level": 3,
                # A report for each message that arrived would cost as much as half of sending it.
                "delivery.report.only.error": True,
                "compression.type": "lz4",
                "linger.ms": 5,
                "queue.buffering.max.messages": _QUEUE_MESSAGES,
                "queue.buffering.max.kbytes": 262_144,
                **config,
            }
        )
        self._partitions: dict[str, int] = {}
        self._next: dict[str, int] = {}
        if topic:
            self._know(topic)

    def send(self, messages: Sequence[Message]) -> None:
        """Hand messages to the client; waits while its queue is full.

        Raises
        ------
        LoadError
            When an earlier message could not be delivered, one of these cannot be queued, or its topic does not exist.
        """
        while len(self._producer) + len(messages) > _QUEUE_MESSAGES and len(self._producer):
            self._producer.poll(0.05)
        by_topic: dict[str, list[dict[str, Any]]] = {}
        for message in messages:
            by_topic.setdefault(message.topic or self.topic, []).append({"key": message.key, "value": message.value})
        for topic, batch in by_topic.items():
            self._send(topic, batch)
        self._producer.poll(0)
        self._check()

    def close(self) -> None:
        """Wait for the brokers' acknowledgements and leave; nothing can be sent afterwards.

        Raises
        ------
        LoadError
            When a message could not be delivered.
        """
        left = self._producer.flush(_FLUSH_S)
        self._producer.close()
        self._check()
        if left:
            raise LoadError(f"{left} messages were not acknowledged within {_FLUSH_S:g} s")

    def _send(self, topic: str, batch: list[dict[str, Any]]) -> None:
        partitions = self._partitions.get(topic) or self._know(topic)
        if not self._spread:
            return self._produce(topic, batch, -1)
        # A batch goes to one partition: the client does not look at partitions of its single messages.
        first = self._next.get(topic, 0)
        self._next[topic] = (first + len(batch)) % partitions
        for step in range(min(partitions, len(batch))):
            self._produce(topic, batch[step::partitions], (first + step) % partitions)
        return None

    def _produce(self, topic: str, batch: list[dict[str, Any]], partition: int) -> None:
        queued = self._producer.produce_batch(topic, batch, partition, on_delivery=self._delivered)
        if queued < len(batch):
            error = next(message["_error"] for message in batch if "_error" in message)
            raise LoadError(f"a message for topic {topic} was refused: {error}")

    def _delivered(self, error: KafkaError | None, message: Delivered) -> None:
        if error is not None:
            self._failures.append(f"a message for topic {message.topic()} could not be delivered: {error.str()}")

    def _check(self) -> None:
        if self._failures:
            raise LoadError(self._failures[0])

    def _know(self, topic: str) -> int:
        """How many partitions a topic has."""
        deadline_s = time.monotonic() + min(self._timeout_s, _APPEAR_S)
        while True:
            try:
                known = self._producer.list_topics(topic, timeout=self._timeout_s).topics[topic]
            except KafkaException as error:
                raise LoadError(f"no broker answers: {error.args[0].str()}. Start one with 'halcyon up'.") from error
            if known.error is None and known.partitions:
                break
            # A broker may be a moment behind on a topic that was created just now.
            if time.monotonic() > deadline_s:
                raise LoadError(f"topic {topic} does not exist: create it with 'halcyon topics apply'.")
            time.sleep(0.1)
        self._partitions[topic] = len(known.partitions)
        return len(known.partitions)
