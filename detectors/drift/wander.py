r"""How far a quantity strays from itself while nothing is wrong: the reference's chunks, each beside all the others.

Rows of the reference in the order of time are cut into C chunks. Each is compared with the rest of the reference, which
it is no part of, by the distances that drift is told by; of those d, what a window may well be off by is

$$\bar d + 3 s_d,$$

where the chunks differ by more than sampling: $\bar d > E d + 3 \operatorname{sd}(d) / \sqrt C$, taken as for
independent values, N of which count as N / D. D, as of rows that come in bursts, is told by pieces a fourth as long:
bursts scatter the mean of N values by D / N, so the longer the chunk the less, and what wanders scatters long chunks
as much as short ones. Otherwise it is nothing. It is a floor: a feature that strays by 0.3 σ from hour to hour is no
finding before it does more than that.

Of whole days the hours are the chunks, counted exactly, each beside all others of the day: what has a daily rhythm is
at its hour as far from the day as it always is. They differ in size, so each has a deviation of its own, and D is told
by how the mean rank bends from one hour to the next: a rhythm does so little. In a single day no one can tell a rhythm
from a fault of an hour or two, so the eighth of the hours that stray most is left out of it.

References
----------
.. [1] W. A. Shewhart, "Economic control of quality of manufactured product", 1931 (limits from rational subgroups).
.. [2] M. Stone, "Cross-validatory choice and assessment of statistical predictions", 1974 (leaving one out).
.. [3] C. J. Geyer, "Practical Markov chain Monte Carlo", 1992 (batch means).
.. [4] J. Rice, "Bandwidth choice for nonparametric regression", 1984 (the noise of what is smooth, by differences).
"""

from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.drift.categories import grouped, jensen_shannon
from detectors.drift.kolmogorov import kolmogorov
from detectors.drift.martingale import rank_scores
from detectors.drift.psi import psi
from detectors.drift.wasserstein import wasserstein
from detectors.histograms import binned
from schemas.baselines import CELLS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CHUNKS: Final = 10
_PIECES: Final = 4
_MIN_CHUNK: Final = 100
_SIGMAS: Final = 3.0
_MIN_EXPECTED: Final = 5.0
_HOURS: Final = 24
_JOINED: Final = (1, 2, 3, 4)
"""Hours that are joined to one chunk where single ones have too few values."""
_LEAST: Final = 6
"""Chunks of a day that must have enough values, and ``_KNOWN`` of all that have any."""
_KNOWN: Final = 0.75
_CHI_SQUARE_MEDIAN: Final = 0.4549
ODD_RATIO: Final = 1 / 8
"""Of the hours of a single day: those that stray most, and may be a fault."""


def wander(values: Floats, edges: Floats) -> tuple[float, ...]:
    """What each of :data:`~detectors.drift.compared.DISTANCES` may well be of float64[n] values in the order of time.

    NaN is null. Nothing, ``()``, for fewer than 1,000 values and for what does not stray by any of them.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> x, hours = rng.normal(size=5_000), np.sin(np.linspace(0, 20, 5_000))
    >>> wander(x, binned.quantile_edges(x))
    ()
    >>> y = x + 0.5 * hours
    >>> bool(wander(y, binned.quantile_edges(y))[1] > 0.3)
    True
    """
    known = values[np.isfinite(values)]
    length = len(known) // _CHUNKS
    if length < _MIN_CHUNK:
        return ()
    pieces = _counted(known[: length * _CHUNKS], edges, _CHUNKS * _PIECES)
    chunks = pieces.reshape(_CHUNKS, _PIECES, CELLS).sum(axis=1)
    rest = chunks.sum(axis=0) - chunks
    found = [_limit(*one, least=_CHUNKS) for one in _distances(chunks, rest, edges, _design_effect(pieces))]
    return tuple(found) if any(found) else ()


def wander_of_hours(hours: Ints, edges: Floats, odd_ratio: float = 0.0) -> tuple[float, ...]:
    """What each of the distances may well be of a quantity counted by the hour of the day.

    Parameters
    ----------
    hours
        int64[24, 34]: counts between float64[33] ``edges``, of each hour.
    odd_ratio
        0…1: this share of the hours, those that stray most, is left out.

    Returns
    -------
    As :func:`wander`; ``()`` also where too few hours have enough values.

    Examples
    --------
    >>> x = np.random.default_rng(1).normal(size=(24, 5_000))
    >>> edges = binned.quantile_edges(x.ravel())
    >>> counted = lambda values: np.stack([binned.histogram(row, edges) for row in values])
    >>> wander_of_hours(counted(x), edges)
    ()
    >>> evenings = 0.3 * np.sin(np.arange(24) / 24 * 2 * np.pi)[:, None]
    >>> bool(wander_of_hours(counted(x + evenings), edges)[1] > 0.3)
    True
    """
    chunks = _chunks_of(hours)
    if chunks is None:
        return ()
    rest = chunks.sum(axis=0) - chunks
    distances = _distances(chunks, rest, edges, _smooth_effect(chunks))
    found = [_limit(*one, least=_LEAST, odd_ratio=odd_ratio) for one in distances]
    return tuple(found) if any(found) else ()


