"""A proxy of concept drift: the score answers to a feature otherwise than it did, before a label says whether rightly.

A model that is exchanged, half of a pipeline that computes a feature anew, a rule put before the model: what goes in
is as always, and so may be the scores; what belongs to what is not. Whether the *labels* still answer to the score is
:mod:`detectors.labels`' to say.
"""

from dataclasses import replace
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from detectors.drift.joint import JointParams, PairDrift, WatchedPairs
from detectors.drift.multivariate import SCORE
from detectors.protocol import Floats, Ints, NumericColumns, Scores, WindowBatch

_SLACK: Final = 1e-3
"""Outer edges stand off the smallest and largest value."""


class AssociationParams(JointParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See :class:`~detectors.drift.joint.JointParams`; a scope has no more pairs than features, so more are watched."""

    max_scopes: int = 1_000


class ScoreAssociation(PairDrift):
    """Rank correlation of the score with each feature beside the baseline's, on the row samples, once a minute.

    Parameters
    ----------
    params
        See :class:`AssociationParams`.

    Notes
    -----
    O(n k²) for n sampled rows of k features; 40 bytes of state per feature. Without :meth:`rebase`, or without scores,
    a scope is not ready. What is said of a probability is also how sure the model is of its answers, before and now.
    """

    kind: ClassVar[str] = "association"
    params_type = AssociationParams

    @staticmethod
    def choose(names: tuple[str, ...], first: Ints, second: Ints) -> NDArray[np.bool_]:
        """The pairs of the score."""
        score = np.array([name == SCORE for name in names], np.bool_)
        return np.asarray(score[first] | score[second], np.bool_)

    @staticmethod
    def ends(watched: WatchedPairs) -> tuple[Ints, Ints, Ints]:
        """A pair belongs to its feature."""
        score = watched.names.index(SCORE)
        feature = np.where(watched.first == score, watched.second, watched.first)
        return feature, np.arange(len(feature)), np.full(len(feature), score)

    def step(self, windows: WindowBatch) -> Scores:
        """Score the features of every scope that is watched and has a row sample."""
        scores = super().step(windows)
        numeric, scope = windows.numeric, scores.scope
        return replace(scores, note=lambda place: _sureness(numeric, int(scope[place])))


def sureness(counts: NDArray[np.integer], edges: Floats) -> float:
    """Mean of |2s - 1| of probabilities s, 0…1, by int[34] counts between float64[33] edges; NaN for other scores.

    Examples
    --------
    >>> edges = np.linspace(0, 1, 33)
    >>> counts = np.zeros(34, np.int64)
    >>> counts[[1, 32]] = 50
    >>> round(sureness(counts, edges), 2)
    0.97
    """
    if edges[0] < -_SLACK or edges[-1] > 1 + _SLACK or not counts.any():
        return float("nan")
    middle = np.concatenate((edges[:1], (edges[:-1] + edges[1:]) / 2, edges[-1:]))
    return float(np.average(np.minimum(np.abs(2 * middle - 1), 1.0), weights=counts))


def _sureness(numeric: NumericColumns, scope: int) -> str:
    for row in np.flatnonzero(numeric.scope == scope).tolist():
        if numeric.name[row] == SCORE and numeric.has_edges[row]:
            before, now = (sureness(counts[row], numeric.edges[row]) for counts in (numeric.ref, numeric.cur))
            if np.isfinite(before + now):
                return f"mean |2 score - 1| {before:.3g} → {now:.3g}"
    return ""
