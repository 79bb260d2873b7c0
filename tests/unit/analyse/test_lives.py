"""kill -9 at any moment, again and again: what analyse remembers over days and between topics is as if it had lived on.

A life that follows a dead one hears of all baselines that were ever published, also of those that it will come to learn
itself when it folds again what was not saved.
"""

import asyncio
import random
from functools import cache

import pytest

from detectors.sensitivity import Sensitivities
from schemas.baselines import Baseline
from schemas.panes import decode, encode
from streams.analyse.bench import DetectorBench, rules_of
from streams.analyse.partition import AnalysePartition, AnalyseRules, Output
from streams.clock import ManualClock
from streams.metrics import Metrics
from tests.harness.outside import Outside
from tests.unit.analyse import test_days, test_pairing
from tests.unit.analyse.pipeline import NoDetectors, Pipeline

TABLES = ("volumes", "numerics", "categories", "scores", "baselines")


@cache
def days() -> Pipeline:
    """Two whole days, learned after the first minutes, the first day and the second."""
    return test_days.play(test_days.Traffic(1, 54), 1, 2)


def with_detectors(rules: AnalyseRules) -> AnalysePartition:
    bench = DetectorBench({}, rules_of(3, 5), 0.01, (), Sensitivities(), Metrics(), ManualClock())
    return AnalysePartition(0, rules, bench)


def world(name: str) -> Outside:
    if name == "days":
        return Outside(days().log, lambda _: with_detectors(days().rules))
    return Outside([encode(message) for message in test_pairing.log()], lambda _: test_pairing.partition())


@cache
def calm(name: str) -> Outside:
    """One life, from the beginning to the end."""
    lived = world(name)
    asyncio.run(lived.live(random.Random(0), len(lived.log)))
    return lived


@pytest.mark.parametrize(("name", "seed"), [("days", 0), ("days", 1), ("reads", 3), ("reads", 4)])
def test_what_is_said_is_what_one_life_says(name: str, seed: int) -> None:
    stormy, rng = world(name), random.Random(seed)
    messages = len(stormy.log)
    while stormy.committed is None or stormy.committed.offset < 0.9 * messages:
        # Saved seldom, a later life comes upon what was published days after the state that it begins with.
        stormy.saved_every_s = rng.choice((5.0, 40.0, 160.0))
        asyncio.run(stormy.live(rng, rng.randint(messages // 50, messages)))
    asyncio.run(stormy.live(rng, messages))
    assert stormy.baselines() == calm(name).baselines()
    assert stormy.findings() == calm(name).findings()
    assert stormy.rows(*TABLES) == calm(name).rows(*TABLES)
    assert any(b.learned_days for b in stormy.known) or stormy.findings()


def test_a_day_is_learned_alike_where_the_baselines_of_later_days_are_known() -> None:
    """A life that begins with the state of the first morning, and comes upon all that was published until the third."""
    cut = len(days().log) // 5
    first = AnalysePartition(0, days().rules, NoDetectors())
    for offset in range(cut):
        list(first.take(decode(days().log[offset]), offset))
    heir = AnalysePartition(0, days().rules, NoDetectors())
    published = {b.id: b for b in days().baselines}
    assert heir.restore(first.snapshot(), published) == []
    assert [heir.offer(b) for b in published.values()] == [b.learned_days > 0 for b in published.values()]
    assert test_days.outputs(heir, days().log, first.committable()) == test_days.outputs(first, days().log, cut)


def test_a_baseline_for_later_does_not_keep_a_scope_from_learning_until_then() -> None:
    """What is on its way for a time to come is not there yet: a scope has its first minutes' baseline until then."""
    first, later, *_ = test_days.learned(days(), test_days.WHOLE)
    partition = AnalysePartition(0, days().rules, NoDetectors())
    partition.offer(later)
    said: list[Output] = []
    for offset, raw in enumerate(days().log):
        said += partition.take(decode(raw), offset)
    assert [b.id for b in said if isinstance(b, Baseline) and b.scope == test_days.WHOLE][:2] == [first.id, later.id]
