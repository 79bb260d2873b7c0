"""Sends loads to ClickHouse, and to the dead letters what ClickHouse will never take."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from schemas.columns import Reason as DeadReason
from streams.clock import Clock
from streams.memory import collect
from streams.metrics import Metrics
from streams.sinks.errors import ClickHouseRefusedError, ClickHouseUnavailableError, Reason
from streams.write.load import Load, Message, Rejected, merged, token

DeadLetters = Callable[[Rejected], Awaitable[None]]
"""Sends one message to the dead letters; returns when the broker has acknowledged it."""


class Inserter(Protocol):
    """What the writer asks of ClickHouse: see :class:`streams.sinks.clickhouse.ClickHouse`."""

    def insert(self, table: str, columns: Sequence[Sequence[Any]], token: str) -> None:
        """Insert rows and return when they are acknowledged. Called in a thread, one call at a time."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class Writer:
    """Inserts loads, table by table.

    Parameters
    ----------
    inserter
        Where rows go.
    dead_letters
        Where messages go that ClickHouse refuses for what they contain.
    clock, metrics
        For durations and counts.
    """

    def __init__(self, inserter: Inserter, dead_letters: DeadLetters, clock: Clock, metrics: Metrics) -> None:
        self._inserter = inserter
        self._dead_letters = dead_letters
        self._clock = clock
        self._metrics = metrics

    async def send(self, load: Load) -> ClickHouseUnavailableError | None:
        """Make durable what is left of ``load``. What is done leaves it: another try takes up where this one ends.

        Returns
        -------
        None when all of it is durable; else why ClickHouse cannot take it now.

        Raises
        ------
        ClickHouseRefusedError
            The schema does not fit.
        """
        while load.rejected:
            await self._reject(load.rejected[0])
            load.rejected.pop(0)
        for table in list(load.tables):
            try:
                await self._insert(table, load.tables[table])
            except ClickHouseUnavailableError as error:
                self._metrics.insert_failed(table, error.reason)
                collect()  # the rows of the tries before are still held by their errors
                return error
            del load.tables[table]
        return None

    async def close(self) -> None:
        """Close the inserter."""
        await asyncio.to_thread(self._inserter.close)

    async def _insert(self, table: str, messages: Sequence[Message]) -> None:
        """Insert, or find by halving the messages whose rows ClickHouse refuses."""
        started_s = self._clock.monotonic_s()
        try:
            await asyncio.to_thread(self._insert_now, table, messages)
        except ClickHouseRefusedError as error:
            if error.reason is not Reason.DATA:
                raise
            self._metrics.insert_failed(table, error.reason)
            if len(messages) == 1:
                await self._reject(Rejected(messages[0].record, DeadReason.SCHEMA_MISMATCH, error.what))
                return
            half = len(messages) // 2
            await self._insert(table, messages[:half])
            await self._insert(table, messages[half:])
            return
        count = sum(len(message.batch) for message in messages)
        duration_s = self._clock.monotonic_s() - started_s
        self._metrics.inserted(table, count, duration_s, self._clock.now_ms() / 1_000)

    def _insert_now(self, table: str, messages: Sequence[Message]) -> None:
        self._inserter.insert(table, merged(messages), token(table, messages))

    async def _reject(self, rejected: Rejected) -> None:
        await self._dead_letters(rejected)
        self._metrics.dead_lettered(rejected.record.topic, rejected.reason)
