"""What is inserted, what may be committed, and what happens when ClickHouse does not take rows."""

import itertools
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.columns import Reason as DeadReason
from streams.errors import BackpressureError
from streams.sinks.errors import ClickHouseRefusedError, Reason
from streams.stage import TopicPartition
from streams.write import load as load_module
from tests.unit.write.support import TOPIC, FakeClickHouse, World, batch, unavailable, volumes


async def test_rows_wait_for_the_interval_and_are_committed_only_then() -> None:
    world = await World(batch_interval_s=1.0).assigned()
    await world.stage.process(batch([volumes([(0, 1, 5)]), volumes([(10_000, 1, 7)])]))
    await world.pass_time(0.9)
    assert (world.server.inserts, world.committed()) == ([], None)
    await world.pass_time(0.2)
    assert [(table, rows) for table, rows, _ in world.server.inserts] == [("volumes", 2)]
    assert world.committed() == 2


async def test_a_full_load_goes_at_once() -> None:
    world = await World(batch_rows=3, batch_interval_s=60).assigned()
    await world.stage.process(batch([volumes([(i, 1, i)]) for i in range(7)]))
    await world.settle()
    assert [rows for _, rows, _ in world.server.inserts] == [3, 3]
    assert world.committed() == 6
    await world.pass_time(61)
    assert world.committed() == 7
    assert world.server.final() == {i: i for i in range(7)}


async def test_a_load_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    message = volumes([(0, 1, 1)])
    monkeypatch.setattr(load_module, "MAX_LOAD_BYTES", 2 * len(message))
    world = await World(batch_interval_s=60).assigned()
    await world.stage.process(batch([message] * 5))
    await world.settle()
    assert [rows for _, rows, _ in world.server.inserts] == [2, 2]


async def test_partitions_are_committed_each_to_its_own_end() -> None:
    world = await World().assigned(0, 1)
    await world.stage.process(batch([volumes([(0, 1, 1)])], first=100, partition=0))
    await world.stage.process(batch([volumes([(1, 1, 1)])] * 2, first=7, partition=1))
    await world.pass_time(2)
    assert (world.committed(0), world.committed(1)) == (101, 9)


async def test_nothing_is_committed_while_clickhouse_is_away_and_nothing_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = await World(retry_initial_s=1, retry_max_s=4).assigned()
    world.server.failures = [unavailable() for _ in range(5)]
    caplog.set_level(logging.INFO, "streams.write.stage")
    await world.stage.process(batch([volumes([(0, 1, 5)])]))
    for _ in range(40):
        await world.pass_time(0.5)
        if world.server.failures:
            assert world.committed() is None
    assert world.committed() == 1
    assert world.server.final() == {0: 5}
    assert [entry.levelname for entry in caplog.records] == ["WARNING", "INFO"]
    assert (
        world.metrics.registry.get_sample_value(
            "halcyon_insert_failures_total", {"table": "volumes", "reason": "unreachable"}
        )
        == 5
    )


async def test_how_long_rows_have_waited_for_an_insert_can_be_asked() -> None:
    world = await World(retry_initial_s=1, retry_max_s=1, batch_interval_s=1).assigned()
    ages = [world.stage.insert_age_s]
    world.server.failures = [unavailable() for _ in range(5)]
    await world.stage.process(batch([volumes([(0, 1, 5)])]))
    await world.pass_time(3)
    await world.stage.process(batch([volumes([(1, 1, 5)])], first=1))
    ages.append(world.stage.insert_age_s)
    for _ in range(6):
        await world.pass_time(1)
    assert world.committed() == 2
    ages.append(world.stage.insert_age_s)
    assert ages == [None, 3, None]


async def test_waits_double_up_to_the_bound() -> None:
    world = await World(retry_initial_s=1, retry_max_s=4, batch_interval_s=0.1).assigned()
    world.server.failures = [unavailable() for _ in range(6)]
    await world.stage.process(batch([volumes([(0, 1, 5)])]))
    await world.pass_time(0.1)
    tried_at, left = [0.0], 5
    for step in range(1, 200):
        await world.pass_time(0.125)
        if len(world.server.failures) < left:
            left = len(world.server.failures)
            tried_at.append(step * 0.125)
    waits = [later - earlier for earlier, later in itertools.pairwise(tried_at)]
    assert waits == [1, 2, 4, 4, 4]


async def test_memory_is_bounded_while_clickhouse_hangs() -> None:
    world = await World(batch_rows=2, batch_interval_s=0.1).assigned()
    world.server.gate.clear()
    taken = 0
    for first in range(0, 100, 4):
        try:
            await world.stage.process(batch([volumes([(first + i, 1, 1)]) for i in range(4)], first=first))
        except BackpressureError:
            break
        taken += 4
        world.clock.advance(1)
    assert taken <= 8
    refused = batch([volumes([(99, 1, 1)])], first=taken)
    with pytest.raises(BackpressureError):
        await world.stage.process(refused)
    world.server.gate.set()
    await world.pass_time(1)
    await world.stage.process(refused)
    await world.pass_time(1)
    assert world.committed() == taken + 1
    assert sorted(world.server.final()) == [*range(taken), 99]


