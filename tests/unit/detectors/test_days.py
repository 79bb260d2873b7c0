"""Whole days by the hour: what strays and what does not, which edges still fit, and what a baseline of them holds."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.baseline import from_table
from detectors.days import Before, DayCounts, rebuilt, still_fits
from detectors.drift.categories import CategoryDrift
from detectors.drift.compared import DISTANCES
from detectors.drift.psi import PopulationStability
from detectors.drift.wander import ODD_RATIO, wander_of_hours, wander_of_shares
from detectors.histograms import binned
from schemas.baselines import CELLS
from schemas.scopes import Family, Scope
from tests.laws.world import Seen, World

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MODEL = Scope(Family.PREDICTION, "loans", "1")
PART = Scope(Family.PREDICTION, "loans", "1", "country=DE")
AGE = "features.age"
EDGES = binned.quantile_edges(np.random.default_rng(0).normal(size=5_000))


def counted(seed: int, rows: int, shifts: Floats) -> Ints:
    """Normal values of 24 hours, each shifted as given; twice as many by day as by night."""
    rng = np.random.default_rng(seed)
    sizes = (rows * (1 + 0.5 * np.sin(np.arange(24) / 24 * 2 * np.pi))).astype(int)
    hours = [binned.histogram(rng.normal(shift, 1, n), EDGES) for shift, n in zip(shifts, sizes.tolist(), strict=True)]
    return np.stack(hours).astype(np.int64)


EVENING = np.sin(np.arange(24) / 24 * 2 * np.pi)
FAULT = np.where(np.isin(np.arange(24), (14, 15)), 3.0, 0.0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rows", [200, 2_000, 100_000])
def test_days_without_a_rhythm_do_not_stray(seed: int, rows: int) -> None:
    hours = counted(seed, rows, 0 * EVENING)
    assert wander_of_hours(hours, EDGES) == ()
    assert wander_of_hours(hours, EDGES, ODD_RATIO) == ()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("odd_ratio", [0.0, ODD_RATIO])
@pytest.mark.parametrize("rows", [1_000, 50_000])
def test_every_hour_of_a_rhythm_is_within_what_is_allowed_for(seed: int, odd_ratio: float, rows: int) -> None:
    limits = wander_of_hours(counted(seed, rows, 0.5 * EVENING), EDGES, odd_ratio)
    assert len(limits) == len(DISTANCES)
    again = counted(seed + 50, rows, 0.5 * EVENING)
    # Wasserstein and mean ranks of the furthest hour are about its shift; no more than twice that is allowed for.
    assert 0.5 < limits[1] < 1.0
    assert 0.5 < limits[3] < 1.0
    rest = again.sum(axis=0) - again
    share = again / again.sum(axis=1, keepdims=True) - rest / rest.sum(axis=1, keepdims=True)
    assert np.abs(np.cumsum(share, axis=1)).max() < limits[2]


def test_a_fault_of_two_hours_raises_no_floor_in_a_day_and_hardly_one_in_a_week() -> None:
    day = counted(1, 5_000, FAULT)
    assert wander_of_hours(day, EDGES)[1] > 1.5, "what would be allowed for if it were taken for a rhythm"
    # All that is left of it: the other hours stand beside a day that has it, an eleventh of 3 σ away.
    assert wander_of_hours(day, EDGES, ODD_RATIO)[1] < 0.3
    week = day + sum(counted(seed, 5_000, 0 * EVENING) for seed in range(10, 16))
    found = wander_of_hours(week, EDGES)
    assert not found or found[1] < 0.5


def test_shares_of_categories_stray_as_well() -> None:
    rng = np.random.default_rng(2)
    ratio = 0.3 + 0.15 * EVENING
    rhythm = np.array([rng.multinomial(2_000, (p, 1 - p)) for p in ratio])
    steady = np.array([rng.multinomial(2_000, (0.3, 0.7)) for _ in ratio])
    assert wander_of_shares(rhythm) > wander_of_shares(rhythm, ODD_RATIO) > 0.1
    assert wander_of_shares(steady) == 0.0


@pytest.mark.parametrize("hours", [np.zeros((24, CELLS), np.int64), np.eye(24, CELLS, dtype=np.int64) * 20])
def test_too_few_values_say_nothing(hours: Ints) -> None:
    assert wander_of_hours(hours, EDGES) == ()
    assert wander_of_shares(hours) == 0.0


def test_edges_fit_as_long_as_they_tell_values_apart() -> None:
    night = counted(3, 1_000, 0 * EVENING).sum(axis=0)
    assert still_fits(night, counted(4, 1_000, 0.5 * EVENING).sum(axis=0))
    assert not still_fits(night, counted(4, 1_000, 3 + 0 * EVENING).sum(axis=0))
    # What is one value of many from the start goes on to be so.
    flag = np.array([0, 9_000, *([0] * 31), 1_000])
    assert still_fits(flag, 3 * flag)


def before(edges: Floats, cells: Ints) -> Before:
    strays = (0.3, 0.4, 0.2, 0.4)
    return Before("a", 0, {AGE: edges.tobytes()}, {AGE: cells}, {AGE: strays}, {"features.kind": 0.2})


def day(cells: Ints, **changes: object) -> DayCounts:
    total = int(cells.sum())
    parts: dict[str, object] = {
        "days": 1, "rows": total, "panes": 8_640, "pane_ms": 10_000,
        "stats": {AGE: np.array([total, 0, total, -4, 4.0])}, "cells": {AGE: cells}, "logs": {},
        "categories": {"features.kind": {"x": 3, "y": 1}}, "counters": {},
        "shares": {}, "sample_names": (), "sample": np.empty((0, 0)),
    }  # fmt: skip
    return DayCounts(**{**parts, **changes})  # type: ignore[arg-type]


def test_a_segment_strays_as_its_whole_does() -> None:
    cells = counted(5, 1_000, 0 * EVENING).sum(axis=0)[None]
    made, recut = rebuilt(PART, before(EDGES, cells[0]), day(cells), built_from="", effective_from_ms=0, may_recut=True)
    assert (recut, made.layout, made.learned_days) == (False, "", 1)
    assert made.numeric[0].wander == (0.3, 0.4, 0.2, 0.4)
    assert made.categories[0].wander == 0.2


def test_a_quantity_that_comes_up_later_gets_edges_and_the_layout_a_name_of_its_own() -> None:
    cells = counted(6, 1_000, 0 * EVENING)
    values = np.random.default_rng(6).normal(size=(500, 1))
    stats = {AGE: np.array([10.0, 0, 1, -3, 3]), "features.new": np.array([500.0, 0, 500, -4, 4])}
    counts = day(
        cells, stats=stats, logs={"features.new": (np.array([5]), np.array([500]), stats["features.new"])},
        sample_names=("features.new",), sample=values,
    )  # fmt: skip
    made, recut = rebuilt(MODEL, before(EDGES, cells[0]), counts, built_from="", effective_from_ms=0, may_recut=False)
    parts = {part.name: part for part in made.numeric}
    assert (recut, made.layout, made.learned_days) == (False, "", 1)
    assert parts[AGE].edges == EDGES.tobytes()
    assert len(parts["features.new"].edges) == EDGES.nbytes


def test_counts_beyond_four_bytes_do_not_wrap() -> None:
    cells = np.full((24, CELLS), 2**31, np.int64)
    made, _ = rebuilt(MODEL, before(EDGES, cells[0]), day(cells), built_from="", effective_from_ms=0, may_recut=False)
    assert set(np.frombuffer(made.numeric[0].counts, "<u4").tolist()) == {2**32 - 1}


def test_what_strays_raises_the_floor_of_psi_and_sampling_comes_on_top() -> None:
    hours = counted(7, 20_000, 0.5 * EVENING)
    counts = day(hours, stats={AGE: np.array([hours.sum(), 0, hours.sum(), -4, 4.0])})
    made, _ = rebuilt(MODEL, before(EDGES, hours[0]), counts, built_from="", effective_from_ms=0, may_recut=False)
    floors = []
    for rows in (250, 25_000):
        window = World({MODEL: made}).window({MODEL: Seen(rows, {AGE: np.random.default_rng(1).normal(0, 1, rows)})}, 0)
        scores = PopulationStability().step(window)
        floors.append(float(scores.floor[scores.ready][0]))
    allowed = made.numeric[0].wander[0]
    assert allowed > 0.1
    assert floors[1] == pytest.approx(allowed, rel=0.05)
    assert floors[0] == pytest.approx(allowed + 32 / 250, rel=0.2)


def test_categories_that_stray_ask_for_more() -> None:
    table = {"features.kind": ["x"] * 700 + ["y"] * 300}
    world = World({MODEL: from_table(MODEL, table, built_from="test", effective_from_ms=0)})
    window = world.window({MODEL: Seen(1_000, categories={"features.kind": {"x": 500, "y": 500}})}, 0)
    far = replace(window, categories=replace(window.categories, ref_wander=np.array([0.4])))
    assert CategoryDrift().step(window).floor.tolist() == [0.1]
    assert CategoryDrift().step(far).floor.tolist() == [0.4]
