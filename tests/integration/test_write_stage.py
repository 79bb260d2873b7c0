"""The write stage against ClickHouse's real engine, which goes away in the middle."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from aiokafka.structs import ConsumerRecord

from deploy.local.clickhouse import LocalClickHouse
from schemas.columns import Reason
from schemas.rows import TABLES, RowBatch, encode
from streams.clock import SystemClock
from streams.config import Settings
from streams.config.sections import ClickHouseSettings
from streams.errors import BackpressureError
from streams.metrics import Metrics
from streams.sinks.errors import ClickHouseRefusedError
from streams.stage import Batch, Position, TopicPartition
from streams.write.build import write_stage
from streams.write.load import Rejected
from streams.write.stage import WriteStage
from tests.integration.clickhouse_support import HOUR_MS, SCOPE, Database, migrated, numeric

MESSAGES, ROWS = 120, 25
PATIENCE_S = 60.0


@pytest.fixture
def settings(clickhouse: LocalClickHouse, database: str) -> Settings:
    return Settings(
        clickhouse=ClickHouseSettings(
            url=clickhouse.url,
            database=database,
            batch_rows=400,
            batch_interval_s=0.05,
            timeout_s=5,
            retry_initial_s=0.05,
            retry_max_s=0.2,
        )
    )


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    with migrated(settings.clickhouse) as found:
        yield found


def message(rows: Sequence[dict[str, Any]], table: str = "numerics") -> bytes:
    return encode(RowBatch(table, tuple([row[name] for row in rows] for name in TABLES[table])))


class Partition:
    """One partition of ``rows`` and what was committed for it."""

    def __init__(self, values: Sequence[bytes | None]) -> None:
        self.tp = TopicPartition("rows", 0)
        self.values = values
        self.committed = 0

    def batch(self, first: int, size: int) -> Batch:
        records = [
            ConsumerRecord("rows", 0, offset, 0, 0, None, value, None, -1, len(value or b""), ())
            for offset, value in enumerate(self.values[first : first + size], first)
        ]
        return Batch("rows", 0, records, len(self.values))


class Life:
    """One life of a stage: reads from what was committed, as the transport would."""

    def __init__(self, settings: Settings, partition: Partition) -> None:
        self.dead: list[Rejected] = []
        self.metrics = Metrics()
        self.stage: WriteStage = write_stage(settings, SystemClock(), self.metrics, self._dead_letter)
        self.partition = partition
        self.position = partition.committed

    async def _dead_letter(self, rejected: Rejected) -> None:
        self.dead.append(rejected)

    async def start(self) -> None:
        await self.stage.start()
        await self.stage.assigned({self.partition.tp: Position(self.position)})

    async def read(self, size: int) -> bool:
        """Offer the next batch; False when the stage cannot take it or there is none."""
        if self.position >= len(self.partition.values):
            return False
        try:
            await self.stage.process(self.partition.batch(self.position, size))
        except BackpressureError:
            return False
        self.position += size
        return True

    def waiting(self) -> bool:
        return self.stage.waiting is not None

    def commit(self) -> None:
        position = self.stage.committable().get(self.partition.tp)
        if position is not None:
            assert position.offset >= self.partition.committed
            self.partition.committed = position.offset

    async def until_committed(self, size: int = 7) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.partition.committed < len(self.partition.values):
                if not await self.read(size):
                    await asyncio.sleep(0.02)
                await self.stage.tick()
                self.commit()


@pytest.fixture
def partition() -> Partition:
    values = []
    for i in range(MESSAGES):
        rows = [
            numeric(np.full(4, float(1 + i % 9)), HOUR_MS + 10_000 * i, quantity=f"f{j}", rows=4 + j)
            for j in range(ROWS)
        ]
        values.append(message(rows))
    return Partition(values)


def assert_all_there_once(db: Database) -> None:
    (row,) = db.rows(
        "SELECT count() AS n, uniqExact(quantity, start) AS keys, sum(count) AS c, sum(rows) AS r FROM windows"
    )
    wanted = {"n": MESSAGES * ROWS, "keys": MESSAGES * ROWS, "c": MESSAGES * ROWS * 4}
    assert row == wanted | {"r": MESSAGES * sum(4 + j for j in range(ROWS))}


async def test_everything_arrives(settings: Settings, db: Database, partition: Partition) -> None:
    life = Life(settings, partition)
    await life.start()
    await life.until_committed()
    await life.stage.stop()
    assert_all_there_once(db)
    assert life.dead == []


async def test_nothing_is_missing_and_nothing_twice_when_clickhouse_is_killed_and_comes_back(
    settings: Settings, db: Database, partition: Partition, clickhouse: LocalClickHouse
) -> None:
    life = Life(settings, partition)
    await life.start()
    for _ in range(5):
        await life.read(7)
        await life.stage.tick()
    life.commit()
    clickhouse.kill()
    try:
        refused = 0
        while refused < 5:  # it takes what fits into memory, then it makes Kafka wait
            refused += not await life.read(7)
            await life.stage.tick()
            await asyncio.sleep(0.05)
        life.commit()
        assert life.position < MESSAGES or partition.committed < MESSAGES
        assert life.waiting()
    finally:
        clickhouse.start()
    await life.until_committed()
    await life.stage.stop()
    assert not life.waiting()
    assert_all_there_once(db)


async def test_nothing_is_missing_and_nothing_twice_through_crashes(
    settings: Settings, db: Database, partition: Partition, clickhouse: LocalClickHouse
) -> None:
    """Lives end anywhere, inserts on their way or acknowledged but not committed; ClickHouse is killed among them."""
    seeded = random.Random(11)
    for life_number in range(8):
        life = Life(settings, partition)
        await life.start()
        for _ in range(seeded.randrange(1, 12)):
            await life.read(seeded.randrange(1, 9))
            await asyncio.sleep(seeded.random() * 0.05)
            await life.stage.tick()
            if seeded.random() < 0.4:
                life.commit()
        if life_number % 3 == 1:
            clickhouse.kill()
            clickhouse.start()
        await life.stage.stop()  # what kill -9 would do to it, but for the connections: nothing more is committed
    last = Life(settings, partition)
    await last.start()
    await last.until_committed()
    await last.stage.stop()
    assert_all_there_once(db)


async def test_one_bad_message_among_good_ones(settings: Settings, db: Database) -> None:
    good = [message([numeric(np.ones(4), HOUR_MS + 10_000 * i)]) for i in range(30)]
    bad = message([numeric(np.ones(4), HOUR_MS) | {"mean": None}])
    partition = Partition([*good[:10], bad, None, b"\x01\xc1", *good[10:]])
    life = Life(settings, partition)
    await life.start()
    await life.until_committed()
    await life.stage.stop()
    assert [(dead.record.offset, dead.reason) for dead in sorted(life.dead, key=lambda one: one.record.offset)] == [
        (10, Reason.SCHEMA_MISMATCH),
        (11, Reason.NULL_VALUE),
        (12, Reason.INVALID_FRAMING),
    ]
    assert db.value("count() FROM windows") == 30


async def test_a_database_that_was_never_migrated_ends_the_stage(settings: Settings, partition: Partition) -> None:
    life = Life(settings, partition)
    await life.start()
    with pytest.raises(ClickHouseRefusedError, match="halcyon migrate"):
        await life.until_committed()
    await life.stage.stop()
    assert partition.committed == 0


async def test_every_table_is_written(settings: Settings, db: Database) -> None:
    volume = {**SCOPE, "window_s": 10, "start_ms": HOUR_MS, "part": -1, "version": 1, "rows": 3, "late": 0}
    partition = Partition(
        [message([volume], "volumes"), message([numeric(np.ones(4), HOUR_MS)]), message([volume], "volumes")]
    )
    life = Life(settings, partition)
    await life.start()
    await life.until_committed()
    await life.stage.stop()
    assert (db.value("count() FROM volume"), db.value("count() FROM windows")) == (1, 1)
    written = life.metrics.registry.get_sample_value("halcyon_written_rows_total", {"table": "volumes"})
    assert written == 2
