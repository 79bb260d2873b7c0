"""Pools: what is too little alone is compared together with what comes next, exactly, and with nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from detectors import moments
from detectors.drift.pooling import WindowPool
from detectors.protocol import WindowBatch
from detectors.registry import make
from detectors.state import StateError
from tests.laws.cases import MODELS, baseline, usual
from tests.laws.crowd import Crowd
from tests.laws.world import Seen, World

MODEL = MODELS[0]


def windows(rows: list[int], seed: int = 1) -> tuple[list[Seen], list[WindowBatch]]:
    rng, world = np.random.default_rng(seed), World({MODEL: baseline(MODEL)})
    seen = []
    for n in rows:
        whole = usual(rng, MODEL)
        share = n / whole.rows
        countries = {k: int(v * share) for k, v in whole.categories["features.country"].items()}
        seen.append(
            replace(whole, rows=n, numeric={k: v[:n] for k, v in whole.numeric.items()},
                    categories={"features.country": countries}, counters={})
        )  # fmt: skip
    return seen, [world.window({MODEL: s}, i * 60_000) for i, s in enumerate(seen)]


def test_small_windows_come_as_one_when_they_are_enough() -> None:
    seen, batches = windows([90, 80, 70, 60])
    pool = WindowPool(200)
    pooled = [pool.pool(batch).numeric for batch in batches]
    at = list(pooled[0].name).index("features.amount")
    assert [int(p.count[at]) for p in pooled] == [90, 80, 240, 60]
    values = np.concatenate([s.numeric["features.amount"] for s in seen[:3]])
    assert np.array_equal(pooled[2].cur[at], sum(b.numeric.cur[at] for b in batches[:3]))
    together = [pooled[2].count[at], pooled[2].mean[at], pooled[2].m2[at], pooled[2].min[at], pooled[2].max[at]]
    assert together == pytest.approx(moments.of(values).tolist())
    assert pooled[2].rows[at] == 240


def test_categories_come_as_one_too_with_names_that_this_window_has_not() -> None:
    _, batches = windows([90, 80, 70])
    strange = batches[0].categories
    cur = strange.cur.copy()
    cur[0, 0] += 4
    batches[0] = replace(batches[0], categories=replace(strange, cur=cur, values=[("xx", *strange.values[0][1:])]))
    pool = WindowPool(200)
    pooled = [pool.pool(batch).categories for batch in batches]
    assert [int(p.cur.sum()) for p in pooled[:2]] == [int(b.categories.cur.sum()) for b in batches[:2]]
    counts = dict(zip(pooled[2].values[0], pooled[2].cur[0].tolist(), strict=True))
    assert counts["xx"] == cur[0, 0]
    assert sum(counts.values()) == sum(int(b.categories.cur.sum()) for b in batches)
    assert pooled[2].ref[0, list(pooled[2].values[0]).index("xx")] == 0
    assert make("categories").step(replace(batches[2], categories=pooled[2])).ready[0]


def test_what_has_enough_passes_as_it_is_and_clears_what_was_held() -> None:
    _, batches = windows([90, 500, 150, 60])
    pool = WindowPool(200)
    assert pool.pool(batches[0]).numeric is batches[0].numeric
    assert pool.pool(batches[1]).numeric is batches[1].numeric
    assert pool.pool(batches[2]).numeric is batches[2].numeric  # 90 are gone: 150 are not enough
    at = list(batches[3].numeric.name).index("features.amount")
    assert pool.pool(batches[3]).numeric.count[at] == 210


def test_a_new_baseline_and_a_forgotten_series_begin_anew() -> None:
    _, batches = windows([120, 120, 120])
    for forgotten in (False, True):
        pool = WindowPool(200)
        pool.pool(batches[0])
        second = batches[1]
        if forgotten:
            pool.forget(np.concatenate((second.numeric.series, second.categories.series)))
        else:
            numeric, categories = second.numeric, second.categories
            second = replace(
                second, numeric=replace(numeric, ref_mean=numeric.ref_mean + 1),
                categories=replace(categories, ref=categories.ref * 2),
            )  # fmt: skip
        pooled = pool.pool(second)
        assert pooled.numeric is second.numeric
        assert pooled.categories is second.categories


def test_what_is_held_is_saved() -> None:
    _, batches = windows([90, 80, 70, 150, 90])
    through, saved = WindowPool(200), WindowPool(200)
    for batch in batches:
        saved = WindowPool.from_bytes(saved.to_bytes(), 200)
        a, b = through.pool(batch), saved.pool(batch)
        assert np.array_equal(a.numeric.cur, b.numeric.cur)
        assert np.array_equal(a.numeric.mean, b.numeric.mean, equal_nan=True)
        assert a.categories.values == b.categories.values
        assert np.array_equal(a.categories.cur, b.categories.cur)
    assert through.to_bytes() == saved.to_bytes()
    with pytest.raises(StateError, match="start without it"):
        WindowPool.from_bytes(b"nonsense", 200)


def test_a_model_of_forty_events_a_minute_is_not_watched_in_vain() -> None:
    crowd, pool, detector = Crowd(np.random.default_rng(5), 1, 4), WindowPool(200), make("wasserstein")
    ready, over = [], []
    for _ in range(40):
        scores = detector.step(pool.pool(crowd.window(40, shift=1.0)))
        ready.append(bool(scores.ready[:4].any()))
        over.append(int((scores.score[:4] > scores.noise[:4]).sum()))
    assert 5 <= sum(ready) <= 12
    assert sum(over) >= 20
