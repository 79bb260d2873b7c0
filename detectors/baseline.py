"""Baselines: build what a scope is compared with."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import moments
from detectors.drift import pairs
from detectors.drift.wander import wander
from detectors.histograms import binned, log
from schemas.baselines import Baseline, CategoryBaseline, JointBaseline, NumericBaseline, encode
from schemas.labels import LABEL
from schemas.scopes import OTHER, Scope

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LogQuantity: TypeAlias = tuple[NDArray[np.integer], NDArray[np.integer], Floats]
"""``(bins, counts, stats)``: a LogHistogram and its moments, float64[5]."""

MAX_SAMPLE_ROWS: Final = 5_000
MAX_JOINT: Final = 64
"""Quantities of which a baseline keeps how they stand to each other."""
COUNTERS: Final = frozenset({"status", "decision", "xid", "clocks_event_reason", "reason"})
"""Columns that count what happened, told from categorical features."""
_MOST: Final = 2**32 - 1
QUANTILES: Final = np.array([0.5, 0.95, 0.99])


def is_binned(name: str) -> bool:
    """Whether a quantity is kept in quantile bins (features, scores, labels) or as a LogHistogram (the rest)."""
    return name in {"score", LABEL} or name.startswith("features.")


def build(  # noqa: PLR0913 - the parts of a baseline, each named at the call
    scope: Scope,
    *,
    built_from: str,
    effective_from_ms: int,
    pane_ms: int,
    panes: int,
    rows: int,
    sample_names: Sequence[str] = (),
    sample: NDArray[np.floating] | None = None,
    log_histograms: Mapping[str, LogQuantity] | None = None,
    stats: Mapping[str, Floats] | None = None,
    categories: Mapping[str, Mapping[str, int]] | None = None,
    counters: Mapping[str, Mapping[str, int]] | None = None,
    learned_days: int = -1,
) -> Baseline:
    """A baseline from what the panes of a scope hold, or a file.

    Parameters
    ----------
    scope
        Whose it is.
    built_from
        Where it comes from, for people: ``"learned from 12,345 events"``, a file's name.
    effective_from_ms
        Event time, ms since the epoch: start of the pane at which it takes effect.
    pane_ms, panes, rows
        ``rows`` events in ``panes`` panes of ``pane_ms`` each stand behind it; 0 panes when no rate is known.
    sample_names, sample
        k names, floating[r, k] with NaN for null: rows of it in the order of time. Binned quantities take edges and
        counts from here, also when there is a LogHistogram of theirs. No more than 5,000 rows are kept, chosen by a
        hash of their place.
    log_histograms
        Quantity → :data:`LogQuantity`. A binned quantity that the sample lacks takes its edges from here.
    stats
        Quantity → float64[5] moments of all events, where they are known better than from the sample.
    categories, counters
        Quantity → category → count.
    learned_days
        See :class:`~schemas.baselines.Baseline`.

    Returns
    -------
    A baseline whose ``id`` is a hash of all but ``built_from``: the same content has the same id.

    Raises
    ------
    ValueError
        If the sample's shape does not fit its names.
    """
    table = np.empty((0, 0)) if sample is None else np.asarray(sample)
    if table.ndim != 2 or table.shape[1] != len(sample_names):
        raise ValueError(f"sample of shape {table.shape} with {len(sample_names)} names: give one name per column")
    logs, known = log_histograms or {}, dict(stats or {})
    for name, (_, _, moment) in logs.items():
        known.setdefault(name, moment)
    numeric: dict[str, NumericBaseline] = {}
    for i, name in enumerate(sample_names):
        if is_binned(name) or name not in logs:
            column = table[:, i].astype(np.float64)
            _add(numeric, from_values(name, column, known.get(name), rows))
    for name, (bins, counts, moment) in logs.items():
        if name not in numeric:
            _add(numeric, from_log(name, bins, counts, moment))
    kept = table[_thinned(len(table))]
    baseline = Baseline(
        id="",
        scope=scope,
        effective_from_ms=effective_from_ms,
        built_from=built_from,
        rows=rows,
        panes=panes,
        pane_ms=pane_ms,
        numeric=tuple(numeric[name] for name in sorted(numeric)),
        categories=category_parts(categories or {}),
        counters=category_parts(counters or {}),
        sample_names=tuple(sample_names),
        sample=np.ascontiguousarray(kept, "<f4").tobytes(),
        joint=joint_of(tuple(sample_names), kept, numeric),
        learned_days=learned_days,
    )
    return identified(baseline)


def joint_of(
    names: Sequence[str], rows: NDArray[np.floating], numeric: Mapping[str, NumericBaseline]
) -> JointBaseline | None:
    """How the score and the features stand to each other in floating[r, k] rows by time; None without two of them.

    Of more than :data:`MAX_JOINT` those are kept that have the closest correlation with another one.
    """
    chosen = [i for i, name in enumerate(names) if name in numeric and numeric[name].edges and name != LABEL]
    if len(chosen) < 2 or len(rows) < pairs.MIN_ROWS:
        return None
    parts = [numeric[names[i]] for i in chosen]
    edges = np.stack([np.frombuffer(part.edges, "<f8") for part in parts])
    counts = np.stack([np.frombuffer(part.counts, "<u4") for part in parts]).astype(np.int64)
    scores = pairs.ranked(rows[:, chosen].astype(np.float64), edges, pairs.rank_scores(counts))
    kept = _closest(pairs.correlations(scores).q, [names[i] for i in chosen])
    scores = scores[:, kept]
    found = pairs.correlations(scores, pairs.others(counts[kept]))
    v = pairs.influence(scores, found.q)
    columns = (found.q, v, found.rows * pairs.independent(scores, found.q, v))
    return JointBaseline(
        tuple(names[chosen[i]] for i in kept), np.ascontiguousarray(np.stack(columns), "<f4").tobytes()
    )


def _closest(q: Floats, names: Sequence[str]) -> list[int]:
    """Places of the score and of the quantities with the closest correlations, ascending, ``MAX_JOINT`` at most."""
    k = len(names)
    first, second = np.triu_indices(k, 1)
    closest = np.zeros(k)
    for end in (first, second):
        np.maximum.at(closest, end, np.abs(np.nan_to_num(q)))
    ranked = sorted(range(k), key=lambda i: (names[i] != "score", -closest[i], i))
    return sorted(ranked[:MAX_JOINT])


def _add(numeric: dict[str, NumericBaseline], part: NumericBaseline | None) -> None:
    if part is not None:
        numeric[part.name] = part


def from_values(
    name: str, values: Floats, stats: Floats | None = None, rows: int | None = None
) -> NumericBaseline | None:
    """One quantity of a baseline from float64[n] values in the order of time (NaN for null), or None without any.

    ``stats`` are the moments of all events; without them those of ``values`` stand for them, scaled to ``rows`` events.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    if stats is None or not stats[moments.COUNT]:
        stats = moments.of(finite)
        scale = (rows or len(values)) / len(values)
        stats[moments.COUNT], stats[moments.M2] = round(stats[moments.COUNT] * scale), stats[moments.M2] * scale
    quantiles = np.quantile(finite, QUANTILES, method="inverted_cdf")
    if is_binned(name):
        edges = binned.quantile_edges(finite)
        part = _numeric(name, stats, quantiles, edges=edges, counts=binned.histogram(finite, edges))
        return msgspec.structs.replace(part, wander=wander(finite, edges))
    bins, counts = log.histogram(finite)
    return _numeric(name, stats, quantiles, log_bins=bins, log_counts=counts)