async def test_what_cannot_be_decoded_goes_to_the_dead_letters_and_the_stage_goes_on() -> None:
    world = await World().assigned()
    unknown_table = b"\x01\x92\xa4nope\x90"
    await world.stage.process(batch([b"\x07x", None, b"\x01\xc1", unknown_table, volumes([(0, 1, 5)])]))
    await world.pass_time(2)
    assert [(dead.record.offset, dead.reason) for dead in world.dead] == [
        (0, DeadReason.SCHEMA_MISMATCH),
        (1, DeadReason.NULL_VALUE),
        (2, DeadReason.INVALID_FRAMING),
        (3, DeadReason.SCHEMA_MISMATCH),
    ]
    assert "nope" in world.dead[3].message
    assert (world.server.final(), world.committed()) == ({0: 5}, 5)


async def test_only_the_message_that_clickhouse_refuses_goes_to_the_dead_letters() -> None:
    world = await World().assigned()
    world.server.poison = 13
    await world.stage.process(batch([volumes([(i, 1, i)]) for i in range(40)]))
    await world.pass_time(2)
    assert [dead.record.offset for dead in world.dead] == [13]
    assert world.server.final() == {i: i for i in range(40) if i != 13}
    assert world.committed() == 40


async def test_when_dead_letters_cannot_be_written_the_stage_stops() -> None:
    world = await World().assigned()
    world.dead_letters_fail = True
    await world.stage.process(batch([None]))
    world.clock.advance(2)
    with pytest.raises(OSError, match="no broker"):
        await world.settle()
    assert world.committed() is None


async def test_a_schema_that_does_not_fit_ends_the_stage() -> None:
    world = await World().assigned()
    world.server.failures = [ClickHouseRefusedError("no such table", "t", Reason.SCHEMA, 60, "Run 'halcyon migrate'.")]
    await world.stage.process(batch([volumes([(0, 1, 5)])]))
    world.clock.advance(2)
    with pytest.raises(ClickHouseRefusedError, match="halcyon migrate"):
        await world.settle()
    assert world.committed() is None


async def test_an_insert_whose_answer_was_lost_counts_once() -> None:
    world = await World(retry_initial_s=0.1).assigned()
    world.server.lost_answers = [unavailable(Reason.TIMEOUT)]
    await world.stage.process(batch([volumes([(0, 1, 5)])]))
    await world.pass_time(2)
    await world.pass_time(2)
    (_, _, first), (_, _, second) = world.server.inserts
    assert first == second
    assert (world.server.final(), world.committed()) == ({0: 5}, 1)


async def test_giving_partitions_up_inserts_what_waits() -> None:
    world = await World(batch_interval_s=60).assigned()
    await world.stage.process(batch([volumes([(0, 1, 5)])]))
    await world.stage.revoked({TopicPartition(TOPIC, 0)})
    assert (world.server.final(), world.committed()) == ({0: 5}, 1)
    await world.stage.assigned({})
    assert world.committed() is None


async def test_giving_partitions_up_does_not_wait_for_a_database_that_is_away() -> None:
    world = await World(batch_interval_s=0.1, retry_initial_s=50).assigned()
    world.server.failures = [unavailable()]
    await world.stage.process(batch([volumes([(0, 1, 5)])]))
    await world.pass_time(1)
    await world.stage.revoked({TopicPartition(TOPIC, 0)})
    assert (world.server.inserts, world.committed()) == ([], None)


async def test_stopping_closes_the_connections() -> None:
    world = await World().assigned()
    await world.stage.stop()
    assert world.server.closed


def test_a_token_names_the_rows_not_only_their_offsets() -> None:
    def token_of(value: bytes) -> str:
        load = load_module.Load(0.0)
        for one in batch([value]).records:
            load.add(TopicPartition(TOPIC, 0), one)
        return load_module.token("volumes", load.tables["volumes"])

    assert token_of(volumes([(0, 1, 5)])) == token_of(volumes([(0, 1, 5)]))
    assert token_of(volumes([(0, 1, 5)])) != token_of(volumes([(0, 1, 6)]))


@settings(max_examples=25, deadline=None)
@given(
    crashes=st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["mid", "acknowledged", "unavailable"])), max_size=5),
    batch_rows=st.integers(1, 6),
)
async def test_lives_that_end_anywhere_leave_what_one_life_would(
    crashes: list[tuple[int, str]], batch_rows: int
) -> None:
    """A life reads from the committed offset, takes some messages, and ends without committing what it inserted."""
    log = [volumes([(i % 17 * 10, 1 + i // 17, i)]) for i in range(40)]
    server, committed = FakeClickHouse(), 0
    for taken, how in [*crashes, (len(log), "to the end")]:
        world = await World(server, batch_rows=batch_rows, retry_initial_s=0.1).assigned()
        if how == "unavailable":
            server.lost_answers = [unavailable()]
        values = log[committed : committed + taken]
        if values:
            await world.stage.process(batch(values, first=committed))
        if how == "mid":
            continue  # killed with an insert on its way: it may land or not
        for _ in range(3):
            await world.pass_time(1.5)
        if how != "acknowledged":  # killed after ClickHouse has acknowledged, before the commit
            committed = world.committed() or committed
    assert committed == len(log)
    newest = {i % 17 * 10: i for i in range(40)}
    assert server.final() == newest
