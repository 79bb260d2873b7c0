"""What a fraud model knows when a payment comes: counts and means of its card and its terminal over the days before."""

from typing import Final

import numpy as np

from loadgen.columns import Floats, Ints

DAY_S: Final = 86_400


def past_counts(keys: Ints, at_s: Ints, span_s: int) -> Ints:
    """For each payment: how many earlier ones its key had in the ``span_s`` seconds before it.

    Parameters
    ----------
    keys
        int64[n].
    at_s
        int64[n], ascending: seconds.

    Returns
    -------
    Ints
        int64[n]; the payment itself does not count.
    """
    place, first = _windows(keys, at_s, span_s)
    counts = np.empty(len(keys), dtype=np.int64)
    counts[place] = np.arange(len(keys)) - first
    return counts


def past_means(keys: Ints, at_s: Ints, amounts: Floats, span_s: int) -> Floats:
    """The mean amount of the payments that :func:`past_counts` counts; NaN where there are none. float64[n]."""
    place, first = _windows(keys, at_s, span_s)
    sums = np.concatenate([[0.0], np.cumsum(amounts[place])])
    here = np.arange(len(keys))
    counts = here - first
    means = np.full(len(keys), np.nan)
    some = counts > 0
    means[place[some]] = (sums[here[some]] - sums[first[some]]) / counts[some]
    return means


def _windows(keys: Ints, at_s: Ints, span_s: int) -> tuple[Ints, Ints]:
    """The order by key and time, and for each place in it the first place of its window."""
    place = np.lexsort((at_s, keys)).astype(np.int64)
    sorted_keys, sorted_s = keys[place], at_s[place]
    # One axis on which keys do not overlap: a window never reaches into the key before.
    origin = int(sorted_s.min(initial=0))
    width = int(sorted_s.max(initial=0)) - origin + span_s + 1
    _, codes = np.unique(sorted_keys, return_inverse=True)
    axis = codes.astype(np.int64) * width + (sorted_s - origin)
    first = np.searchsorted(axis, np.maximum(axis - span_s, codes.astype(np.int64) * width), side="left")
    return place, first.astype(np.int64)