def from_log(
    name: str, bins: NDArray[np.integer], counts: NDArray[np.integer], stats: Floats
) -> NumericBaseline | None:
    """One quantity of a baseline from its LogHistogram and moments, or None if nothing is counted."""
    if not np.asarray(counts).any():
        return None
    quantiles = log.quantile(bins, counts, QUANTILES)
    if not is_binned(name):
        return _numeric(name, stats, quantiles, log_bins=bins, log_counts=counts)
    edges = binned.edges_from_log(bins, counts)
    return _numeric(name, stats, quantiles, edges=edges, counts=binned.from_log(bins, counts, edges))


def _numeric(
    name: str, stats: Floats, quantiles: Floats, **parts: NDArray[np.floating] | NDArray[np.integer]
) -> NumericBaseline:
    dtypes = {"edges": "<f8", "counts": "<u4", "log_bins": "<i2", "log_counts": "<u4"}
    count, mean, m2, low, high = (float(x) for x in stats)
    p50, p95, p99 = (float(x) for x in quantiles)
    # Counts beyond four bytes are as good as endless.
    kept = {key: np.minimum(array, _MOST) if key.endswith("counts") else array for key, array in parts.items()}
    packed = {key: np.ascontiguousarray(array, dtypes[key]).tobytes() for key, array in kept.items()}
    bare = NumericBaseline(name, int(count), mean, m2, low, high, p50, p95, p99)
    return msgspec.structs.replace(bare, **packed)


