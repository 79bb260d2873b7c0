"""What a detector is: a bank over all series of a partition, stepped once per closed window."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from schemas.scopes import Family, Scope

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LATENCIES: Final = ("latency_ms", "gen_ai.time_to_first_token_ms", "gen_ai.time_per_output_token_ms")
"""The quantities of :attr:`Role.LATENCY`: how long a request took, its first token, each further one."""


NUMBER: Final = "__number__"
"""What numbers count as where the texts among a feature's values are counted."""


class Role(IntEnum):
    """What a numeric quantity is to a detector."""

    FEATURE = 0
    SCORE = 1
    LATENCY = 2
    GAUGE = 3
    OTHER = 4


@dataclass(frozen=True, slots=True)
class ScopeColumns:
    """The S scopes that are known, those without an event in this window included (rows = 0).

    ``id`` int64[S] is stable over a scope's life. ``rows``, ``late`` and ``errors`` (events whose status is not ok)
    are int64[S]. ``age_windows`` counts the windows since the scope was first seen. ``ref_error_ratio`` is NaN without
    a baseline; ``ref_rows`` is the baseline's mean of events per window of this size, NaN without one.
    ``series`` gives the series id of the scope-level quantities (``"rows"``, ``"errors"``, ``"outliers"``); those of
    objectives (``"slo.checkout"``) are -1 where the objective does not concern the scope.
    ``key`` names the scopes, for detectors whose limits are given by model; empty where nobody asks.
    """

    id: Ints
    family: Sequence[Family]
    rows: Ints
    late: Ints
    errors: Ints
    age_windows: Ints
    ref_rows: Floats
    ref_error_ratio: Floats
    series: Mapping[str, Ints]
    key: Sequence[Scope] = ()


