"""A state that is gone from its topic is made anew out of the log: what follows is as if it had never gone."""

import random

import pytest

from streams.analyse.partition import AnalysePartition, AnalyseRules
from streams.metrics import render
from tests.harness.outside import Outside
from tests.unit.analyse.pipeline import NoDetectors, Pipeline
from tests.unit.analyse.test_pipeline import Events

WINDOWED = ("volumes", "numerics", "categories")


def outside(log: list[bytes]) -> Outside:
    return Outside(log, lambda number: AnalysePartition(number, AnalyseRules(), NoDetectors()))


@pytest.fixture(scope="module")
def log() -> list[bytes]:
    events, pipeline = Events(12, 6_000, 3), Pipeline(3)
    for partition, values in events.batches(12):
        pipeline.send(partition, values)
    return pipeline.log


@pytest.mark.parametrize("seed", range(6))
async def test_rows_are_those_of_a_life_that_kept_its_state(log: list[bytes], seed: int) -> None:
    calm, stormy, rng = outside(log), outside(log), random.Random(seed)
    await calm.live(rng, len(log))
    wiped = 0
    for _ in range(20):
        lost = not stormy.states and stormy.committed is not None
        behind = stormy.committed.offset if lost and stormy.committed is not None and rng.random() < 0.7 else 0
        metrics = await stormy.live(rng, behind + rng.randint(50, 500))
        counted = b'halcyon_lost_states_total{stage="analyse"} 1.0' in render(metrics.registry)[0]
        assert counted == lost
        if stormy.states and wiped < 4 and rng.random() < 0.3:
            stormy.states.clear()
            wiped += 1
    assert wiped
    await stormy.live(rng, len(log))
    assert stormy.rows(*WINDOWED) == calm.rows(*WINDOWED)


async def test_nothing_is_saved_or_committed_before_the_new_state_has_come_to_where_the_lost_one_stood(
    log: list[bytes],
) -> None:
    world, rng = outside(log), random.Random(1)
    await world.live(rng, 900)
    committed, said = world.committed, len(world.sent)
    world.states.clear()
    await world.live(rng, 400)
    assert (world.states, world.committed, len(world.sent)) == ({}, committed, said)
