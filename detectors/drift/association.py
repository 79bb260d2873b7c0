"""A proxy of concept drift: the score answers to a feature otherwise than it did, before a label says whether rightly.

A model that is exchanged, half of a pipeline that computes a feature anew, a rule put before the model: what goes in
is as always, and so may be the scores; what belongs to what is not. Whether the *labels* still answer to the score is
:mod:`detectors.labels`' to say.
"""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.drift.joint import JointParams, PairDrift, WatchedPairs
from detectors.drift.multivariate import SCORE
from detectors.protocol import Ints


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
    O(n k²) for n sampled rows of k features; 24 bytes of state per feature. Without :meth:`rebase`, or without scores,
    a scope is not ready.
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