@dataclass(frozen=True, slots=True)
class NumericColumns:
    """The N numeric series: one row per (scope, quantity), a baseline's quantities that did not come included.

    ``series`` int64[N] are stable ids; ``scope`` int64[N] places in :class:`ScopeColumns`; ``name`` the quantity
    (``latency_ms``, ``score``, ``features.amount``, ``temperature_c``); ``role`` int64[N]. ``rows`` are the scope's
    events, ``count`` those with a value: nulls are ``rows - count``. ``mean``, ``m2``, ``min``, ``max`` are float64[N],
    NaN where count is 0. ``quantiles`` float64[N, 3] are p50, p95, p99 (NaN where count is 0).

    Against the baseline (``has_baseline`` bool[N]): ``cur`` and ``ref`` int64[N, 34] are counts in the baseline's
    bins (under, 32 quantile bins, over), ``edges`` float64[N, 33]; zeros and NaN for series that have none
    (``has_edges``). ``ref_count``, ``ref_rows`` int64[N], ``ref_mean``, ``ref_std`` float64[N] and ``ref_quantiles``
    float64[N, 3] are the reference's own. ``ref_wander`` float64[N, 4] is how far the reference strays from itself by
    each of :data:`~detectors.drift.compared.DISTANCES`; empty where nobody asks.

    ``shared`` keeps what several detectors make of these columns, so that it is made once a window; a copy with other
    columns begins with none.
    """

    series: Ints
    scope: Ints
    name: Sequence[str]
    role: Ints
    rows: Ints
    count: Ints
    mean: Floats
    m2: Floats
    min: Floats
    max: Floats
    quantiles: Floats
    has_baseline: Bools
    has_edges: Bools
    cur: Ints
    ref: Ints
    edges: Floats
    ref_count: Ints
    ref_rows: Ints
    ref_mean: Floats
    ref_std: Floats
    ref_quantiles: Floats
    ref_wander: Floats = field(default_factory=lambda: np.empty((0, 4)))
    shared: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def none(cls) -> Self:
        """No series."""
        whole, real, truth = np.empty(0, np.int64), np.empty(0), np.empty(0, np.bool_)
        three, bins = np.empty((0, 3)), np.empty((0, 34), np.int64)
        return cls(
            whole, whole, [], whole, whole, whole, real, real, real, real, three, truth, truth, bins, bins,
            np.empty((0, 33)), whole, whole, real, real, three,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CategoryColumns:
    """The C categorical series and counters.

    ``values[i]`` are the K_i categories of row i: the baseline's, then what is new, ``__other__`` last where there is
    one; ``cur`` and ``ref`` int64[C, K] count them, padded with zeros to the widest row. ``counter`` bool[C] tells
    counters (``status``, ``xid``, ``clocks_event_reason``) from features. ``ref_wander`` float64[C] is the distance
    that their shares may well be off by (:mod:`detectors.drift.wander`); empty: none strays.
    """

    series: Ints
    scope: Ints
    name: Sequence[str]
    counter: Bools
    values: Sequence[tuple[str, ...]]
    rows: Ints
    has_baseline: Bools
    cur: Ints
    ref: Ints
    ref_rows: Ints
    ref_wander: Floats = field(default_factory=lambda: np.empty(0))

    @classmethod
    def none(cls) -> Self:
        """No series."""
        whole, truth, counts = np.empty(0, np.int64), np.empty(0, np.bool_), np.empty((0, 0), np.int64)
        return cls(whole, whole, [], truth, [], whole, truth, counts, counts, whole)


@dataclass(frozen=True, slots=True)
class SampleColumns:
    """The row samples, one entry per whole scope that has one: float64[r, k] with NaN for null, and who they were."""

    scope: Sequence[int]
    names: Sequence[tuple[str, ...]]
    values: Sequence[Floats]
    event_ids: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class LogCells:
    """k LogHistograms: ``bins`` and ``counts`` int64[h], ascending within one; ``offsets`` int64[k + 1]."""

    bins: Ints
    counts: Ints
    offsets: Ints

    @classmethod
    def none(cls, k: int = 0) -> Self:
        """``k`` empty ones."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.zeros(k + 1, np.int64))


@dataclass(frozen=True, slots=True)
class LatencyColumns:
    """The histograms of the k latency series: ``place`` int64[k], ascending, in :class:`NumericColumns`.

    ``cur`` are the window's, ``ref`` the baselines' (empty without one).
    """

    place: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    cur: LogCells = field(default_factory=LogCells.none)
    ref: LogCells = field(default_factory=LogCells.none)


@dataclass(frozen=True, slots=True)
class ServedColumns:
    """What the models of the S scopes of labels were asked, and answered, while the labels of a window came.

    ``rows`` float64[S]: their predictions in the newest closed window of the same length, all versions together.
    ``score`` and ``ref_score`` float64[S]: mean score of the last ten minutes or so, and of the baselines of the
    versions that gave it. NaN where it is not known; all are empty in windows of other families.
    """

    rows: Floats = field(default_factory=lambda: np.empty(0))
    score: Floats = field(default_factory=lambda: np.empty(0))
    ref_score: Floats = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, slots=True)
class ReadColumns:
    """What feature sets served to models, beside what those models say they were given: k features of one model each.

    Of both sides the same minutes, all versions of the model and all sets that serve it the feature together.
    ``place`` int64[k] in :class:`ScopeColumns`, of the reads of the first of those sets by name; ``series`` int64[k];
    ``name`` the quantities; ``sets`` those sets. ``served`` and ``given`` float64[k, 6] are the events that were
    looked at, and of the numbers among their values the moments: count, mean, m2, min, max. ``values[i]`` are the K_i
    texts that row i has on either side; ``served_counts`` and ``given_counts`` int64[k, K] count them, padded with
    zeros. Numbers are counted there too, all of them as :data:`NUMBER`, which comes first.
    """

    place: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    series: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    name: Sequence[str] = ()
    sets: Sequence[tuple[str, ...]] = ()
    served: Floats = field(default_factory=lambda: np.empty((0, 6)))
    given: Floats = field(default_factory=lambda: np.empty((0, 6)))
    values: Sequence[tuple[str, ...]] = ()
    served_counts: Ints = field(default_factory=lambda: np.empty((0, 1), np.int64))
    given_counts: Ints = field(default_factory=lambda: np.empty((0, 1), np.int64))


@dataclass(frozen=True, slots=True)
class IdColumns:
    """How often event ids repeat, for the k scopes that have any: wholes alone.

    ``place`` int64[k], ascending, in :class:`ScopeColumns`; ``series`` int64[k]. ``events`` are those with an id;
    ``sampled`` int64[k] the ids that were looked at, ``repeated`` those of them that came more than once, and
    ``sampled_events`` how often they came together. Which ids are looked at depends on the ids alone.
    """

    place: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    series: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    events: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    sampled: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    repeated: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    sampled_events: Ints = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """One closed window of all scopes of a partition: what a detector sees.

    ``shared`` is as in :class:`NumericColumns`, for what is made of more than these.
    """

    start_ms: int
    size_ms: int
    scopes: ScopeColumns
    numeric: NumericColumns
    categories: CategoryColumns
    samples: SampleColumns
    latencies: LatencyColumns = field(default_factory=LatencyColumns)
    ids: IdColumns = field(default_factory=IdColumns)
    served: ServedColumns = field(default_factory=ServedColumns)
    reads: ReadColumns = field(default_factory=ReadColumns)
    shared: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Scores:
    """What a detector says about n series, in the order of the batch.

    ``series`` int64[n]; ``scope`` int64[n], places in the batch's scopes; ``quantity`` their names. ``ready`` bool[n]:
    False where there is nothing to say (warm-up, too few rows, no baseline) — never to be read as normal.
    ``score`` float64[n], ≥ 0, higher is worse; ``floor`` float64[n], the effect below which nobody cares, in the
    score's unit; ``noise`` float64[n], what sampling alone explains at this volume, in the score's unit; ``p_value``
    float64[n], NaN where the detector has none. ``value`` and ``reference`` float64[n] are what an alert shows, in
    ``unit``; so is ``threshold`` float64[n], the value from which it is too much (:mod:`detectors.scoring` fills it in:
    the larger of floor and noise where the score is the value). A distance between distributions shows itself as the
    value and what sampling would make of it as the reference; ``mean`` and ``ref_mean`` then say how the quantity
    itself moved. ``rows`` int64[n] are the events behind the value. ``label`` says what of the quantity was worst
    (``"p99"``, ``"xid 79"``). ``exemplars`` are event ids by place in ``series``. ``since_ms`` int64[n] is when what it
    sees began, for detectors that know better than the windows of their evidence; 0 where there is nothing. ``note``
    gives, for a place, what else the sentence about it says; it is asked at once, of findings alone. ``felt`` bool[n]
    says where this window hurts those who use the model enough to wake somebody, should it last; None: nowhere. All
    floats are NaN where not ready.
    """

    detector: str
    unit: str
    series: Ints
    scope: Ints
    quantity: Sequence[str]
    ready: Bools
    score: Floats
    floor: Floats
    noise: Floats
    p_value: Floats
    value: Floats
    reference: Floats
    rows: Ints
    exemplars: Mapping[int, tuple[str, ...]] | None = None
    threshold: Floats | None = None
    mean: Floats | None = None
    ref_mean: Floats | None = None
    label: Sequence[str] | None = None
    since_ms: Ints | None = None
    note: Callable[[int], str] | None = None
    felt: Bools | None = None


class Detector(Protocol):
    """A bank of detectors, one column of state per series, stepped once per closed window of ``window_s`` seconds.

    Series ids are small integers given once and reused only after :meth:`forget`.
    """

    kind: ClassVar[str]
    state_version: ClassVar[int]
    window_s: int

    def step(self, windows: WindowBatch) -> Scores:
        """Score the window, then learn from it."""
        ...

    def forget(self, series: Ints) -> None:
        """Drop the state of series whose scope is gone."""
        ...

    def to_bytes(self) -> bytes:
        """The whole state; never a pickle."""
        ...

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """The detector that continues exactly where :meth:`to_bytes` was called."""
        ...