def category_parts(given: Mapping[str, Mapping[str, int]]) -> tuple[CategoryBaseline, ...]:
    """Quantity → category → count as parts of a baseline, by name."""
    result = []
    for name in sorted(given):
        ordered = sorted(given[name].items(), key=lambda item: (item[0] == OTHER, -item[1], item[0]))
        result.append(CategoryBaseline(name, tuple(v for v, _ in ordered), tuple(int(c) for _, c in ordered)))
    return tuple(result)


def _thinned(n: int) -> Ints:
    """Places of at most ``MAX_SAMPLE_ROWS`` of n rows, ascending: those whose place hashes lowest (splitmix64)."""
    if n <= MAX_SAMPLE_ROWS:
        return np.arange(n)
    z = (np.arange(n, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.sort(np.argsort(z ^ (z >> np.uint64(31)), kind="stable")[:MAX_SAMPLE_ROWS])


def from_table(
    scope: Scope,
    columns: Mapping[str, NDArray[np.generic] | Sequence[object]],
    *,
    built_from: str,
    effective_from_ms: int,
    pane_ms: int = 10_000,
    panes: int = 0,
    max_categories: int = 50,
) -> Baseline:
    """A baseline from the columns of a table, training data for example.

    Parameters
    ----------
    columns
        Quantity (``features.amount``, ``score``, ``latency_ms``, ``status``) → n values, in the order of time as far as
        it is to be known how they stray. Numbers are numeric, NaN and
        None null; texts and booleans are categories (``"true"``, ``"false"``), as events decode them. What is in
        :data:`COUNTERS` is a counter.
    panes
        Panes the table spans, for the volume reference; 0 (training data has no rate) leaves volume to its own history.
    max_categories
        ≥ 1: the most frequent are kept, the rest go to ``__other__``.

    Raises
    ------
    ValueError
        If there is no column or they differ in length.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"columns of lengths {lengths or 'none'}: give at least one column, all of the same length")
    numbers: dict[str, Floats] = {}
    texts: dict[str, dict[str, int]] = {}
    for name, column in columns.items():
        values = _numbers(column)
        if values is None or name in COUNTERS:
            texts[name] = _counted(column, max_categories)
        else:
            numbers[name] = values
    names = sorted(numbers)
    sample = np.stack([numbers[n] for n in names], axis=1) if names else None
    return build(
        scope,
        built_from=built_from,
        effective_from_ms=effective_from_ms,
        pane_ms=pane_ms,
        panes=panes,
        rows=next(iter(lengths.values())),
        sample_names=names,
        sample=sample,
        categories={n: c for n, c in texts.items() if n not in COUNTERS},
        counters={n: c for n, c in texts.items() if n in COUNTERS},
    )


def _numbers(column: NDArray[np.generic] | Sequence[object]) -> Floats | None:
    array = np.asarray(column)
    if array.dtype.kind in "iuf":
        return array.astype(np.float64)
    if array.dtype.kind != "O":
        return None
    numeric = all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in array)
    if not numeric or all(value is None for value in array):
        return None
    return np.array([np.nan if value is None else float(value) for value in array])


def _counted(column: NDArray[np.generic] | Sequence[object], max_categories: int) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in np.asarray(column).tolist():
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            counts[text] = counts.get(text, 0) + 1
    ordered = sorted(counts, key=lambda text: (-counts[text], text))
    kept = {text: counts[text] for text in ordered[:max_categories]}
    rest = sum(counts[text] for text in ordered[max_categories:])
    return {**kept, OTHER: rest} if rest else kept


def from_cells(name: str, stats: Floats, edges: Floats, cells: Ints, wander: tuple[float, ...] = ()) -> NumericBaseline:
    """One quantity of a baseline that was counted in another one's bins: a segment's in those of its whole.

    Parameters
    ----------
    stats
        float64[5] moments.
    edges, cells
        float64[33] and int64[34].
    wander
        How far the other one strays: its part is not looked at by itself.
    """
    quantiles = binned.quantile(cells, edges, QUANTILES, float(stats[moments.MIN]), float(stats[moments.MAX]))
    return msgspec.structs.replace(_numeric(name, stats, quantiles, edges=edges, counts=cells), wander=wander)


def identified(baseline: Baseline) -> Baseline:
    """The baseline under the id of its content: a hash of all but ``built_from``."""
    bare = msgspec.structs.replace(baseline, id="", built_from="")
    digest = hashlib.blake2b(encode(bare), digest_size=8).hexdigest()
    return msgspec.structs.replace(baseline, id=digest)
