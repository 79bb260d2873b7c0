"""kill -9 at any moment, again and again: what analyse remembers over days and between topics is as if it had lived on.

A life that follows a dead one hears of all baselines that were ever published, also of those that it will come to learn
itself when it folds again what was not saved.
"""

import asyncio
import json
import random
from dataclasses import replace
from functools import cache

import msgspec
import numpy as np
import pytest

from detectors.sensitivity import Sensitivities
from schemas.baselines import Baseline
from schemas.panes import decode, encode
from schemas.scopes import Family, Scope
from streams.analyse.bench import DetectorBench, rules_of
from streams.analyse.partition import AnalysePartition, AnalyseRules, Output
from streams.clock import ManualClock
from streams.ingest.scoping import PaneLimits
from streams.metrics import Metrics
from tests.harness.outside import Outside
from tests.unit.analyse import test_days, test_pairing
from tests.unit.analyse.pipeline import EPOCH, NoDetectors, Pipeline
from tests.unit.analyse.test_days import HOUR

TABLES = ("volumes", "numerics", "categories", "scores", "baselines")


@cache
def days() -> Pipeline:
    """Two whole days, learned after the first minutes, the first day and the second."""
    return test_days.play(test_days.Traffic(1, 54), 1, 2)


@cache
def weekend() -> Pipeline:
    """A model that rests for longer than a silent scope is remembered, beside one that never does."""
    rng = np.random.default_rng(7)
    ts = EPOCH + np.sort(rng.integers(0, 72 * HOUR, 72 * 60))
    hour = (ts - EPOCH) // HOUR
    rests = (hour >= 30) & (hour < 58)
    pipeline = Pipeline(1, test_days.rules(1), PaneLimits(sample_rows=64))
    for places in np.split(np.arange(len(ts)), np.flatnonzero(np.diff(hour)) + 1):
        pipeline.send(0, [message(rng, int(ts[i]), rests=bool(rests[i])) for i in places.tolist()])
    pipeline.end()
    return pipeline


def message(rng: np.random.Generator, ts_ms: int, *, rests: bool) -> bytes:
    model = "never rests" if rests or rng.random() < 0.3 else "m"
    features = {"amount": rng.normal(), "kind": str(rng.choice(["a", "b"]))}
    event = {"ts_ms": ts_ms, "model": model, "model_version": "1", "latency_ms": 10.0, "features": features}
    return json.dumps(event).encode()


_PLAYED = {"days": days, "weekend": weekend}


def with_detectors(rules: AnalyseRules) -> AnalysePartition:
    bench = DetectorBench({}, rules_of(3, 5), 0.01, (), Sensitivities(), Metrics(), ManualClock())
    return AnalysePartition(0, rules, bench)


def world(name: str) -> Outside:
    if name in _PLAYED:
        played = _PLAYED[name]()
        return Outside(played.log, lambda _: with_detectors(played.rules))
    return Outside([encode(message) for message in test_pairing.log()], lambda _: test_pairing.partition())


@cache
def calm(name: str) -> Outside:
    """One life, from the beginning to the end."""
    lived = world(name)
    asyncio.run(lived.live(random.Random(0), len(lived.log)))
    return lived


@pytest.mark.parametrize(("name", "seed"), [("days", 0), ("days", 1), ("weekend", 2), ("reads", 3), ("reads", 4)])
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


def test_who_rests_for_a_weekend_comes_back_to_the_same_baseline() -> None:
    """Its scope was forgotten meanwhile: nothing of it was learned anew."""
    first, of_a_day = test_days.learned(weekend(), test_days.WHOLE)
    assert (first.learned_days, of_a_day.learned_days) == (0, 1)
    layouts = {
        (row["start_ms"] - EPOCH) // HOUR: row["layout"] for row in weekend().tables["numerics"].values()
        if (row["model"], row["quantity"], row["window_s"]) == ("m", "features.amount", 3600)
    }  # fmt: skip
    assert {hour for hour in layouts if hour > 30} == set(range(58, 72))
    assert {layouts[hour] for hour in range(58, 72)} == {first.id}


def test_of_scopes_that_never_come_so_many_baselines_are_kept() -> None:
    """A producer that makes up versions does not fill the memory of a later life; the newest are what may be wanted."""
    baseline, kept = days().baselines[0], AnalysePartition(0, replace(days().rules, scopes=10), NoDetectors())
    for number in range(100):
        scope = Scope(Family.PREDICTION, "m", f"{number}")
        kept.offer(msgspec.structs.replace(baseline, scope=scope, id=f"{number}", effective_from_ms=number))
    waiting = kept._baselining._offered
    assert len(waiting) <= 20
    assert {scope.model_version for scope in waiting} >= {f"{number}" for number in range(90, 100)}


def test_a_baseline_for_later_does_not_keep_a_scope_from_learning_until_then() -> None:
    """What is on its way for a time to come is not there yet: a scope has its first minutes' baseline until then."""
    first, later, *_ = test_days.learned(days(), test_days.WHOLE)
    partition = AnalysePartition(0, days().rules, NoDetectors())
    partition.offer(later)
    said: list[Output] = []
    for offset, raw in enumerate(days().log):
        said += partition.take(decode(raw), offset)
    assert [b.id for b in said if isinstance(b, Baseline) and b.scope == test_days.WHOLE][:2] == [first.id, later.id]
