"""Moments merge to what numpy says of all values at once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from detectors import moments

Floats = NDArray[np.float64]
chunks = st.lists(
    arrays(np.float64, st.integers(0, 30), elements=st.one_of(st.floats(-1e6, 1e6), st.just(np.nan))),
    min_size=1,
    max_size=6,
)


def close(a: Floats, b: Floats) -> bool:
    return np.allclose(a, b, rtol=1e-9, atol=1e-6, equal_nan=True)


@given(chunks)
def test_merging_parts_equals_the_whole_in_any_order(parts: list[Floats]) -> None:
    whole = moments.of(np.concatenate(parts))
    stats = np.stack([moments.of(p) for p in parts])
    left = stats[0]
    for part in stats[1:]:
        left = moments.merge(left, part)
    right = stats[-1]
    for part in stats[-2::-1]:
        right = moments.merge(part, right)
    assert close(left, whole)
    assert close(right, whole)
    assert close(moments.merge_groups(stats, np.zeros(len(stats), np.int64), 1)[0], whole)


@given(chunks)
def test_groups_do_not_touch_each_other(parts: list[Floats]) -> None:
    stats = np.stack([moments.of(p) for p in parts])
    group = np.arange(len(parts))[::-1].copy()
    assert close(moments.merge_groups(stats, group, len(parts) + 1)[:-1], stats[::-1])
    assert np.array_equal(moments.merge_groups(stats, group, len(parts) + 1)[-1], moments.EMPTY, equal_nan=True)


def test_a_million_values_at_a_billion_keep_nine_digits() -> None:
    rng = np.random.default_rng(11)
    noise = rng.normal(size=1_000_000)
    x = noise + 1e9
    exact = x - 1e9
    parts = np.stack([moments.of(p) for p in np.array_split(x, 37)])
    merged = parts[0]
    for part in parts[1:]:
        merged = moments.merge(merged, part)
    for got in (merged, moments.merge_groups(parts, np.zeros(37, np.int64), 1)[0]):
        assert got[moments.COUNT] == 1e6
        assert abs(got[moments.MEAN] - (1e9 + exact.mean())) <= 1e-9 * 1e9
        assert abs(got[moments.M2] / ((exact - exact.mean()) ** 2).sum() - 1) <= 1e-9
        assert (got[moments.MIN], got[moments.MAX]) == (x.min(), x.max())