def wander_of_shares(hours: Ints, odd_ratio: float = 0.0) -> float:
    """The Jensen-Shannon distance that the categories of int64[24, K] counts by the hour may well have; 0 for none."""
    chunks = _chunks_of(hours)
    if chunks is None or chunks.shape[1] < 2:
        return 0.0
    rest = chunks.sum(axis=0) - chunks
    c, r = grouped(chunks, rest, _MIN_EXPECTED)
    scale = (1 / c.sum(axis=1) + 1 / r.sum(axis=1)) / (8 * np.log(2))
    dof = np.maximum((c + r > 0).sum(axis=1) - 1, 0)
    # The root of a chi-square has a standard deviation of about the root of a half.
    return _limit(jensen_shannon(c, r), np.sqrt(dof * scale), np.sqrt(scale / 2), least=_LEAST, odd_ratio=odd_ratio)


def _chunks_of(hours: Ints) -> Ints | None:
    """The hours, or several together, that have enough values: int64[C, k]; None where too few have."""
    for joined in _JOINED:
        chunks = hours.reshape(_HOURS // joined, joined, -1).sum(axis=1)
        values = chunks.sum(axis=1)
        enough = values >= _MIN_CHUNK
        if enough.sum() >= max(_LEAST, _KNOWN * (values > 0).sum()):
            return np.asarray(chunks[enough], np.int64)
    return None


def _smooth_effect(chunks: Ints) -> float:
    """As :func:`_design_effect`, where the mean ranks follow a curve: by how they bend, in the median."""
    n = chunks.sum(axis=1).astype(np.float64)
    place = rank_scores(chunks, np.broadcast_to(chunks.sum(axis=0), chunks.shape)).mean[0]
    bend = (place[:-2] - 2 * place[1:-1] + place[2:]) ** 2 / (1 / n[:-2] + 4 / n[1:-1] + 1 / n[2:])
    found = float(np.nan_to_num(np.median(bend))) / _CHI_SQUARE_MEDIAN
    return max(found * (1 + 2 * float(np.sqrt(3 / len(bend)))), 1.0)


def _counted(values: Floats, edges: Floats, parts: int) -> Ints:
    """Counts int64[parts, 34] of as many successive parts of the values."""
    used = values[: len(values) // parts * parts]
    part = np.repeat(np.arange(parts), len(used) // parts)
    cell = binned.bins_of(used, edges).astype(np.int64)
    return np.bincount(part * CELLS + cell, minlength=parts * CELLS).reshape(parts, CELLS).astype(np.int64)


def _design_effect(pieces: Ints) -> float:
    """How many times more the mean ranks of pieces vary from one to the next than those of independent values, ≥ 1.

    Two standard errors above what is found: where it is not sure that a feature strays, nothing is allowed for.
    """
    place = rank_scores(pieces, np.broadcast_to(pieces.sum(axis=0), pieces.shape)).mean[0]
    step = np.diff(place) ** 2 / 2 * pieces.sum(axis=1)[1:]
    return max(float(np.nan_to_num(step.mean())) * (1 + 2 * float(np.sqrt(2 / len(step)))), 1.0)


def _distances(chunks: Ints, rest: Ints, edges: Floats, effect: float) -> list[tuple[Floats, Floats, Floats]]:
    """Of each kind: distances, and their mean and standard deviation by sampling alone, float64[C] each."""
    scale = (1 / chunks.sum(axis=1) + 1 / rest.sum(axis=1)) * effect
    root = np.sqrt(scale)
    stability, groups = psi(chunks, rest, _MIN_EXPECTED * effect)
    dof = max(float(groups.mean() - 1), 0.0)
    earth, expected = wasserstein(chunks, rest, np.ascontiguousarray(np.broadcast_to(edges, (len(chunks), len(edges)))))
    step, _ = kolmogorov(chunks, rest)
    ranks = np.abs(rank_scores(chunks, rest).mean[0])
    # Of the absolute Brownian bridge: its integral's deviation is below 1/4, its supremum's 0.26, its end's 0.6.
    return [
        (stability, dof * scale, float(np.sqrt(2 * dof)) * scale),
        (earth, float(np.nan_to_num(expected.mean())) * root, 0.6 * root),
        (step, float(np.sqrt(np.pi / 2) * np.log(2)) * root, 0.26 * root),
        (ranks, float(np.sqrt(2 / np.pi)) * root, 0.6 * root),
    ]


def _limit(distances: Floats, usual: Floats, spread: Floats, *, least: int, odd_ratio: float = 0.0) -> float:
    told = np.sort(distances[np.isfinite(distances)])
    if len(told) < least:
        return 0.0
    told = told[: len(told) - ceil(len(told) * odd_ratio)]
    if float(told.mean()) <= float(usual.mean()) + _SIGMAS * float(spread.mean()) / float(np.sqrt(len(told))):
        return 0.0
    return float(told.mean() + _SIGMAS * told.std(ddof=1))
