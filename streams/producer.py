"""Sends messages, and says when the broker has all of them.

A stage commits only what is durable, so the one question it has is: has everything I sent arrived?
:meth:`Producer.barrier` answers it. Sending itself never waits; what librdkafka cannot take yet is kept here, in order,
until it can. How much that is, is bounded by what a stage sends between two barriers.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Message as Delivered
from confluent_kafka import Producer as Client

from streams.errors import HalcyonError
from streams.waits import Waits, nobody

log = logging.getLogger(__name__)

Headers = Sequence[tuple[str, bytes | None]]

MAX_FAILURES = 100
"""Failures kept with their particulars; more are counted."""

POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Failure:
    """A message that will not arrive.

    Parameters
    ----------
    topic, partition
        Where it was going; partition -1 when none had been chosen yet.
    key
        Its key.
    size_bytes
        Of its value.
    reason
        The client's or the broker's words.
    too_large
        Whether its size was the reason: sending it again cannot help.
    """

    topic: str
    partition: int
    key: bytes | None
    size_bytes: int
    reason: str
    too_large: bool


class ProduceError(HalcyonError):
    """Messages sent before a barrier did not arrive.

    Parameters
    ----------
    failures
        The first hundred.
    count
        How many there were.
    """

    def __init__(self, failures: Sequence[Failure], count: int) -> None:
        first = failures[0]
        super().__init__(
            f"{count} of the messages sent could not be delivered, the first: {first.reason}",
            f"{first.topic}, partition {first.partition}, {first.size_bytes} bytes",
            "Nothing that depends on them was committed.",
        )
        self.failures = tuple(failures)
        self.count = count

    @property
    def too_large(self) -> bool:
        """Whether every failure was one of size."""
        return self.count == len(self.failures) and all(failure.too_large for failure in self.failures)


class _Flight:
    """The messages between two barriers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open = 0
        self.failures: list[Failure] = []
        self.failed = 0
        self.landed: asyncio.Event | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def add(self) -> None:
        with self.lock:
            self.open += 1

    def fail(self, failure: Failure) -> None:
        """Count one message as lost."""
        with self.lock:
            self.failed += 1
            if len(self.failures) < MAX_FAILURES:
                self.failures.append(failure)
        self.land()

    def land(self) -> None:
        """Count one message as done with; called from the polling thread."""
        with self.lock:
            self.open -= 1
            if self.open == 0 and self.landed is not None and self.loop is not None:
                self.loop.call_soon_threadsafe(self.landed.set)

    def delivered(self, error: KafkaError | None, message: Delivered) -> None:
        """Take librdkafka's report on one message."""
        if error is None:
            self.land()
            return
        partition, value = message.partition(), message.value()
        self.fail(
            Failure(
                topic=message.topic() or "",
                partition=-1 if partition is None else partition,
                key=message.key(),
                size_bytes=len(value) if value else 0,
                reason=error.str(),
                too_large=error.code() == KafkaError.MSG_SIZE_TOO_LARGE,
            )
        )

    async def wait(self) -> None:
        """Return when every message has been reported on."""
        with self.lock:
            if self.open == 0:
                return
            landed = self.landed = self.landed or asyncio.Event()
            self.loop = asyncio.get_running_loop()
        await landed.wait()


