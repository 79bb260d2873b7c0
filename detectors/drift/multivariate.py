"""Drift of the joint distribution: features that stand to each other otherwise, while each stays as it was."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.drift.joint import JointParams, PairDrift, WatchedPairs
from detectors.protocol import Ints

SCORE = "score"


class MultivariateParams(JointParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See :class:`~detectors.drift.joint.JointParams`."""


class MultivariateDrift(PairDrift):
    """Rank correlations between a model's features beside the baseline's, on the row samples, once a minute.

    Each feature is told by that pair of its own which is furthest over its limit: the label says with which other one.
    Where a correlation has broken, both of its ends are findings.

    Parameters
    ----------
    params
        See :class:`MultivariateParams`.

    Notes
    -----
    O(n k²) for n sampled rows of k features, about 2 ms a scope at 256 rows of 50; 40 bytes of state per pair.
    Without :meth:`rebase` a scope is not ready, nor is a quantity that has nearly always the same value.
    """

    kind: ClassVar[str] = "multivariate"
    params_type = MultivariateParams

    @staticmethod
    def choose(names: tuple[str, ...], first: Ints, second: Ints) -> NDArray[np.bool_]:
        """All pairs of features."""
        feature = np.array([name != SCORE for name in names], np.bool_)
        return np.asarray(feature[first] & feature[second], np.bool_)

    @staticmethod
    def ends(watched: WatchedPairs) -> tuple[Ints, Ints, Ints]:
        """A pair belongs to both of its features."""
        pair = np.arange(len(watched.first))
        owner, other = (watched.first, watched.second), (watched.second, watched.first)
        return np.concatenate(owner), np.concatenate((pair, pair)), np.concatenate(other)
