"""Sums that wait for minutes and hours: the same numbers as plain sums, in less room, in whatever order they came."""

from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors import moments
from streams.windows import cells as cell
from streams.windows.rollups import RollupSums
from streams.windows.sums import Folded, Sums

SERIES = st.integers(0, 5) | st.sampled_from([65_535, 65_536, 70_000])
COUNTS = st.integers(1, 3) | st.sampled_from([65_535, 65_536, 2**32, 2**40])
CELLS = st.lists(st.tuples(SERIES, st.booleans(), st.integers(0, 33), COUNTS), max_size=30)
VALUES = st.dictionaries(SERIES, st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4), max_size=6)
PARTS = st.lists(st.tuples(VALUES, CELLS), max_size=6)
Part = tuple[dict[int, list[float]], list[tuple[int, bool, int, int]]]


def folded(part: Part) -> Folded:
    values, counted = part
    sums = Sums()
    ids = np.array(list(values), np.int64)
    stats = np.array([moments.of(np.array(x)) for x in values.values()], np.float64).reshape(-1, 5)
    series, binned, bins, counts = (np.array(column) for column in zip(*counted, strict=True)) if counted else [[]] * 4
    series, binned, bins = np.array(series, np.int64), np.array(binned, bool), np.array(bins, np.int64)
    sums.add(ids, stats, cell.encode(series, bins, binned=binned), np.array(counts, np.int64))
    return sums.fold()


def merged(parts: list[Part], look_after: set[int] = frozenset()) -> RollupSums:  # type: ignore[assignment]
    sums = RollupSums()
    for place, part in enumerate(parts):
        sums.merge(folded(part))
        if place in look_after:
            sums.fold()
    return sums


def plain(sums: Folded) -> Any:
    return sums.ids.tolist(), sums.stats.tolist(), sums.keys.tolist(), sums.counts.tolist()


@given(PARTS)
def test_every_value_and_every_cell_is_counted_once(parts: list[Part]) -> None:
    sums = merged(parts).fold()
    cells: Counter[tuple[int, bool, int]] = Counter()
    for _, counted in parts:
        for series, binned, code, count in counted:
            cells[series, binned, code] += count
    kinds = zip(
        cell.series_of(sums.keys).tolist(), cell.is_binned(sums.keys).tolist(), cell.bins_of(sums.keys).tolist(),
        strict=True,
    )  # fmt: skip
    assert dict(zip(kinds, sums.counts.tolist(), strict=True)) == dict(cells)
    assert sums.keys.tolist() == sorted(sums.keys.tolist())
    values = {s: [x for part, _ in parts for x in part.get(s, [])] for part, _ in parts for s in part}
    assert sums.ids.tolist() == sorted(values)
    for series, stats in zip(sums.ids.tolist(), sums.stats, strict=True):
        assert stats == pytest.approx(moments.of(np.array(values[series])), rel=1e-9, abs=1e-3)


@given(PARTS, st.sets(st.integers(0, 5)))
def test_looking_changes_nothing(parts: list[Part], look_after: set[int]) -> None:
    assert plain(merged(parts, look_after).fold()) == plain(merged(parts).fold())


@given(PARTS, st.integers(0, 6))
def test_a_saved_sum_goes_on_exactly(parts: list[Part], cut: int) -> None:
    raw = msgspec.msgpack.encode(merged(parts[:cut]).to_parts())
    sums = RollupSums.from_parts(msgspec.msgpack.decode(raw))
    for part in parts[cut:]:
        sums.merge(folded(part))
    assert plain(sums.fold()) == plain(merged(parts).fold())


@given(PARTS)
def test_state_of_version_1_is_read(parts: list[Part]) -> None:
    before = merged(parts).fold()
    raw = [array.tobytes() for array in (before.ids, before.stats, before.keys, before.counts)]
    assert plain(RollupSums.from_parts(raw).fold()) == plain(before)


def test_an_argument_stays_as_it_is() -> None:
    one = folded(({1: [1.0]}, [(1, True, 3, 5), (1, False, 7, 2)]))
    before = plain(one)
    sums = RollupSums()
    sums.merge(one)
    sums.merge(one)
    assert plain(one) == before


def test_a_series_in_a_baselines_bins_takes_two_bytes_for_each() -> None:
    series = np.arange(1_000)
    keys = cell.encode(np.repeat(series, 34), np.tile(np.arange(34), 1_000), binned=True)
    part = Folded(series, np.ones((1_000, 5)), keys, np.full(len(keys), 3))
    sums = RollupSums()
    for _ in range(50):
        sums.merge(part)
    parts = sums.to_parts()
    assert sum(len(raw) for _, raw in parts.values()) <= 1_000 * (8 + 40 + 8 + 34 * 2)
