r"""Jensen-Shannon distance of a categorical feature (or of decisions) from its baseline.

$JSD = H((p+q)/2) - (H(p) + H(q))/2$ in bits over the categories; the score is its square root, 0…1, a metric.
Categories that expect fewer than five events are joined into one; those the baseline has seen once or never are
another. The p-value is the two-sample chi-square's over the same groups, and under no change
$JSD \approx \chi^2_{G-1} (1/N + 1/M) / (8 \ln 2)$.

References
----------
.. [1] D. M. Endres, J. E. Schindelin, "A new metric for probability distributions", 2003.
"""

from typing import ClassVar, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import scoring, special
from detectors.parameters import check_bounds
from detectors.protocol import CategoryColumns, Floats, Ints, Scores, WindowBatch
from detectors.stateless import Stateless
from schemas.labels import LABEL
from schemas.scopes import OTHER

WATCHED_COUNTERS: Final = frozenset({"decision", LABEL})
"""Counters whose shares are compared as a feature's are; the others have detectors of their own."""
_NAMED_FOR: Final = 5


class CategoryDriftParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor`` is a Jensen-Shannon distance, 0…1; the rest as for PSI."""

    window_s: int = 60
    floor: float = 0.1
    min_rows: int = 200
    min_expected: float = 5.0
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor=(0, 1), min_rows=(50, 10**9), min_expected=(1, 1e6))
        check_bounds(self, false_alarm_ratio=(1e-12, 0.1))


def watched(categories: CategoryColumns) -> Ints:
    """The places of features and of :data:`WATCHED_COUNTERS`: int64[k]."""
    named = np.array([name in WATCHED_COUNTERS for name in categories.name], np.bool_)
    return np.flatnonzero(~categories.counter | named)


def comparable(categories: CategoryColumns, places: Ints) -> tuple[Ints, Ints]:
    """The counts of the series at ``places`` in window and baseline, int64[k, K] each.

    What a baseline has counted under ``__other__`` it does not know by name: there, categories it does not name go to
    ``__other__`` too, for nobody can tell whether they are new; and so do those it names for fewer than five values,
    which of many rare ones are the luckiest.
    """
    cur, ref = categories.cur[places], categories.ref[places]
    for row, place in enumerate(places.tolist()):
        values = categories.values[place]
        other = values.index(OTHER) if OTHER in values else -1
        if other >= 0 and ref[row, other]:
            rare = ref[row] < _NAMED_FOR
            rare[other] = False
            for counts in (cur, ref):
                counts[row, other] += counts[row, rare].sum()
                counts[row, rare] = 0
    return cur, ref


def grouped(cur: NDArray[np.integer], ref: NDArray[np.integer], min_expected: float) -> tuple[Floats, Floats]:
    """Counts float64[n, k + 2]: categories that expect enough, then the sparse ones, then those new or nearly so.

    The last get one event granted to the baseline: by Good and Turing's estimate, what it saw once weighs as much as
    what it has not seen.
    """
    c, r = cur.astype(np.float64), ref.astype(np.float64)
    N, M = c.sum(axis=1, keepdims=True), r.sum(axis=1, keepdims=True)
    rare = r <= 1
    sparse = ~rare & (r < min_expected * np.maximum(1, M / np.maximum(N, 1)))
    kept = ~(sparse | rare)

    def columns(x: Floats, granted: float) -> Floats:
        joined = ((x * sparse).sum(axis=1), (x * rare).sum(axis=1) + granted)
        return np.asarray(np.column_stack((x * kept, *joined)), np.float64)

    return columns(c, 0.0), columns(r, 1.0)


def jensen_shannon(c: Floats, r: Floats) -> Floats:
    """Distance, 0…1, of float64[n, k] counts from as many others, every row of each with a count: float64[n]."""
    p, q = c / c.sum(axis=1, keepdims=True), r / r.sum(axis=1, keepdims=True)
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log2(p / middle), 0) + np.where(q > 0, q * np.log2(q / middle), 0)
    return np.asarray(np.sqrt(np.clip(terms.sum(axis=1) / 2, 0, 1)), np.float64)


def chi_square(c: Floats, r: Floats) -> tuple[Floats, Floats]:
    """The two-sample chi-square statistic of float64[n, k] counts and its degrees of freedom, float64[n] each."""
    N, M = c.sum(axis=1, keepdims=True), r.sum(axis=1, keepdims=True)
    both = c + r
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(both > 0, (np.sqrt(M / N) * c - np.sqrt(N / M) * r) ** 2 / both, 0)
    return terms.sum(axis=1), np.asarray((both > 0).sum(axis=1) - 1, np.float64)


def _floors(floor: float, categories: CategoryColumns, places: Ints) -> Floats:
    """The ``floor`` for the series at ``places`` int64[k], or how far their references stray."""
    if not len(categories.ref_wander):
        return np.full(len(places), floor)
    return np.asarray(np.maximum(floor, categories.ref_wander[places]), np.float64)


class CategoryDrift(Stateless[CategoryDriftParams]):
    """Jensen-Shannon distance of every categorical feature with a baseline, and of decisions, once a minute.

    Parameters
    ----------
    params
        See :class:`CategoryDriftParams`.

    Notes
    -----
    O(C K), no state. A baseline with one category and nothing new has nothing to compare and is not ready.
    The label says how much of the window is new to the baseline, where that is a percent or more.
    """

    kind: ClassVar[str] = "categories"
    state_version: ClassVar[int] = 1
    params_type = CategoryDriftParams

    def __init__(self, params: CategoryDriftParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every watched series with ``min_rows`` counts in window and baseline."""
        categories, least = windows.categories, self.params.min_rows
        places = watched(categories)
        cur, ref = comparable(categories, places)
        N, M = cur.sum(axis=1), ref.sum(axis=1)
        ready = categories.has_baseline[places] & (least <= N) & (least <= M)
        # Rows that are not ready are computed with a count of one each, so as not to divide by nothing, then masked.
        cur, ref = np.where(ready[:, None], cur, 1), np.where(ready[:, None], ref, 1)
        c, r = grouped(cur, ref, self.params.min_expected)
        N, M = c.sum(axis=1), r.sum(axis=1)
        statistic, dof = chi_square(c, r)
        scale = (1 / N + 1 / M) / (8 * np.log(2))
        new = np.where(ref == 0, cur, 0).sum(axis=1) / N
        measured = scoring.Measured(
            score=jensen_shannon(c, r),
            floor=_floors(self.params.floor, categories, places),
            noise=np.sqrt(special.chi2_quantile(dof, self._z) * scale),
            p_value=special.chi2_sf(statistic, dof),
            reference=np.sqrt(np.maximum(dof, 0) * scale),
            label=[f"{share:.0%} new" if share >= 0.01 else "" for share in new.tolist()],
        )
        return scoring.scores(
            self.kind, "JS distance", scoring.category_subject(categories, places), ready & (dof > 0), measured
        )
