"""The rules between consumer and stage, without either: claims, commits, rebalances, memory."""

import asyncio
from collections.abc import Set as AbstractSet
from typing import Any

import pytest

from streams.bookkeeping import STALL_S, Buffer, start_offset, usable
from streams.errors import BackpressureError
from streams.stage import Batch, Position, TopicPartition
from streams.wire import Found, State
from tests.unit.streams.delivery_support import OTHER, TP, Setup, fetched, records, until


@pytest.fixture
def on() -> Setup:
    return Setup()


async def test_batches_that_continue_each_other_are_delivered(on: Setup) -> None:
    await on.delivery.assign({TP}, 1)
    await on.delivery.deliver(fetched(0, 10))
    await on.delivery.deliver(fetched(10, 12))
    assert on.stage.offsets() == [(0, 9), (10, 11)]
    assert on.delivery.state is State.RUNNING
    assert (on.delivery.counters.batches, on.delivery.counters.records) == (2, 12)
    assert on.delivery.claims.lags() == {TP: 5}


async def test_nothing_is_delivered_of_a_partition_that_is_not_held(on: Setup) -> None:
    await on.delivery.deliver(fetched(0, 10))
    await on.delivery.assign({TP}, 1)
    await on.delivery.deliver(fetched(0, 10, tp=OTHER))
    assert on.stage.offsets() == []
    assert on.delivery.counters.dropped_batches == 2


async def test_a_missing_batch_makes_the_consumer_go_back(on: Setup) -> None:
    await on.delivery.assign({TP}, 1)
    await on.delivery.deliver(fetched(0, 10))
    await on.delivery.deliver(fetched(20, 30))  # 10..19 was dropped below
    await on.delivery.deliver(fetched(30, 40))  # read before the consumer went back
    assert on.wire.seeks[-1] == ({TP: 10}, 2)
    await on.delivery.deliver(fetched(10, 30, epoch=2))
    assert on.stage.offsets() == [(0, 9), (10, 29)]
    assert on.delivery.counters.rewinds == 1


async def test_holes_in_the_offsets_are_no_missing_batch_but_are_counted(on: Setup) -> None:
    await on.delivery.assign({TP}, 1)
    await on.delivery.deliver(fetched(0, 10))
    await on.delivery.deliver(fetched(10, 20, holes=4))  # compacted away
    assert on.stage.offsets() == [(0, 9), (14, 19)]
    assert (on.delivery.counters.rewinds, on.delivery.counters.offsets_skipped) == (0, 4)


async def test_a_batch_missing_at_the_end_of_a_quiet_topic_is_found_by_ticks(on: Setup) -> None:
    await on.delivery.assign({TP}, 1)
    on.wire.ahead = {TP: 10}
    lost = fetched(0, 10)
    on.delivery.buffer.add(lost)
    for _ in range(3):
        on.clock.advance(STALL_S)
        await on.delivery.tick()
    assert len(on.wire.seeks) == 1, "it is still on its way"
    on.delivery.buffer.remove(lost)
    await on.delivery.tick()
    on.clock.advance(STALL_S)
    await on.delivery.tick()
    assert on.wire.seeks[-1] == ({TP: 0}, 2)


async def test_a_stage_that_asks_to_wait_gets_the_same_batch_again_and_ticks_meanwhile(on: Setup) -> None:
    await on.delivery.assign({TP}, 1)
    on.stage.errors = [BackpressureError("full", retry_after_s=0.02), BackpressureError("full", retry_after_s=0.02)]
    delivering = asyncio.create_task(on.delivery.deliver(fetched(0, 10)))
    await until(lambda: on.delivery.counters.backpressure_waits > 0)
    await on.delivery.tick()
    assert not delivering.done()
    await delivering
    assert on.stage.offsets() == [(0, 9)] * 3
    assert [call for call, _ in on.stage.calls].index("tick") < len(on.stage.calls) - 1
    assert on.delivery.failure is None


