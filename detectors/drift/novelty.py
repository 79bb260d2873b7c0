r"""New categories, and more or fewer of them than there should be.

Both ask what a baseline of M values says about N more. By Good and Turing, what it saw once ($f_1$ categories) is as
heavy as what it has not seen: a share of $f_1 / M$ of the values may be new without anything being new. Of its own
categories $\sum_j 1 - (1 - q_j)^N$ should come, and $N f_1 / M$ that it has not seen.

References
----------
.. [1] I. J. Good, "The population frequencies of species and the estimation of population parameters", 1953.
"""

from dataclasses import replace
from typing import ClassVar, Final

import msgspec
import numpy as np

from detectors import scoring, special
from detectors.drift.categories import comparable, watched
from detectors.parameters import check_bounds
from detectors.protocol import CategoryColumns, Ints, Scores, WindowBatch
from detectors.stateless import Stateless
from schemas.scopes import OTHER

_NAMED: Final = 3


class NewCategoryParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor_ratio`` of the window's values that are new to the baseline, beyond what it lets expect."""

    window_s: int = 60
    floor_ratio: float = 0.02
    min_rows: int = 30
    min_ref_rows: int = 200
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(0, 1), min_rows=(1, 10**9), min_ref_rows=(50, 10**9))
        check_bounds(self, false_alarm_ratio=(1e-12, 0.1))


class CardinalityParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor_ratio`` as a factor: 1.5 is half as many categories again, or a third fewer."""

    window_s: int = 60
    floor_ratio: float = 1.5
    min_rows: int = 30
    min_ref_rows: int = 200
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(1, 1e6), min_rows=(1, 10**9), min_ref_rows=(50, 10**9))
        check_bounds(self, false_alarm_ratio=(1e-12, 0.1))


class NewCategory(Stateless[NewCategoryParams]):
    """Share of a window's categories that the baseline does not have, over what it lets expect, once a minute.

    Parameters
    ----------
    params
        See :class:`NewCategoryParams`.

    Notes
    -----
    O(C K), no state. A count, not a distance: a twentieth of new values is seen in 200 rows, where the Jensen-Shannon
    distance still takes it for noise. A baseline with more categories than are counted by name knows no new one. The
    label names the most frequent of them.
    """

    kind: ClassVar[str] = "new_category"
    state_version: ClassVar[int] = 1
    params_type = NewCategoryParams

    def __init__(self, params: NewCategoryParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every watched series with ``min_rows`` counts and ``min_ref_rows`` in the baseline."""
        categories, params = windows.categories, self.params
        places = watched(categories)
        cur, ref = comparable(categories, places)
        N, M = cur.sum(axis=1), ref.sum(axis=1)
        ready = categories.has_baseline[places] & (params.min_rows <= N) & (params.min_ref_rows <= M)
        new = np.where(ref == 0, cur, 0)
        known = np.maximum(M, 1).astype(np.float64)
        expected = (ref == 1).sum(axis=1) / known
        measured = scoring.excess_ratio(new.sum(axis=1), N, expected, known, params.floor_ratio, self._z)
        label = [""] * len(places)
        for i in np.flatnonzero(ready & (measured.score >= params.floor_ratio)).tolist():
            label[i] = _named(categories, int(places[i]), new[i])
        subject = scoring.category_subject(categories, places)
        return scoring.scores(self.kind, "share of events", subject, ready, replace(measured, label=label))


class Cardinality(Stateless[CardinalityParams]):
    """How many times more, or fewer, categories came than the baseline lets expect, as a logarithm, once a minute.

    Parameters
    ----------
    params
        See :class:`CardinalityParams`.

    Notes
    -----
    O(C K), no state. It is not ready where the baseline says too little: more than a tenth of its categories seen once,
    and a window larger than it; or where not all categories are counted by name.
    """

    kind: ClassVar[str] = "cardinality"
    state_version: ClassVar[int] = 1
    params_type = CardinalityParams

    def __init__(self, params: CardinalityParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every watched series with ``min_rows`` counts and ``min_ref_rows`` in the baseline."""
        categories, params = windows.categories, self.params
        places = watched(categories)
        cur, ref = comparable(categories, places)
        N, M = cur.sum(axis=1), ref.sum(axis=1)
        once = (ref == 1).sum(axis=1)
        other = np.array([OTHER in categories.values[place] for place in places.tolist()], np.bool_)
        vague = other | ((once > 0.1 * (ref > 0).sum(axis=1)) & (N > M))
        ready = categories.has_baseline[places] & (params.min_rows <= N) & (params.min_ref_rows <= M) & ~vague
        known = np.maximum(M, 1).astype(np.float64)
        seen = 1 - (1 - np.minimum(ref / known[:, None], 1.0)) ** N[:, None]
        unseen = N * once / known
        expected = seen.sum(axis=1) + unseen
        deviation = np.sqrt(((seen * (1 - seen)).sum(axis=1) + unseen) * (1 + N / known) + 0.25)
        found = (cur > 0).sum(axis=1).astype(np.float64)
        more = found > expected
        bound = self._z * deviation + 1
        up = np.log1p(bound / (expected + 0.5))
        down = -np.log1p(-np.minimum(bound, expected) / (expected + 0.5))
        floor, noise = float(np.log(params.floor_ratio)), np.where(more, up, down)
        limit = np.maximum(floor, noise)
        measured = scoring.Measured(
            score=np.abs(np.log((found + 0.5) / (expected + 0.5))),
            floor=floor,
            noise=noise,
            p_value=2 * special.normal_sf(np.maximum(np.abs(found - expected) - 0.5, 0) / deviation),
            value=found,
            reference=expected,
            threshold=(expected + 0.5) * np.exp(np.where(more, limit, -limit)) - 0.5,
            label=["more" if m else "fewer" for m in more.tolist()],
        )
        return scoring.scores(self.kind, "categories", scoring.category_subject(categories, places), ready, measured)


def _named(categories: CategoryColumns, place: int, new: Ints) -> str:
    """The most frequent new values: "xx, yy and 4 more"."""
    order = [i for i in np.argsort(-new, kind="stable").tolist() if new[i]]
    names = [categories.values[place][i] for i in order[:_NAMED]]
    return ", ".join(names) + (f" and {len(order) - _NAMED} more" if len(order) > _NAMED else "")