class Producer:
    """An idempotent producer with a barrier. To be used from one event loop.

    Parameters
    ----------
    bootstrap_servers
        ``host:port``, comma-separated.
    client_id
        What brokers log.
    linger_ms
        How long a message may wait for others to travel with, >= 0.
    compression
        ``zstd``, ``lz4``, ``snappy``, ``gzip`` or ``none``.
    max_message_bytes
        Larger messages are refused here, each by itself; the topics' ``max.message.bytes`` must not be smaller, or the
        broker refuses all that travels with them.
    delivery_timeout_s
        After this long without a broker a message counts as failed, > 0.
    security
        Further settings of librdkafka: ``security.protocol``, ``sasl.mechanism`` and the like.
    waits
        Told while a barrier waits.

    Notes
    -----
    A message is sent at most once in its partition's order by this producer, however often librdkafka tries.
    """

    def __init__(  # noqa: PLR0913 - all but the first by name, each with a default
        self,
        bootstrap_servers: str,
        *,
        client_id: str = "halcyon",
        linger_ms: float = 5.0,
        compression: str = "lz4",
        max_message_bytes: int = 1_000_000,
        delivery_timeout_s: float = 300.0,
        security: Mapping[str, Any] | None = None,
        waits: Waits | None = None,
    ) -> None:
        self._waits = waits or nobody()
        self._client = Client(
            {
                "bootstrap.servers": bootstrap_servers,
                "client.id": client_id,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": linger_ms,
                "compression.type": compression,
                "partitioner": "murmur2_random",
                "message.max.bytes": max_message_bytes,
                "delivery.timeout.ms": int(delivery_timeout_s * 1_000),
                "log_level": 4,
                **(security or {}),
            },
            logger=log,
        )
        self._flights = [_Flight()]
        self._waiting: deque[tuple[_Flight, dict[str, Any]]] = deque()
        self._queue_lock = threading.Lock()
        self._closing = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="producer", daemon=True)
        self._poller.start()

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers | None = None,
        partition: int | None = None,
    ) -> None:
        """Send a message, without waiting for it.

        Parameters
        ----------
        topic
            Where to.
        value
            None is a tombstone.
        key
            Decides the partition, as the Java client does, unless `partition` is given.
        headers
            Pairs of name and value.
        partition
            >= 0; None: by the key.

        Raises
        ------
        RuntimeError
            After :meth:`close`.
        """
        if self._closing.is_set():
            raise RuntimeError(f"the producer is closed; a message for {topic} came too late")
        message: dict[str, Any] = {"topic": topic, "value": value, "key": key, "headers": list(headers or ())}
        if partition is not None:
            message["partition"] = partition
        flight = self._flights[-1]
        flight.add()
        with self._queue_lock:
            if self._waiting or not self._produce(flight, message):
                self._waiting.append((flight, message))

    def _produce(self, flight: _Flight, message: dict[str, Any]) -> bool:
        """Hand a message to librdkafka; False when its queue is full."""
        try:
            self._client.produce(**message, on_delivery=flight.delivered)
        except BufferError:
            return False
        except KafkaException as refused:
            error: KafkaError = refused.args[0]
            value, key = message["value"], message["key"]
            flight.fail(
                Failure(
                    topic=message["topic"],
                    partition=message.get("partition", -1),
                    key=key,
                    size_bytes=len(value) if value else 0,
                    reason=error.str(),
                    too_large=error.code() == KafkaError.MSG_SIZE_TOO_LARGE,
                )
            )
        return True

    def _poll(self) -> None:
        """Serve delivery reports, and hand over what waits as room appears. Runs in a thread of its own."""
        while not self._closing.is_set():
            self._client.poll(POLL_S)
            with self._queue_lock:
                while self._waiting and self._produce(*self._waiting[0]):
                    self._waiting.popleft()

    @property
    def pending(self) -> int:
        """Messages sent and not yet reported on."""
        return sum(flight.open for flight in self._flights)

    async def barrier(self) -> None:
        """Return when the broker has acknowledged everything sent before this call.

        Raises
        ------
        ProduceError
            If any of it failed, once all of it has been reported on. It names topic, partition and reason, and is not
            raised again by the next barrier.
        """
        flights = self._flights.copy()  # more than one after a barrier that was cancelled, or beside one that waits
        self._flights.append(_Flight())
        with self._waits:
            for flight in flights:
                await flight.wait()
        self._flights = [flight for flight in self._flights if flight not in flights]
        failures = [failure for flight in flights for failure in flight.failures]
        if failures:
            raise ProduceError(failures[:MAX_FAILURES], sum(flight.failed for flight in flights))

    async def close(self, timeout_s: float = 10.0) -> int:
        """Wait for what is on its way, then stop.

        Parameters
        ----------
        timeout_s
            How long to wait, >= 0.

        Returns
        -------
        int
            Messages given up: 0 unless the time was too short.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self.pending and loop.time() < deadline:  # noqa: ASYNC110 - librdkafka offers no event for an empty queue
            await asyncio.sleep(0.01)
        self._closing.set()
        await asyncio.to_thread(self._poller.join)
        return self.pending
