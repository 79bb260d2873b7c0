"""Open-loop load: messages go out on an absolute schedule, whether or not anyone keeps up, and falling behind is said.

A closed loop would slow down with what it measures and so hide every stall. Here each message is due at a time that was
fixed beforehand; :attr:`Progress.behind_s` is how late the generator itself is, to be told apart from a late consumer.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Final, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as Delivered

SLOT_S: Final = 0.02
"""Messages due within so much wall time go out together."""
SLOT_MESSAGES: Final = 2000
BEHIND_S: Final = 1.0
"""From so much delay on the generator has fallen behind."""
_QUEUE_MESSAGES: Final = 100_000
_FLUSH_S: Final = 30.0
_APPEAR_S: Final = 3.0


class LoadError(RuntimeError):
    """Load could not be made or sent; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message to send: ``ts_ms`` is the newest event time in it, by which it is scheduled."""

    ts_ms: int
    key: bytes
    value: bytes
    events: int = 1


class Pace(Protocol):
    """When a message is due."""

    def due_s(self, ts_ms: int, sent: int) -> float:
        """Seconds after the start at which a message is due, from its event time and the events sent before it."""
        ...


@dataclass(frozen=True, slots=True)
class EventTimePace:
    """Event time runs ``speed`` times as fast as the clock, > 0, from ``start_ms`` on."""

    start_ms: int
    speed: float

    def __post_init__(self) -> None:
        if self.speed <= 0:
            raise ValueError(f"event time must go forward, not at {self.speed:g} times the clock's speed")

    def due_s(self, ts_ms: int, sent: int) -> float:
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

    def due_s(self, ts_ms: int, sent: int) -> float:
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

    @property
    def fell_behind(self) -> bool:
        """Whether the generator ever was later than is fair."""
        return self.worst_behind_s > BEHIND_S


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

    def play(self, messages: Iterable[Message]) -> Progress:
        """Send messages, which come in the order of their event time, each not before it is due.

        Raises
        ------
        LoadError
            When a message could not be delivered.
        """
        start_s = self.monotonic_s()
        for slot in self._slots(messages):
            due_s = self.pace.due_s(slot[-1].ts_ms, self.progress.events)
            late_s = self.monotonic_s() - start_s - due_s
            if late_s < 0 and self.wait(-late_s):
                break
            if late_s >= 0 and self.wait(0):
                break
            self.sink.send(slot)
            self._note(slot, max(late_s, 0.0) if due_s > 0 else 0.0)
        self.sink.close()
        return self.progress

    def _slots(self, messages: Iterable[Message]) -> Iterator[list[Message]]:
        """Cut the messages into what is due within one slot."""
        slot: list[Message] = []
        opened_s, planned = 0.0, 0
        for message in messages:
            due_s = self.pace.due_s(message.ts_ms, planned)
            if slot and (due_s >= opened_s + SLOT_S or len(slot) >= SLOT_MESSAGES):
                yield slot
                slot = []
            if not slot:
                opened_s = due_s
            slot.append(message)
            planned += message.events
        if slot:
            yield slot

    def _note(self, slot: Sequence[Message], behind_s: float) -> None:
        progress = self.progress
        progress.events += sum(message.events for message in slot)
        progress.messages += len(slot)
        progress.ts_ms = slot[-1].ts_ms
        progress.behind_s = behind_s
        progress.worst_behind_s = max(progress.worst_behind_s, behind_s)


class KafkaSink:
    """A topic.

    Messages keep their order within a partition. With ``spread`` they go round the partitions in turn, so that event
    time advances in all of them together; otherwise their keys choose.

    Parameters
    ----------
    config
        librdkafka settings, ``bootstrap.servers`` at least.
    topic
        Must exist.
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
        self._failure: KafkaError | None = None
        self._producer = Producer(
            {
                "enable.idempotence": True,
                # Errors reach us by the delivery reports; warnings are retried by the client itself.
                "log_level": 3,
                "compression.type": "lz4",
                "linger.ms": 5,
                "queue.buffering.max.messages": _QUEUE_MESSAGES,
                "queue.buffering.max.kbytes": 262_144,
                **config,
            }
        )
        partitions = self._partitions(timeout_s)
        self._next_partition = cycle(range(partitions)) if spread else cycle([-1])

    def send(self, messages: Sequence[Message]) -> None:
        """Hand messages to the client; waits while its queue is full.

        Raises
        ------
        LoadError
            When an earlier message could not be delivered, or one of these cannot be queued.
        """
        while len(self._producer) + len(messages) > _QUEUE_MESSAGES and len(self._producer):
            self._producer.poll(0.05)
        # A batch goes to one partition: the client does not look at partitions of its single messages.
        batches: dict[int, list[dict[str, Any]]] = {}
        for message in messages:
            batches.setdefault(next(self._next_partition), []).append({"key": message.key, "value": message.value})
        for partition, batch in batches.items():
            queued = self._producer.produce_batch(self.topic, batch, partition, on_delivery=self._delivered)
            if queued < len(batch):
                error = next(message["_error"] for message in batch if "_error" in message)
                raise LoadError(f"a message for topic {self.topic} was refused: {error}")
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
            raise LoadError(f"{left} messages for topic {self.topic} were not acknowledged within {_FLUSH_S:g} s")

    def _delivered(self, error: KafkaError | None, _: Delivered) -> None:
        if error is not None and self._failure is None:
            self._failure = error

    def _check(self) -> None:
        if self._failure is not None:
            raise LoadError(f"a message for topic {self.topic} could not be delivered: {self._failure.str()}")

    def _partitions(self, timeout_s: float) -> int:
        deadline_s = time.monotonic() + min(timeout_s, _APPEAR_S)
        while True:
            try:
                known = self._producer.list_topics(self.topic, timeout=timeout_s).topics[self.topic]
            except KafkaException as error:
                raise LoadError(f"no broker answers: {error.args[0].str()}. Start one with 'halcyon up'.") from error
            if known.error is None and known.partitions:
                break
            # A broker may be a moment behind on a topic that was created just now.
            if time.monotonic() > deadline_s:
                raise LoadError(f"topic {self.topic} does not exist: create it with 'halcyon topics apply'.")
            time.sleep(0.1)
        return len(known.partitions)
