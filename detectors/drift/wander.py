r"""How far a quantity strays from itself while nothing is wrong: the reference's chunks, each beside all the others.

Rows of the reference in the order of time are cut into C chunks. Each is compared with the rest of the reference, which
it is no part of, by the distances that drift is told by; of those d, what a window may well be off by is

$$\bar d + 3 s_d,$$

where the chunks differ by more than sampling: $\bar d > E d + 3 \operatorname{sd}(d) / \sqrt C$, taken as for
independent values, N of which count as N / D. D, as of rows that come in bursts, is told by pieces a fourth as long:
bursts scatter the mean of N values by D / N, so the longer the chunk the less, and what wanders scatters long chunks
as much as short ones. Otherwise it is nothing. It is a floor: a feature that strays by 0.3 σ from hour to hour is no
finding before it does more than that.

References
----------
.. [1] W. A. Shewhart, "Economic control of quality of manufactured product", 1931 (limits from rational subgroups).
.. [2] M. Stone, "Cross-validatory choice and assessment of statistical predictions", 1974 (leaving one out).
.. [3] C. J. Geyer, "Practical Markov chain Monte Carlo", 1992 (batch means).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

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
    found = [_limit(*one) for one in _distances(chunks, rest, edges, _design_effect(pieces))]
    return tuple(found) if any(found) else ()


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


def _distances(chunks: Ints, rest: Ints, edges: Floats, effect: float) -> list[tuple[Floats, float, float]]:
    """Of each kind: distances float64[C], and their mean and standard deviation by sampling alone."""
    scale = float(1 / chunks[0].sum() + 1 / rest[0].sum()) * effect
    root = float(np.sqrt(scale))
    stability, groups = psi(chunks, rest, _MIN_EXPECTED * effect)
    dof = float(groups.mean() - 1)
    earth, expected = wasserstein(chunks, rest, np.ascontiguousarray(np.broadcast_to(edges, (len(chunks), len(edges)))))
    step, _ = kolmogorov(chunks, rest)
    ranks = np.abs(rank_scores(chunks, rest).mean[0])
    # Of the absolute Brownian bridge: its integral's deviation is below 1/4, its supremum's 0.26, its end's 0.6.
    return [
        (stability, dof * scale, float(np.sqrt(2 * max(dof, 0))) * scale),
        (earth, float(np.nan_to_num(expected.mean())) * root, 0.6 * root),
        (step, float(np.sqrt(np.pi / 2) * np.log(2)) * root, 0.26 * root),
        (ranks, float(np.sqrt(2 / np.pi)) * root, 0.6 * root),
    ]


def _limit(distances: Floats, usual: float, spread: float) -> float:
    told = distances[np.isfinite(distances)]
    if len(told) < _CHUNKS or float(told.mean()) <= usual + _SIGMAS * spread / float(np.sqrt(len(told))):
        return 0.0
    return float(told.mean() + _SIGMAS * told.std(ddof=1))