async def test_a_batch_that_waits_is_dropped_when_its_partition_goes(on: Setup) -> None:
    await on.delivery.assign({TP}, 1)
    on.stage.errors = [BackpressureError("full", retry_after_s=0.01)]
    delivering = asyncio.create_task(on.delivery.deliver(fetched(0, 10)))
    await until(lambda: on.delivery.counters.backpressure_waits > 0)
    await on.delivery.revoke()
    await delivering
    assert on.stage.offsets() == [(0, 9)]
    assert on.stage.calls[-1] == ("revoked", {TP})


async def test_an_error_ends_delivery_and_commits(on: Setup) -> None:
    await on.delivery.assign({TP}, 1)
    await on.delivery.deliver(fetched(0, 10))
    boom = ValueError("boom")
    on.stage.errors = [boom]
    await on.delivery.deliver(fetched(10, 20))
    await on.delivery.deliver(fetched(20, 30))
    await on.delivery.tick()
    assert not await on.delivery.commit()
    await on.delivery.close()
    assert on.delivery.failure is boom
    assert on.delivery.failed.is_set()
    assert on.delivery.state is State.FAILED
    assert on.stage.offsets() == [(0, 9), (10, 19)]
    assert [call for call, _ in on.stage.calls] == ["assigned", "process", "process"]
    assert on.wire.commits == []


