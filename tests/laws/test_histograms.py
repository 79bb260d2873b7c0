"""Histograms: merging loses nothing, quantiles keep their bound, whatever the values."""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from detectors.histograms import binned, log

Floats = NDArray[np.float64]
finite = st.floats(-1e15, 1e15, allow_nan=False, width=64)
values = arrays(np.float64, st.integers(1, 200), elements=finite)
positive = arrays(np.float64, st.integers(1, 200), elements=st.floats(1e-6, 1e15))
few_valued = arrays(np.float64, st.integers(1, 300), elements=st.sampled_from([0.0, 0.1, 1.0, 1.1, -3.0, 1e9]))
QS = np.array([0.0, 0.01, 0.07, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0])


def same(a: tuple[NDArray[np.generic], ...], b: tuple[NDArray[np.generic], ...]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@given(values)
def test_a_representative_is_within_one_percent_of_its_values(x: Floats) -> None:
    back = log.values_of(log.bins_of(x))
    assert (np.abs(back - x) <= 0.01 * np.abs(x) * (1 + 1e-9) + log.SMALLEST).all()


@given(values)
def test_values_lie_in_the_bounds_of_their_bin(x: Floats) -> None:
    lower, upper = log.bounds_of(log.bins_of(x))
    slack = 1e-9 * np.abs(x)
    assert (lower < upper).all()
    assert ((lower - slack <= x) & (x <= upper + slack)).all()


@given(values)
def test_bins_ascend_with_values(x: Floats) -> None:
    assert (np.diff(log.bins_of(np.sort(x)).astype(int)) >= 0).all()


def test_bins_and_representatives_round_trip() -> None:
    bins = np.arange(-30_000, 30_001).astype(np.int16)
    lower, upper = log.bounds_of(bins)
    assert np.array_equal(log.bins_of(log.values_of(bins)), bins)
    assert np.array_equal(log.bins_of(np.where(bins < 0, lower, upper)), bins)


def test_every_latency_has_a_bin_of_its_own_percent() -> None:
    year_ms = 365 * 86_400_000.0
    x = np.geomspace(0.08, year_ms, 5_000)
    assert np.abs(log.bins_of(x)).max() < log.LARGEST_BIN
    assert (np.abs(log.values_of(log.bins_of(x)) / x - 1) <= 0.01 + 1e-9).all()


@given(values, values, values)
def test_merging_is_associative_and_commutative_and_equals_counting_at_once(a: Floats, b: Floats, c: Floats) -> None:
    ha, hb, hc = log.histogram(a), log.histogram(b), log.histogram(c)
    whole = log.histogram(np.concatenate((a, b, c)))
    assert same(log.merge(log.merge(ha, hb), hc), whole)
    assert same(log.merge(ha, log.merge(hb, hc)), whole)
    assert same(log.merge(hc, ha, hb), whole)


@given(st.lists(values, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_merging_cells_of_many_series_equals_merging_each(parts: list[Floats], order: object) -> None:
    histograms = [log.histogram(p) for p in parts]
    owner = [i % 3 for i in range(len(parts))]
    series = np.concatenate([np.full(len(b), o) for (b, _), o in zip(histograms, owner, strict=True)])
    bins = np.concatenate([b for b, _ in histograms])
    counts = np.concatenate([c for _, c in histograms])
    shuffled = np.random.default_rng(order.randint(0, 99)).permutation(len(series))  # type: ignore[attr-defined]
    merged, total, offsets = log.merge_cells(series[shuffled], bins[shuffled], counts[shuffled], 4)
    for i in range(4):
        expected = log.merge(*[h for h, o in zip(histograms, owner, strict=True) if o == i])
        cells = slice(offsets[i], offsets[i + 1])
        assert same((merged[cells], total[cells]), expected)


@given(values)
def test_quantiles_are_within_one_percent_of_the_value_of_that_rank(x: Floats) -> None:
    got = log.quantile(*log.histogram(x), QS)
    # Of the quantile as it is written: numpy takes 0.07 · 100 for more than 7.
    ranks = [max(1, ceil(Fraction(str(q)) * len(x))) for q in QS.tolist()]
    exact = np.sort(x)[np.array(ranks) - 1]
    assert (np.abs(got - exact) <= 0.01 * np.abs(exact) * (1 + 1e-9) + log.SMALLEST).all()


@given(st.lists(arrays(np.float64, st.integers(0, 50), elements=finite), min_size=1, max_size=8))
def test_quantiles_of_many_histograms_equal_those_of_each(parts: list[Floats]) -> None:
    histograms = [log.histogram(p) for p in parts]
    offsets = np.cumsum([0, *(len(b) for b, _ in histograms)])
    bins, counts = (np.concatenate(column) for column in zip(*histograms, strict=True))
    got = log.quantiles_csr(bins, counts, offsets, QS)
    for row, (histogram, part) in enumerate(zip(histograms, parts, strict=True)):
        expected = log.quantile(*histogram, QS) if len(part) else np.full(len(QS), np.nan)
        assert np.array_equal(got[row], expected, equal_nan=True)


def test_rank_seven_of_a_hundred_is_the_seven_percent_quantile() -> None:
    x = np.arange(1.0, 101.0)
    bins, counts = log.histogram(x)
    assert log.quantile(bins, counts, np.array([0.07]))[0] == log.values_of(log.bins_of(np.array([7.0])))[0]


@settings(max_examples=200)
@given(st.one_of(values, few_valued))
def test_edges_ascend_strictly_and_hold_every_value(x: Floats) -> None:
    edges = binned.quantile_edges(x)
    assert edges.shape == (33,)
    assert (np.diff(edges) > 0).all()
    cells = binned.histogram(x, edges)
    assert cells.sum() == len(x)
    assert cells[0] == cells[33] == 0


@given(few_valued)
def test_values_kept_as_float32_stay_in_the_bins_of_their_float64(x: Floats) -> None:
    kept = x.astype(np.float32).astype(np.float64)
    edges = binned.quantile_edges(kept)
    assert np.array_equal(binned.histogram(x, edges), binned.histogram(kept, edges))


def test_continuous_values_fill_bins_evenly_and_few_values_get_bins_of_their_own() -> None:
    rng = np.random.default_rng(5)
    even = rng.standard_cauchy(6_400)
    assert np.abs(binned.histogram(even, binned.quantile_edges(even))[1:33] - 200).max() <= 1
    dice = rng.integers(1, 7, 600).astype(np.float64)
    counts = binned.histogram(dice, binned.quantile_edges(dice))
    assert sorted(counts[counts > 0]) == sorted(np.unique(dice, return_counts=True)[1])


@given(few_valued, st.lists(finite, min_size=1, max_size=50))
def test_binning_by_many_edges_equals_binning_by_each(x: Floats, points: list[float]) -> None:
    edges = np.stack([binned.quantile_edges(x), binned.quantile_edges(x * 2 + 1), np.linspace(-5, 5, 33)])
    probe = np.concatenate((np.array(points), x, edges.ravel()))
    which = np.arange(len(probe)) % 3
    expected = np.array([binned.bins_of(probe[i : i + 1], edges[which[i]])[0] for i in range(len(probe))])
    assert np.array_equal(binned.bins_of_many(probe, edges, which), expected)


@given(values, values)
def test_binned_counts_of_parts_add_up(a: Floats, b: Floats) -> None:
    edges = binned.quantile_edges(a)
    together = binned.histogram(np.concatenate((a, b)), edges)
    assert np.array_equal(binned.histogram(a, edges) + binned.histogram(b, edges), together)


@given(values, values)
def test_rebinning_a_log_histogram_keeps_its_mass(a: Floats, b: Floats) -> None:
    cells = binned.from_log(*log.histogram(b), binned.quantile_edges(a))
    assert (cells >= 0).all()
    assert cells.sum() == len(b)


def test_rebinning_into_edges_made_from_the_same_buckets_is_exact() -> None:
    x = np.random.default_rng(3).lognormal(3, 1, 5_000)
    bins, counts = log.histogram(x)
    edges = binned.edges_from_log(bins, counts)
    assert np.array_equal(binned.from_log(bins, counts, edges), binned.histogram(x, edges))


@given(positive)
def test_binned_quantiles_stay_between_the_neighbouring_values(x: Floats) -> None:
    edges = binned.quantile_edges(x)
    got = binned.quantile(binned.histogram(x, edges), edges, QS, float(x.min()), float(x.max()))
    assert (np.diff(got) >= 0).all()
    assert got[0] >= x.min()
    assert got[-1] <= x.max()


@given(st.lists(st.integers(0, 3) | st.integers(0, 10**6), min_size=34, max_size=34).filter(any), st.floats(0, 1))
def test_a_binned_quantile_lies_in_the_cell_that_reaches_it(cells: list[int], q: float) -> None:
    counts, edges = np.array(cells), np.arange(33.0) ** 2
    low, high = -5.0, 2_000.0
    (found,) = binned.quantile(counts, edges, np.array([q]), low, high)
    reached = np.cumsum(counts)
    cell = int(np.flatnonzero((reached >= q * reached[-1]) & (counts > 0))[0])
    bounds = [low, *edges, high]
    assert bounds[cell] <= found <= bounds[cell + 1]


@pytest.mark.parametrize("x", [np.array([]), np.array([np.nan, np.inf])])
def test_edges_of_nothing_are_refused(x: Floats) -> None:
    with pytest.raises(ValueError, match="at least one finite value"):
        binned.quantile_edges(x)
