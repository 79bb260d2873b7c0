"""A ClickHouse in memory with the semantics that matter: the highest version of a key counts, tokens override."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

from aiokafka.structs import ConsumerRecord

from schemas.rows import TABLES, RowBatch, encode
from streams.clock import ManualClock
from streams.metrics import Metrics
from streams.sinks.errors import ClickHouseRefusedError, ClickHouseUnavailableError, Reason
from streams.stage import Batch, TopicPartition
from streams.write.load import Rejected
from streams.write.stage import WriteParams, WriteStage
from streams.write.writer import Writer

TOPIC = "rows"
KEY = ("family", "model", "model_version", "segment", "window_s", "start_ms", "part")


def volumes(rows: Sequence[tuple[int, int, int]]) -> bytes:
    """A message of rows (start_ms, version, events) of the table ``volumes``."""
    defaults = {
        "family": "prediction",
        "model": "m",
        "model_version": "1",
        "segment": "",
        "window_s": 10,
        "part": -1,
        "late": 0,
    }
    columns = []
    for name in TABLES["volumes"]:
        place = {"start_ms": 0, "version": 1, "rows": 2}.get(name)
        columns.append([defaults[name] if place is None else row[place] for row in rows])
    return encode(RowBatch("volumes", tuple(columns)))


def record(offset: int, value: bytes | None, partition: int = 0) -> ConsumerRecord[bytes, bytes]:
    """A Kafka record."""
    size = -1 if value is None else len(value)
    return ConsumerRecord(TOPIC, partition, offset, 0, 0, None, value, None, -1, size, ())


def batch(values: Sequence[bytes | None], first: int = 0, partition: int = 0) -> Batch:
    """Records at consecutive offsets."""
    records = [record(first + i, value, partition) for i, value in enumerate(values)]
    return Batch(TOPIC, partition, records, first + len(values))


class FakeClickHouse:
    """Inserts as the real one does; ``failures`` are raised first, ``after`` ones once the rows are in."""

    def __init__(self) -> None:
        self.inserts: list[tuple[str, int, str]] = []
        self.failures: list[Exception] = []
        self.lost_answers: list[Exception] = []
        self.poison: int | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False
        self._rows: dict[tuple[Any, ...], tuple[int, int]] = {}
        self._tokens: set[str] = set()

    def insert(self, table: str, columns: Sequence[Sequence[Any]], token: str) -> None:
        self.gate.wait(10)
        if self.failures:
            raise self.failures.pop(0)
        rows = [dict(zip(TABLES[table], row, strict=True)) for row in zip(*columns, strict=True)]
        if any(row["rows"] == self.poison for row in rows):
            raise ClickHouseRefusedError("does not fit", "volumes_raw", Reason.DATA)
        self.inserts.append((table, len(rows), token))
        if token not in self._tokens:
            self._tokens.add(token)
            for row in rows:
                key = (table, *(row[name] for name in KEY))
                if key not in self._rows or self._rows[key][0] <= row["version"]:
                    self._rows[key] = (row["version"], row["rows"])
        if self.lost_answers:
            raise self.lost_answers.pop(0)

    def close(self) -> None:
        self.closed = True

    def final(self) -> dict[int, int]:
        """start_ms → events, as the view shows them."""
        return {key[1 + KEY.index("start_ms")]: events for key, (_, events) in self._rows.items()}


def unavailable(reason: Reason = Reason.UNREACHABLE) -> ClickHouseUnavailableError:
    return ClickHouseUnavailableError("down", "test", reason)


class World:
    """A stage, its ClickHouse, its dead letters, and time."""

    def __init__(self, server: FakeClickHouse | None = None, **params: Any) -> None:
        self.server = server or FakeClickHouse()
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.dead: list[Rejected] = []
        self.dead_letters_fail = False
        writer = Writer(self.server, self._dead_letter, self.clock, self.metrics)
        self.stage = WriteStage(writer, TOPIC, self.clock, WriteParams(**params), jitter=lambda: 1.0)

    async def _dead_letter(self, rejected: Rejected) -> None:
        if self.dead_letters_fail:
            raise OSError("no broker")
        self.dead.append(rejected)

    async def assigned(self, *partitions: int) -> "World":
        await self.stage.start()
        await self.stage.assigned({TopicPartition(TOPIC, partition): None for partition in partitions or (0,)})
        return self

    def committed(self, partition: int = 0) -> int | None:
        position = self.stage.committable().get(TopicPartition(TOPIC, partition))
        return position.offset if position else None

    async def pass_time(self, seconds: float) -> None:
        """Let the clock advance, and the stage and its thread do what they can."""
        self.clock.advance(seconds)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(100):
            before = (len(self.server.inserts), len(self.server.failures), self.committed())
            await self.stage.tick()
            await asyncio.sleep(0.002)
            await self.stage.tick()
            sending = self.stage._sending
            if sending is not None:
                await asyncio.wait({sending}, timeout=0.05)
            elif before == (len(self.server.inserts), len(self.server.failures), self.committed()):
                return
            if not self.server.gate.is_set():
                return
