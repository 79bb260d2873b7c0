"""The write stage, as the transport sees it."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from streams.clock import Clock
from streams.errors import BackpressureError
from streams.sinks.errors import ClickHouseUnavailableError
from streams.stage import Batch, ConsumerRecord, Position, TopicPartition
from streams.write.load import Load
from streams.write.writer import Writer

log = logging.getLogger(__name__)

PATIENCE_S: Final = 0.5
"""How long `process` waits for an insert before it lets the transport tick, commit and rebalance."""
RELEASE_S: Final = 10.0
"""How long a rebalance waits for inserts; what is not done by then is read again by whoever is next."""


@dataclass(frozen=True, slots=True)
class WriteParams:
    """When to insert, and how to wait.

    Parameters
    ----------
    batch_rows, batch_interval_s
        A load is sent when so many rows wait, or the oldest has waited so long.
    retry_initial_s, retry_max_s
        Wait after the first failure, doubled with each further one, and its bound.
    """

    batch_rows: int = 50_000
    batch_interval_s: float = 1.0
    retry_initial_s: float = 0.5
    retry_max_s: float = 30.0


class WriteStage:
    """Inserts row batches and commits only what ClickHouse has acknowledged.

    One load is on its way, one is being filled; what comes beyond that waits as it came, and then the transport waits.
    While ClickHouse is away the stage keeps its position and tries again, for as long as it takes. Rows are absolute,
    so that what is inserted twice after a crash counts once.

    Parameters
    ----------
    writer
        Makes loads durable.
    topic
        The full name of the ``rows`` topic.
    clock
        For intervals and waits.
    params
        When to insert, how to wait.
    jitter
        A number in [0, 1), new each time, so that workers do not come back in step.
    """

    name: Final = "write"

    def __init__(
        self,
        writer: Writer,
        topic: str,
        clock: Clock,
        params: WriteParams,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.topics: Sequence[str] = (topic,)
        self.waiting: ClickHouseUnavailableError | None = None
        self._writer = writer
        self._clock = clock
        self._params = params
        self._jitter = jitter
        self._acknowledged: dict[TopicPartition, int] = {}
        self._failures = 0
        self._retry_at_s = 0.0
        self._waiting_since_s = 0.0
        self._inserted_s = 0.0
        self._sending: asyncio.Task[ClickHouseUnavailableError | None] | None = None
        self._forget()

    def _forget(self) -> None:
        self._queue: deque[tuple[TopicPartition, ConsumerRecord[bytes, bytes]]] = deque()
        self._open: Load | None = None
        self._sent: Load | None = None
        if self._sending is not None:
            # The thread behind it ends by itself; its rows may land, and will be the same rows when they come again.
            self._sending.cancel()
        self._sending = None

    async def start(self) -> None:
        """Nothing: ClickHouse may well be away now, and is first asked when there are rows."""

    async def assigned(
        self, partitions: Mapping[TopicPartition, Position | None]
    ) -> Mapping[TopicPartition, int | None]:
        """Start empty, at what was committed."""
        self._forget()
        self._acknowledged = {}
        return dict.fromkeys(partitions)

    async def process(self, batch: Batch) -> None:
        """Take a batch, unless what came before it still waits.

        Raises
        ------
        BackpressureError
            When two loads and the rest of a batch are waiting already.
        ClickHouseRefusedError
            When the schema does not fit.
        """
        await self._advance(PATIENCE_S)
        if self._queue:
            left_s = self._retry_at_s - self._clock.monotonic_s()
            raise BackpressureError("ClickHouse is behind.", retry_after_s=min(max(left_s, 0.05), 1.0))
        self._queue.extend((batch.tp, record) for record in batch.records)
        await self._advance(PATIENCE_S)

    async def tick(self) -> None:
        """Send what has waited long enough."""
        await self._advance(0.0)

    async def revoked(self, partitions: AbstractSet[TopicPartition]) -> None:
        """Insert what can be inserted within `RELEASE_S`, and forget the rest: it was not committed."""
        del partitions  # all of them, always
        deadline_s = self._clock.monotonic_s() + RELEASE_S
        self._settle()
        while self.waiting is None and (self._queue or self._open or self._sending):
            self._fill()
            self._launch(due=True)
            left_s = deadline_s - self._clock.monotonic_s()
            if left_s <= 0 or not await self._wait_for_sending(left_s):
                break
        self._forget()

    async def stop(self) -> None:
        """Close the connections."""
        self._forget()
        await self._writer.close()

    def committable(self) -> Mapping[TopicPartition, Position]:
        """The offsets behind which every row is acknowledged."""
        return {tp: Position(offset) for tp, offset in self._acknowledged.items()}

    @property
    def insert_age_s(self) -> float | None:
        """Seconds since the last insert, or since the oldest waiting row came if that was later; None: none waits."""
        waiting = [load.since_s for load in (self._sent, self._open) if load is not None]
        return self._clock.monotonic_s() - max(min(waiting), self._inserted_s) if waiting else None

    async def _advance(self, patience_s: float) -> None:
        """Send and fill until nothing is queued, or ClickHouse makes us wait longer than ``patience_s``."""
        deadline_s = self._clock.monotonic_s() + patience_s
        while True:
            self._settle()
            self._fill()
            self._launch(due=False)
            left_s = deadline_s - self._clock.monotonic_s()
            if not self._queue or left_s <= 0 or not await self._wait_for_sending(left_s):
                return

    def _fill(self) -> None:
        now_s = self._clock.monotonic_s()
        while self._queue:
            if not self._room():
                self._launch(due=False)
            if not self._room():
                return
            self._open = self._open or Load(now_s)
            self._open.add(*self._queue.popleft())

    def _room(self) -> bool:
        return self._open is None or not self._open.full(self._params.batch_rows)

    def _launch(self, *, due: bool) -> None:
        """Send the load that failed last, or the open one when it is full or ``due``, if nothing is on its way."""
        now_s = self._clock.monotonic_s()
        if self._sending is not None or now_s < self._retry_at_s:
            return
        if self._sent is None and self._open is not None:
            waited = now_s - self._open.since_s >= self._params.batch_interval_s
            if due or waited or self._open.full(self._params.batch_rows):
                self._sent, self._open = self._open, None
        if self._sent is not None:
            self._sending = asyncio.create_task(self._writer.send(self._sent), name="insert rows")

    async def _wait_for_sending(self, timeout_s: float) -> bool:
        """Whether a load that was on its way has come back within the time."""
        if self._sending is None:
            return False
        done, _ = await asyncio.wait({self._sending}, timeout=timeout_s)
        if done:
            self._settle()
        return bool(done)

    def _settle(self) -> None:
        """Take note of how the last load fared."""
        if self._sending is None or self._sent is None or not self._sending.done():
            return
        sending, self._sending = self._sending, None
        failure = sending.result()
        if failure is not None:
            self._failed(failure)
            return
        self._acknowledged.update(self._sent.ends)
        self._inserted_s = self._clock.monotonic_s()
        self._sent = None
        self._failures = 0
        if self.waiting is not None:
            waited_s = self._clock.monotonic_s() - self._waiting_since_s
            log.info("ClickHouse takes rows again", extra={"waited_s": round(waited_s, 1)})
            self.waiting = None

    def _failed(self, failure: ClickHouseUnavailableError) -> None:
        now_s = self._clock.monotonic_s()
        if self.waiting is None:
            self._waiting_since_s = now_s
        if self.waiting is None or self.waiting.reason is not failure.reason:
            log.warning("ClickHouse takes no rows, waiting for it: %s", failure, extra={"reason": failure.reason.value})
        self.waiting = failure
        # 2**10 times the first wait is beyond every bound that can be set.
        wait_s = min(self._params.retry_max_s, self._params.retry_initial_s * 2 ** min(self._failures, 10))
        self._failures += 1
        self._retry_at_s = now_s + wait_s * (0.5 + 0.5 * self._jitter())
