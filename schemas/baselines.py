"""Baselines: what a scope is compared with. Plain arrays in msgpack, never pickles; the topic is compacted by scope."""

from typing import Final

import msgspec

from schemas.scopes import Scope
from schemas.versioned import Versioned

VERSION: Final = 1
BINS: Final = 32
"""Quantile bins of a BinnedHistogram; with the bins under and over them ``CELLS``."""
CELLS: Final = BINS + 2
EDGES: Final = BINS + 1


class NumericBaseline(msgspec.Struct, frozen=True, array_like=True):
    """One numeric quantity of a baseline.

    ``edges`` is float64[33], ascending (``b""`` for quantities that stay LogHistograms: latency, sizes, durations);
    ``counts`` uint32[34]: under, the 32 bins, over. ``log_bins`` int16[h] and ``log_counts`` uint32[h] are the
    reference LogHistogram (``b""`` where there are edges). ``m2`` is the sum of squared deviations. ``wander`` are the
    distances it may well be off by (:mod:`detectors.drift.wander`); empty where it does not stray.
    """

    name: str
    count: int
    mean: float
    m2: float
    min: float
    max: float
    p50: float
    p95: float
    p99: float
    edges: bytes = b""
    counts: bytes = b""
    log_bins: bytes = b""
    log_counts: bytes = b""
    wander: tuple[float, ...] = ()


class CategoryBaseline(msgspec.Struct, frozen=True, array_like=True):
    """One categorical quantity (or counter) of a baseline: its categories by falling count, ``__other__`` last.

    ``wander`` is the Jensen-Shannon distance that its shares may well be off by; 0 where they do not stray.
    """

    name: str
    values: tuple[str, ...]
    counts: tuple[int, ...]
    wander: float = 0.0


class JointBaseline(msgspec.Struct, frozen=True, array_like=True):
    """How k quantities of a baseline stand to each other, by pairs in the order of ``numpy.triu_indices(k, 1)``.

    ``pairs`` float32[3, k (k - 1) / 2]: rank correlations on Fisher's scale (NaN for none), the variance of one row's
    influence on each, and how many independent rows are behind it.
    """

    names: tuple[str, ...]
    pairs: bytes


class Baseline(msgspec.Struct, frozen=True, array_like=True):
    """The reference of one scope. It takes effect at the pane that starts at ``effective_from_ms``.

    ``rows`` events of ``panes`` panes of ``pane_ms`` each stand behind it; ``sample_names`` and ``sample``
    (float32[r, k], C order, r ≤ 5,000) are rows of it. ``joint`` is None in baselines of before it was kept, and
    where there are no two quantities to compare.

    ``layout`` is the baseline whose edges these are, by its id; empty: they are its own. ``learned_days`` are the whole
    days of a scope's traffic that it was learned from, 0 for its first minutes, and -1 for what somebody built.
    """

    id: str
    scope: Scope
    effective_from_ms: int
    built_from: str
    rows: int
    panes: int
    pane_ms: int
    numeric: tuple[NumericBaseline, ...] = ()
    categories: tuple[CategoryBaseline, ...] = ()
    counters: tuple[CategoryBaseline, ...] = ()
    sample_names: tuple[str, ...] = ()
    sample: bytes = b""
    joint: JointBaseline | None = None
    layout: str = ""
    learned_days: int = -1

    @property
    def laid_out(self) -> str:
        """What bins between its edges are named after: baselines of one name here have the same edges."""
        return self.layout or self.id


_codec: Versioned[Baseline] = Versioned(Baseline, VERSION, "baseline")
encode = _codec.encode
decode = _codec.decode