@pytest.mark.parametrize("method", ["assigned", "tick", "revoked", "committable"])
async def test_an_error_anywhere_in_the_stage_ends_it(on: Setup, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if method != "assigned":
        await on.delivery.assign({TP}, 1)

    def fail(*_: object) -> Any:
        raise ValueError(method)

    monkeypatch.setattr(on.stage, method, fail)
    run = {
        "assigned": lambda: on.delivery.assign({TP}, 1),
        "tick": on.delivery.tick,
        "revoked": on.delivery.revoke,
        "committable": on.delivery.commit,
    }
    await run[method]()
    assert str(on.delivery.failure) == method


async def test_only_what_changed_is_committed_and_only_a_yes_counts(on: Setup) -> None:
    await on.delivery.assign({TP, OTHER}, 1)
    await on.delivery.deliver(fetched(0, 10))
    on.wire.errors = [TimeoutError()]
    assert not await on.delivery.commit()
    assert on.delivery.ledger.committed() == {TP: None, OTHER: None}
    assert on.delivery.counters.commits_late == 1
    assert await on.delivery.commit()
    assert on.wire.commits == [({TP: Position(10, "m")}, 1)]
    assert not await on.delivery.commit()
    on.stage.positions[TP] = Position(10, "metadata alone")
    assert await on.delivery.commit()
    on.stage.positions[TP] = Position(5, "the stage may go back")
    assert await on.delivery.commit()
    assert on.wire.commits[-1] == ({TP: Position(5, "the stage may go back")}, 1)


async def test_positions_of_partitions_that_are_not_held_are_not_committed(on: Setup) -> None:
    on.stage.positions = {TP: Position(3), OTHER: Position(4)}
    assert not await on.delivery.commit()
    await on.delivery.assign({TP}, 1)
    await on.delivery.commit()
    assert on.wire.commits == [({TP: Position(3)}, 1)]


async def test_a_refused_commit_is_counted_ends_the_claim_and_is_not_tried_again(on: Setup) -> None:
    await on.delivery.assign({TP}, 1)
    await on.delivery.deliver(fetched(0, 10))
    on.wire.generation = 2  # the group went on without this worker
    await on.delivery.commit()
    await on.delivery.commit()
    await on.delivery.deliver(fetched(10, 20))
    await on.delivery.revoke()
    assert on.delivery.counters.commits_refused == 1
    assert on.stage.offsets() == [(0, 9)]
    assert on.wire.commits == []
    assert on.delivery.failure is None
    await on.delivery.assign({TP}, 2)
    await on.delivery.deliver(fetched(0, 10, epoch=2))
    assert await on.delivery.commit()


async def test_any_other_error_of_a_commit_ends_it(on: Setup) -> None:
    await on.delivery.assign({TP}, 1)
    await on.delivery.deliver(fetched(0, 10))
    on.wire.errors = [PermissionError("no")]
    await on.delivery.commit()
    assert isinstance(on.delivery.failure, PermissionError)


async def test_giving_up_lets_the_stage_flush_then_commits_what_it_says(on: Setup) -> None:
    await on.delivery.assign({TP}, 1)
    await on.delivery.deliver(fetched(0, 10))

    async def flush(partitions: AbstractSet[TopicPartition]) -> None:
        on.stage.positions[TP] = Position(10, "flushed")

    on.stage.revoked = flush  # type: ignore[method-assign]
    await on.delivery.revoke()
    assert on.wire.commits == [({TP: Position(10, "flushed")}, 1)]
    assert on.delivery.held == frozenset()
    assert not await on.delivery.commit()


async def test_a_batch_in_work_is_finished_before_the_partition_goes_and_none_follows(on: Setup) -> None:
    await on.delivery.assign({TP}, 1)
    on.stage.gate = asyncio.Event()
    first = asyncio.create_task(on.delivery.deliver(fetched(0, 10)))
    await asyncio.sleep(0.01)
    giving_up = asyncio.create_task(on.delivery.revoke())
    second = asyncio.create_task(on.delivery.deliver(fetched(10, 20)))
    await asyncio.sleep(0.01)
    on.stage.gate.set()
    await asyncio.gather(first, giving_up, second)
    assert [call for call, _ in on.stage.calls] == ["assigned", "process", "revoked"]
    assert on.wire.commits == [({TP: Position(10, "m")}, 1)]


async def test_a_stage_that_hangs_does_not_hold_up_the_group_for_ever(on: Setup) -> None:
    await on.delivery.assign({TP}, 1)
    on.stage.gate = asyncio.Event()
    hanging = asyncio.create_task(on.delivery.deliver(fetched(0, 10)))
    await asyncio.sleep(0.01)
    await on.delivery.revoke()
    assert "did not finish" in str(on.delivery.failure)
    on.stage.gate.set()
    await hanging


async def test_a_stop_that_meets_a_rebalance_gives_up_once(on: Setup) -> None:
    await on.delivery.assign({TP}, 1)
    await on.delivery.deliver(fetched(0, 10))
    await asyncio.gather(on.delivery.revoke(), on.delivery.close())
    assert [call for call, _ in on.stage.calls] == ["assigned", "process", "revoked"]
    assert len(on.wire.commits) == 1
    assert on.delivery.state is State.STOPPED


async def test_taking_over_is_cancelled_when_the_group_rebalances_again(on: Setup) -> None:
    on.stage.gate = asyncio.Event()
    taking = asyncio.create_task(on.delivery.assign({TP}, 1))
    await asyncio.sleep(0.01)
    await on.delivery.revoke()
    await asyncio.wait({taking})
    assert on.delivery.held == frozenset()
    on.stage.gate.set()
    on.wire.generation = 2
    await on.delivery.assign({OTHER}, 2)
    assert [call for call, _ in on.stage.calls] == ["assigned", "assigned"]
    assert on.delivery.failure is None


async def test_a_generation_that_passed_while_taking_over_claims_nothing(on: Setup) -> None:
    on.wire.generation = 2
    await on.delivery.assign({TP}, 1)
    await on.delivery.deliver(fetched(0, 10))
    assert on.stage.offsets() == []
    assert on.delivery.failure is None
    await on.delivery.revoke()
    await on.delivery.assign({TP}, 2)
    assert [call for call, _ in on.stage.calls] == ["assigned", "revoked", "assigned"]


async def test_an_unannounced_rebalance_commits_nothing_of_the_old_generation(on: Setup) -> None:
    await on.delivery.assign({TP}, 1)
    await on.delivery.deliver(fetched(0, 10))
    on.wire.generation = 2
    await on.delivery.assign({TP, OTHER}, 2)
    assert [call for call, _ in on.stage.calls] == ["assigned", "process", "revoked", "assigned"]
    assert on.wire.commits == []


async def test_the_stage_is_given_what_was_committed_and_may_start_elsewhere(on: Setup) -> None:
    on.wire.found = {TP: Found(Position(40, "note"), 10, 100), OTHER: Found(None, 10, 100)}
    on.stage.starts = {TP: 60, OTHER: None}
    await on.delivery.assign({TP, OTHER}, 1)
    assert on.stage.calls == [("assigned", {TP: Position(40, "note"), OTHER: None})]
    assert on.wire.seeks == [({TP: 60, OTHER: 10}, 1)]


async def test_what_retention_deleted_unread_is_counted(on: Setup) -> None:
    on.wire.found = {TP: Found(Position(40), 70, 100)}
    await on.delivery.assign({TP}, 1)
    assert on.wire.seeks == [({TP: 70}, 1)]
    assert on.delivery.counters.offsets_lost == 30


def test_a_position_beyond_the_end_is_of_another_topic_of_that_name() -> None:
    assert usable(TP, Found(Position(500), 0, 100)) is None
    assert usable(TP, Found(Position(100), 0, 100)) == Position(100)


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        (Found(None, 5, 9), None, (5, 0)),
        (Found(None, 5, 9), 1, (5, 0)),
        (Found(None, 5, 9), 100, (9, 0)),
        (Found(Position(7), 5, 9), None, (7, 0)),
        (Found(Position(7), 5, 9), 6, (6, 0)),
        (Found(Position(2), 5, 9), None, (5, 3)),
    ],
)
def test_where_reading_starts(found: Found, wanted: int | None, expected: tuple[int, int]) -> None:
    assert start_offset(found, found.position, wanted) == expected


