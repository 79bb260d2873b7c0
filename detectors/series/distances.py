"""How far a row of a series is from what the series has been: in shape, and at this time of the day."""

import math

import numpy as np

from detectors.protocol import Floats, Ints


def to_nearest_windows(values: Floats, rows: int, neighbours: int) -> float:
    """Mean Euclidean distance of the last ``rows`` values to the ``neighbours`` nearest windows before them.

    Windows that overlap the last one are left out: a series resembles itself a row later. NaN while there are fewer
    than five windows for each neighbour, for then the nearest are no near ones.

    Parameters
    ----------
    values
        float64[n], oldest first, the row in question last.

    References
    ----------
    .. [1] E. Burnaev, V. Ishimtsev, "Conformalized density- and distance-based anomaly detection in time-series data",
       2016.
    """
    if len(values) - 2 * rows + 1 < 5 * neighbours:
        return math.nan
    windows = np.lib.stride_tricks.sliding_window_view(values[:-rows], rows)
    apart = windows - values[-rows:]
    squares = np.einsum("ij,ij->i", apart, apart)
    return float(np.sqrt(np.partition(squares, neighbours - 1)[:neighbours]).mean())


def to_same_time(ts_ms: Ints, values: Floats, season_ms: int, near_ms: int, neighbours: int) -> float:
    """Mean distance of the last value to the ``neighbours`` nearest ones at this time of the last seven seasons.

    NaN while two seasons have not passed, or fewer than ``neighbours`` values lie within ``near_ms`` of these times.

    Parameters
    ----------
    ts_ms
        int64[n], ascending.
    values
        float64[n], the row in question last.
    """
    now = int(ts_ms[-1])
    if now - int(ts_ms[0]) < 2 * season_ms:
        return math.nan
    times = now - season_ms * np.arange(1, 8)
    first, after = np.searchsorted(ts_ms, times - near_ms), np.searchsorted(ts_ms, times + near_ms, "right")
    there = np.concatenate([values[a:b] for a, b in zip(first.tolist(), after.tolist(), strict=True)])
    if len(there) < neighbours:
        return math.nan
    return float(np.partition(np.abs(there - values[-1]), neighbours - 1)[:neighbours].mean())
