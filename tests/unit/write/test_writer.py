"""What tries that fail leave behind."""

import gc
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from streams.clock import ManualClock
from streams.metrics import Metrics
from streams.sinks.errors import ClickHouseUnavailableError
from streams.write.load import Load, Rejected
from streams.write.writer import Writer
from tests.unit.write.support import batch, unavailable, volumes


class Columns(list[Any]):
    """A list that can be watched."""


class Away:
    """Fails as drivers do: the error holds, through its traceback, the columns and itself."""

    def __init__(self) -> None:
        self.held: list[weakref.ref[Columns]] = []

    def insert(self, table: str, columns: Sequence[Sequence[Any]], token: str) -> None:
        del table, token
        error, kept = unavailable(), Columns(columns)
        self.held.append(weakref.ref(kept))
        raise error

    def close(self) -> None: ...


@pytest.fixture
def rare_collections() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def _bury(rejected: Rejected) -> None:
    raise AssertionError(rejected)


@pytest.mark.usefixtures("rare_collections")
async def test_rows_of_earlier_tries_are_let_go_of() -> None:
    away = Away()
    writer, load = Writer(away, _bury, ManualClock(), Metrics()), Load(0.0)
    for record in batch([volumes([(0, 1, 5)])]).records:
        load.add(batch([]).tp, record)
    for _ in range(6):
        assert isinstance(await writer.send(load), ClickHouseUnavailableError)
    assert len(away.held) == 6
    assert sum(columns() is not None for columns in away.held) <= 1