async def test_reading_waits_for_memory_and_goes_on_when_half_of_it_is_free() -> None:
    buffer = Buffer(1_000)
    first, second, third = (fetched(offset, offset + 1, size_bytes=250) for offset in range(3))
    for batch in (first, second, third):
        await asyncio.wait_for(buffer.room(), 1)
        buffer.add(batch)
    waiting = asyncio.create_task(buffer.room())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    buffer.remove(first)
    buffer.remove(first)
    assert await asyncio.wait_for(waiting, 1) == 1
    assert buffer.size_bytes == 500
    buffer.forget(OTHER)
    assert buffer.holds(TP)
    buffer.forget()
    assert (buffer.size_bytes, buffer.holds(TP)) == (0, False)


async def test_the_room_follows_the_size_of_recent_records() -> None:
    buffer = Buffer(4_000_000)
    small = fetched(0, 100, size_bytes=1_000)
    for _ in range(100):
        buffer.add(small)
        buffer.remove(small)
    many = await buffer.room()
    large = fetched(0, 1, size_bytes=100_000)
    buffer.add(large)
    buffer.remove(large)
    assert await buffer.room() == 10
    assert many > 1_000


async def test_closing_commits_and_takes_nothing_more(on: Setup) -> None:
    await on.delivery.assign({TP}, 1)
    await on.delivery.deliver(fetched(0, 10))
    await on.delivery.close()
    await on.delivery.deliver(fetched(10, 20))
    await on.delivery.assign({TP}, 1)
    await on.delivery.tick()
    assert [call for call, _ in on.stage.calls] == ["assigned", "process", "revoked"]
    assert on.wire.commits == [({TP: Position(10, "m")}, 1)]
    assert on.delivery.state is State.STOPPED


@pytest.mark.parametrize(
    "bad", [{"offset": -1}, {"offset": 1, "metadata": "x" * 4097}, {"offset": 1, "metadata": "é" * 2049}]
)
def test_positions_that_a_broker_would_refuse_are_not_made(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"offset|metadata"):
        Position(**bad)


def test_the_lag_of_a_batch() -> None:
    batch = Batch("t", 0, records(TP, 3, 7), highwater=10)
    assert batch.lag == 3
