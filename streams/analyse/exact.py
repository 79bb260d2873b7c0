"""Windows scope by scope: what was counted exactly between the edges of a baseline, and what was not."""

import numpy as np
from numpy.typing import NDArray

from streams.analyse.reference import References
from streams.analyse.registry import Registry
from streams.windows import cells as cell
from streams.windows.sums import Folded

Ints = NDArray[np.int64]


def whole_in_force(scope: int, registry: Registry, references: References) -> int | None:
    """The whole in whose baseline's bins a segment is counted; None for a whole, which has no bins before its own."""
    who = registry.scopes[scope]
    whole = registry.find(who.whole) if who is not None and who.segment else None
    return whole if whole in references.baseline else None


def is_exact(folded: Folded, whole: int, layout: str, registry: Registry, references: References) -> bool:
    """Whether whatever the whole's baseline has edges for was counted between them, by every source partition."""
    if layout not in ("", references.baseline[whole].laid_out):
        return False
    edged = {registry.names[series] for series in references.edged(whole).tolist()}
    loose = np.unique(cell.series_of(folded.keys[~cell.is_binned(folded.keys)]))
    return not any(registry.names[series] in edged for series in loose.tolist())


def by_scope(folded: Folded, registry: Registry, scopes: list[int]) -> dict[int, Folded]:
    """Cut folded sums up by scope, for the scopes that are wanted."""
    if not scopes:
        return {}
    scope_of = registry.scope_of
    wanted = np.sort(np.array(scopes, np.int64))
    part = folded.only(np.isin(scope_of, wanted))
    rows, row_ends = _runs(scope_of[part.ids], wanted)
    cells, cell_ends = _runs(scope_of[cell.series_of(part.keys)], wanted)
    return {
        scope: Folded(part.ids[own], part.stats[own], part.keys[of], part.counts[of])
        for scope, own, of in zip(
            wanted.tolist(), np.split(rows, row_ends[:-1]), np.split(cells, cell_ends[:-1]), strict=True
        )
    }


def _runs(owner: Ints, wanted: Ints) -> tuple[Ints, Ints]:
    """Places in the order of their owners, and where each owner's run ends: int64[n] and int64[len(wanted)]."""
    order = np.argsort(owner, kind="stable")
    return order, np.searchsorted(owner[order], wanted, side="right")
