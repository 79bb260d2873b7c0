"""Baselines of whole days: what was counted of a scope in the bins of the baseline it had until now.

The edges stay, so that whatever is counted between them goes on to be, and every count is exact. Only where the first
minutes, out of which the edges come, were not at all like the days do they have to be cut anew, out of rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors import baseline as building
from detectors.baseline import LogQuantity
from detectors.drift.wander import ODD_RATIO, wander_of_hours, wander_of_shares
from schemas.baselines import Baseline, CategoryBaseline, NumericBaseline
from schemas.scopes import Scope

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOURS: Final = 24
MAX_OUTSIDE_RATIO: Final = 0.03
"""Of a quantity's values, more than before, that may fall outside its edges: there, all are alike."""
MAX_BIN_RATIO: Final = 0.25
"""Of a quantity's values, more than before, that may fall into one bin."""
_TOLD_APART: Final = 3
"""Days after which a fault of a few hours weighs little beside a rhythm."""


@dataclass(frozen=True, slots=True)
class Before:
    """The baseline that a scope has: ``layout`` names its edges.

    ``edges`` and ``cells`` int64[34] of each quantity that has any. ``wander`` and ``shares`` are how far quantities
    and categories of its *whole* stray, where the scope is a segment.
    """

    layout: str
    learned_days: int
    edges: Mapping[str, bytes]
    cells: Mapping[str, Ints]
    wander: Mapping[str, tuple[float, ...]]
    shares: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class DayCounts:
    """Everything that was counted of a scope over ``days`` whole days.

    ``rows`` events in ``panes`` panes of ``pane_ms``. ``stats`` float64[5] of each numeric quantity. ``cells`` of those
    in a baseline's bins, int64[24, 34] by the hour of the day, or int64[1, 34] for a segment; ``logs`` of all others.
    ``shares`` int64[24, K] of categories by the hour. ``sample`` floating[r, k] in the order of time.
    """

    days: int
    rows: int
    panes: int
    pane_ms: int
    stats: Mapping[str, Floats]
    cells: Mapping[str, Ints]
    logs: Mapping[str, LogQuantity]
    categories: Mapping[str, Mapping[str, int]]
    counters: Mapping[str, Mapping[str, int]]
    shares: Mapping[str, Ints]
    sample_names: tuple[str, ...]
    sample: NDArray[np.floating]


def still_fits(before: Ints, now: Ints) -> bool:
    """Whether edges that were cut for counts int64[34] tell int64[34] others apart as well.

    Examples
    --------
    >>> night = np.array([0] + [100] * 32 + [0])
    >>> still_fits(night, 24 * night)
    True
    >>> still_fits(night, night + np.array([0] * 33 + [150]))
    False
    """
    more = now / max(now.sum(), 1) - before / max(before.sum(), 1)
    return bool(more[[0, -1]].sum() <= MAX_OUTSIDE_RATIO and more.max() <= MAX_BIN_RATIO)


def rebuilt(
    scope: Scope, before: Before, counted: DayCounts, *, built_from: str, effective_from_ms: int, may_recut: bool
) -> tuple[Baseline, bool]:
    """The baseline of whole days.

    Parameters
    ----------
    scope, before
        Whose it is, and the baseline it has.
    counted
        What came of it.
    built_from, effective_from_ms
        See :func:`detectors.baseline.build`.
    may_recut
        Whether edges that do not fit are cut anew. The counts between those are of the sample alone.

    Returns
    -------
    The baseline, and whether edges were cut anew: then it counts as learned from no more days than the one before.
    """
    odd_ratio = ODD_RATIO if counted.days < _TOLD_APART else 0.0
    numeric: dict[str, NumericBaseline] = {}
    recut = False
    for name, cells in counted.cells.items():
        if name not in before.edges:
            continue
        part = _counted(name, before, counted, odd_ratio)
        if may_recut and not scope.segment and not still_fits(before.cells[name], cells.sum(axis=0)):
            fresh = _from_sample(name, counted)
            recut = recut or fresh is not None
            part = fresh or part
        numeric[name] = part
    for name, (bins, counts, stats) in counted.logs.items():
        if building.is_binned(name) and scope.segment:
            continue  # nothing that its whole has no edges for can be compared
        sampled = _from_sample(name, counted) if building.is_binned(name) else None
        found = sampled or building.from_log(name, bins, counts, stats)
        if found is not None:
            numeric[name] = found
    baseline = Baseline(
        id="",
        scope=scope,
        effective_from_ms=effective_from_ms,
        built_from=built_from,
        rows=counted.rows,
        panes=counted.panes,
        pane_ms=counted.pane_ms,
        numeric=tuple(numeric[name] for name in sorted(numeric)),
        categories=_straying(building.category_parts(counted.categories), scope, before, counted, odd_ratio),
        counters=_straying(building.category_parts(counted.counters), scope, before, counted, odd_ratio),
        sample_names=counted.sample_names,
        sample=np.ascontiguousarray(counted.sample, "<f4").tobytes(),
        joint=building.joint_of(counted.sample_names, counted.sample, numeric),
        layout=_layout(scope, before, numeric),
        learned_days=before.learned_days if recut else counted.days,
    )
    return building.identified(baseline), recut


def _counted(name: str, before: Before, counted: DayCounts, odd_ratio: float) -> NumericBaseline:
    edges, cells = np.frombuffer(before.edges[name], "<f8"), counted.cells[name]
    strays = wander_of_hours(cells, edges, odd_ratio) if len(cells) == HOURS else before.wander.get(name, ())
    return building.from_cells(name, counted.stats[name], edges, cells.sum(axis=0), strays)


def _from_sample(name: str, counted: DayCounts) -> NumericBaseline | None:
    if name not in counted.sample_names:
        return None
    column = counted.sample[:, counted.sample_names.index(name)].astype(np.float64)
    return building.from_values(name, column, counted.stats[name])


def _straying(
    parts: tuple[CategoryBaseline, ...], scope: Scope, before: Before, counted: DayCounts, odd_ratio: float
) -> tuple[CategoryBaseline, ...]:
    def strays(name: str) -> float:
        if scope.segment:
            return before.shares.get(name, 0.0)
        return wander_of_shares(counted.shares[name], odd_ratio) if name in counted.shares else 0.0

    return tuple(CategoryBaseline(part.name, part.values, part.counts, wander=strays(part.name)) for part in parts)


def _layout(scope: Scope, before: Before, numeric: Mapping[str, NumericBaseline]) -> str:
    """The name of the edges, where they are those of before; of a segment they are its whole's in any case."""
    edges = {name: part.edges for name, part in numeric.items() if part.edges}
    return before.layout if not scope.segment and edges == before.edges else ""
