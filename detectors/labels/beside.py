"""Labels that have changed, told beside the scores that have not, or have."""

from dataclasses import replace

import numpy as np

from detectors.protocol import Scores, ServedColumns


def with_scores(scores: Scores, served: ServedColumns) -> Scores:
    """The scores of label scopes, whose sentences then say what the models themselves answered meanwhile.

    Other labels at the same scores: the world has changed, or the labels are wrong. Other scores as well: the traffic
    has changed, and the labels may be right.
    """
    if scores.note is not None or not len(served.score):
        return scores

    def note(place: int) -> str:
        at = int(scores.scope[place])
        score, expected = float(served.score[at]), float(served.ref_score[at])
        if not np.isfinite(score):
            return "of its scores nothing is known"
        return f"its scores meanwhile: mean {score:.3g}, baseline {expected:.3g}"

    return replace(scores, note=note)
