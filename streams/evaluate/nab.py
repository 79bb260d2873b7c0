r"""The score of the Numenta Anomaly Benchmark: alarms worth more the earlier they come in a window of an anomaly.

A row at relative place y of a window (-1 its first row, 0 just behind its last) is worth
$\sigma(y) = 2 / (1 + e^{5y}) - 1$. In a window the best alarm counts, as a part of what the first row would be worth;
each alarm outside is worth $A_{FP}\,\sigma(y)$, y counted in widths of the window before it, -1 beyond three widths or
before any window; a window without an alarm costs $A_{FN}$. Rows of the probation, 15 % of a file and at most 750, do
not count. The sum over all files is put on a scale on which nothing said is 0 and the first row of every window, and
nothing else, is 100.

References
----------
.. [1] A. Lavin, S. Ahmad, "Evaluating real-time anomaly detection algorithms: the Numenta Anomaly Benchmark", 2015,
   arXiv 1510.03336.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.evaluate.series import LabelledSeries

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PROBATION_RATIO: Final = 0.15
_PROBATION_OF_ROWS: Final = 5_000
_FAR: Final = 3.0


@dataclass(frozen=True, slots=True)
class Profile:
    """What an alarm in a window is worth, and what a false one and a window that was missed cost."""

    true_positive: float
    false_positive: float
    false_negative: float


PROFILES: Final[Mapping[str, Profile]] = {
    "standard": Profile(1.0, 0.11, 1.0),
    "reward_low_FP": Profile(1.0, 0.22, 1.0),
    "reward_low_FN": Profile(1.0, 0.11, 2.0),
}


def probation(rows: int) -> int:
    """How many rows at the beginning do not count."""
    return math.floor(PROBATION_RATIO * min(rows, _PROBATION_OF_ROWS))


def sigmoid(place: Floats | float) -> Floats:
    """What an alarm at relative place ``place`` is worth: -1…1, by window widths from the end of the window."""
    near = np.minimum(np.asarray(place, np.float64), _FAR)
    return np.where(np.asarray(place) > _FAR, -1.0, 2 / (1 + np.exp(5 * near)) - 1)


@dataclass(frozen=True, slots=True)
class Worths:
    """The rows of all files that count, one after the other.

    ``worth`` float64[n]: of an alarm there, unweighted; ``window`` int64[n]: number of the window it lies in, -1
    outside; ``windows``: how many there are.
    """

    worth: Floats
    window: Ints
    windows: int


def worths(files: Sequence[LabelledSeries]) -> Worths:
    """What each row of ``files`` after its probation is worth."""
    parts, windows = [], 0
    for file in files:
        first = probation(len(file.value))
        counted = file.windows[file.windows[:, 1] >= first]
        worth, window = _file(len(file.value), counted)
        parts.append((worth[first:], np.where(window < 0, -1, window + windows)[first:]))
        windows += len(counted)
    return Worths(np.concatenate([w for w, _ in parts]), np.concatenate([k for _, k in parts]), windows)


def _file(rows: int, windows: Ints) -> tuple[Floats, Ints]:
    worth, window = np.full(rows, -1.0), np.full(rows, -1, np.int64)
    ends = np.append(windows[1:, 0], rows)
    for number, ((first, last), end) in enumerate(zip(windows.tolist(), ends.tolist(), strict=False)):
        inside = np.arange(first, last + 1)
        worth[inside] = sigmoid((inside - last - 1) / (last - first + 1)) / sigmoid(-1.0)
        window[inside] = number
        behind = np.arange(last + 1, end)
        worth[behind] = sigmoid((behind - last) / max(last - first, 1))
    return worth, window


def score(alarmed: NDArray[np.bool_], of: Worths, profile: Profile) -> float:
    """The normalised score of alarms at the rows where bool[n] is True: 100 at best, 0 for none, below for worse."""
    outside = of.window < 0
    raw = profile.false_positive * float(of.worth[alarmed & outside].sum())
    best = np.full(of.windows, -np.inf)
    hit = alarmed & ~outside
    np.maximum.at(best, of.window[hit], of.worth[hit])
    raw += float(np.where(np.isinf(best), -profile.false_negative, profile.true_positive * best).sum())
    return _normalised(raw, of.windows, profile)


def _normalised(raw: float, windows: int, profile: Profile) -> float:
    nothing = -profile.false_negative * windows
    perfect = profile.true_positive * windows
    return 100 * (raw - nothing) / (perfect - nothing) if windows else math.nan


def optimise(scores: Floats, of: Worths, profile: Profile) -> tuple[float, float]:
    """The best normalised score over all thresholds on float64[n] scores, and the threshold: inf to say nothing.

    Every row at the threshold or over is an alarm, as in the benchmark; NaN is none.
    """
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")
    order = order[np.isfinite(scores[order])]
    window, gain = of.window[order], np.zeros(len(order))
    outside = window < 0
    gain[outside] = profile.false_positive * of.worth[order[outside]]
    best = [-profile.false_negative] * of.windows
    for place in np.flatnonzero(~outside).tolist():
        number, worth = int(window[place]), profile.true_positive * float(of.worth[order[place]])
        if worth > best[number]:
            gain[place], best[number] = worth - best[number], worth
    raw = np.cumsum(gain) - profile.false_negative * of.windows
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)) if len(order) else order
    if not len(ends) or raw[ends].max() <= -profile.false_negative * of.windows:
        return _normalised(-profile.false_negative * of.windows, of.windows, profile), math.inf
    chosen = ends[np.argmax(raw[ends])]
    return _normalised(float(raw[chosen]), of.windows, profile), float(scores[order[chosen]])


def optimise_alarms(
    thresholds: Sequence[float], alarmed: Callable[[float], NDArray[np.bool_]], of: Worths, profile: Profile
) -> tuple[float, float]:
    """As :func:`optimise`, of the ``thresholds`` given, where alarms do not follow from single rows."""
    tried = [(score(alarmed(threshold), of, profile), threshold) for threshold in thresholds]
    return max([(0.0, math.inf), *tried], key=lambda pair: pair[0])
