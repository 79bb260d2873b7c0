"""The numbers behind an alert, ordered, bounded, each with the query that recomputes it.

The SQL stands here and nowhere else. It reads the views that ``halcyon migrate`` makes.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from detectors.latency.tail import FACTOR, RISE_MS
from detectors.slo.objectives import TIERS, edge_of, parse_subject
from schemas.alerts import Evidence, Observation, Share
from schemas.clickhouse import literal
from schemas.findings import Finding, Kind
from streams.alert.gpu_queries import GPU_QUERIES
from streams.alert.label_queries import LABEL_QUERIES
from streams.alert.policy import AlertPolicy, rank
from streams.alert.state import Member

_WINDOWS: Final = (
    "SELECT start, rows, count, mean, p50, p95, p99, max FROM windows WHERE {scope} AND {quantity} AND {at}"
)
_SCORES: Final = (
    "SELECT start, detector, score, value, baseline, threshold, rows FROM scores "
    "WHERE {scope} AND {quantity} AND detector = {detector} AND {at}"
)
_DRIFT: Final = "SELECT start, count, psi, wasserstein, baseline_id FROM drift WHERE {scope} AND {quantity} AND {at}"
_CATEGORIES: Final = (
    "SELECT start, value, count, ratio FROM categories WHERE {scope} AND {quantity} AND {at} ORDER BY count DESC"
)
_NULLS: Final = "SELECT start, nulls, rows, null_ratio FROM windows WHERE {scope} AND {quantity} AND {at}"
_VOLUME: Final = "SELECT start, rows, late, rows_per_s FROM volume WHERE {scope} AND {at}"
_ERRORS: Final = "SELECT start, errors, rows, error_ratio FROM errors WHERE {scope} AND {at}"
_VERSIONS: Final = (
    "SELECT start, model_version, errors, rows, error_ratio FROM errors WHERE family = 'prediction' "
    "AND model = {model} AND segment = '' AND window_s = {window_s} AND start >= {since} AND start <= {start} "
    "ORDER BY start, model_version"
)
_SPREAD: Final = "SELECT start, count, mean, stddev, p50, p95, p99 FROM windows WHERE {scope} AND {quantity} AND {at}"
_COUNTER: Final = (
    "SELECT start, value, count, ratio FROM categories "
    "WHERE {scope} AND quantity = {counter} AND counter AND {at} ORDER BY count DESC"
)
_BURN: Final = (
    "SELECT span_s, sum(total) AS events, sum(bad) / events AS bad_ratio, bad_ratio / {allowed} AS burn "
    "FROM (SELECT start, {counted} FROM {view} WHERE {scope} AND window_s = {window_s}) "
    "ARRAY JOIN {spans} AS span_s WHERE start > {start} - toIntervalSecond(span_s) AND start <= {start} "
    "GROUP BY span_s ORDER BY span_s"
)
"""Bad events of every span that a burn rate is taken over; as in :mod:`detectors.slo.burn`, to the end of a bin."""
_SLOW: Final = "arraySum((bin, n) -> if(bin > {edge}, n, 0), bins, counts) AS bad, count AS total"
_SPANS_S: Final = sorted({span for tier in TIERS for span in (tier.short_s, tier.long_s)})
_TAIL: Final = (
    "WITH (SELECT any(p99) FROM baselines WHERE baseline_id = {baseline} AND {quantity}) AS p99 SELECT start, count, "
    "arraySum((bin, n) -> if(bin > halcyon_bin(greatest({factor} * p99, {rise_ms} + p99)), n, 0), bins, counts) "
    "/ count AS far_ratio FROM windows WHERE {scope} AND {quantity} AND {at}"
)
_MODES: Final = (
    "SELECT halcyon_bin_value(12 * intDiv(bin, 12) + 6) AS about_ms, sum(n) AS events, events / any(count) AS ratio "
    "FROM windows ARRAY JOIN bins AS bin, counts AS n WHERE {scope} AND {quantity} AND {at} "
    "GROUP BY about_ms ORDER BY about_ms"
)
_SHAPE: Final = (
    "SELECT start, rows, numbers, texts, nulls, null_ratio, text_ratio FROM completeness "
    "WHERE {scope} AND {quantity} AND {at}"
)
_RANGE: Final = (
    "SELECT start, count, min, max, arraySum((bin, n) -> if(bin IN (0, 33), n, 0), bins, counts) / count AS out_ratio "
    "FROM windows WHERE {scope} AND {quantity} AND {at}"
)
_FROZEN: Final = "SELECT start, count, min, max, max - min AS span FROM windows WHERE {scope} AND {quantity} AND {at}"
_DUPLICATES: Final = (
    "SELECT start, events, sampled, repeated, repeated_ratio, repeated_ratio_error, duplicate_ratio, duplicates "
    "FROM duplicates WHERE {scope} AND {at}"
)
_HOSTS: Final = (
    "SELECT segment, count, p50, p95, p99, median(p50) OVER () AS usual_p50, median(p95) OVER () AS usual_p95, "
    "median(p99) OVER () AS usual_p99 FROM windows WHERE {peers} AND {quantity} AND {at} ORDER BY p95 DESC"
)
_CROWD: Final = (
    "SELECT bin, n, n / count AS ratio, edges[bin] AS low, edges[bin + 1] AS high FROM (SELECT bins, counts, count, "
    "(SELECT any(edges) FROM baselines WHERE baseline_id = {baseline} AND {quantity}) AS edges "
    "FROM windows WHERE {scope} AND {quantity} AND {at}) "
    "ARRAY JOIN bins AS bin, counts AS n ORDER BY n DESC LIMIT 5"
)
_SKEW: Final = (
    "SELECT family, concat(model_version, segment) AS told_by, rows, numbers, texts, null_ratio, mean, stddev, min, "
    "max FROM (SELECT * FROM completeness WHERE {both} AND {quantity} AND {at}) AS c LEFT JOIN (SELECT family, "
    "model_version, segment, mean, stddev, min, max FROM windows WHERE {both} AND {quantity} AND {at}) AS w "
    "USING (family, model_version, segment) ORDER BY family DESC, told_by"
)
"""What feature sets served, and what the versions of the model were given."""
_BY_DETECTOR: Final = {
    "collapse": _SPREAD,
    "score_mean": _SPREAD,
    "versions": _VERSIONS,
    "latency_tail": _TAIL,
    "latency_modes": _MODES,
    "latency_hosts": _HOSTS,
    "range": _RANGE,
    "frozen": _FROZEN,
    "crowd": _CROWD,
    "multivariate": _SCORES,
    "association": _SCORES,
    "categories": _CATEGORIES,
    "new_category": _CATEGORIES,
    **LABEL_QUERIES,
    **GPU_QUERIES,
}
"""Detectors whose number is not the one that is looked at for findings of their kind."""

_TEMPLATES: Final[dict[Kind, str]] = {
    Kind.DRIFT: _DRIFT,
    Kind.SCORE_DRIFT: _DRIFT,
    Kind.CATEGORY_DRIFT: _CATEGORIES,
    Kind.CONCEPT_DRIFT: _DRIFT,
    Kind.OUTLIERS: _SCORES,
    Kind.NULLS: _NULLS,
    Kind.VOLUME: _VOLUME,
    Kind.SCHEMA: _SHAPE,
    Kind.DUPLICATES: _DUPLICATES,
    Kind.SKEW: _SKEW,
    Kind.ERRORS: _ERRORS,
    Kind.BAD_INPUT: _COUNTER,
    Kind.GPU_THROTTLE: _COUNTER,
}
_COUNTERS: Final = {Kind.BAD_INPUT: "reason", Kind.GPU_THROTTLE: "clocks_event_reason"}


def sql_of(finding: Finding) -> str:
    """The query that recomputes the finding's value from what is stored.

    Examples
    --------
    >>> from schemas.findings import Severity
    >>> from schemas.scopes import Family, Scope
    >>> late = Finding(
    ...     "f",
    ...     Scope(Family.PREDICTION, "fraud", "3"),
    ...     Kind.VOLUME,
    ...     "volume",
    ...     "rows",
    ...     60_000,
    ...     10_000,
    ...     True,
    ...     Severity.TICKET,
    ...     1.0,
    ...     0.0,
    ...     900.0,
    ...     450.0,
    ...     "rows",
    ...     0,
    ...     1.0,
    ...     50_000,
    ...     "",
    ... )
    >>> print(sql_of(late))
    SELECT start, rows, late, rows_per_s FROM volume WHERE family = 'prediction' AND model = 'fraud'
    AND model_version = '3' AND segment = '' AND window_s = 10 AND start = fromUnixTimestamp64Milli(60000, 'UTC')
    """
    if finding.kind is Kind.SLO_BURN:
        return _burn_sql(finding)
    template = _BY_DETECTOR.get(finding.detector) or _TEMPLATES.get(finding.kind, _WINDOWS)
    start = f"fromUnixTimestamp64Milli({finding.window_start_ms}, 'UTC')"
    return template.format(
        scope=_scope(finding),
        peers=_peers(finding),
        host=_host(finding),
        both=_both(finding),
        model=literal(finding.scope.model),
        window_s=finding.window_ms // 1000,
        start=start,
        since=f"fromUnixTimestamp64Milli({finding.since_ms}, 'UTC')",
        baseline=literal(finding.baseline_id),
        factor=FACTOR,
        rise_ms=RISE_MS,
        quantity=f"quantity = {literal(finding.quantity)}",
        detector=literal(finding.detector),
        counter=literal(_COUNTERS.get(finding.kind, finding.quantity)),
        at=f"window_s = {finding.window_ms // 1000} AND start = {start}",
    )


def _burn_sql(finding: Finding) -> str:
    quantity, threshold_ms = parse_subject(finding.quantity)
    scope = _scope(finding)
    if threshold_ms is None:
        view, counted = "errors", "errors AS bad, rows AS total"
    else:
        view, counted = "windows", _SLOW.format(edge=edge_of(threshold_ms))
        scope += f" AND quantity = {literal(quantity)}"
    return _BURN.format(
        allowed=f"{finding.baseline:.12g}",
        counted=counted,
        view=view,
        scope=scope,
        window_s=finding.window_ms // 1000,
        spans=_SPANS_S,
        start=f"fromUnixTimestamp64Milli({finding.window_start_ms}, 'UTC')",
    )


def _scope(finding: Finding) -> str:
    return _of_version(finding) + f" AND segment = {literal(finding.scope.segment)}"


def _peers(finding: Finding) -> str:
    """The segments of the same kind: the other hosts of a host."""
    return _of_version(finding) + f" AND startsWith(segment, {literal(finding.scope.segment.partition('=')[0] + '=')})"


def _host(finding: Finding) -> str:
    """All GPUs of a GPU's host."""
    return f"family = {literal(finding.scope.family)} AND model = {literal(finding.scope.model)} AND segment = ''"


def _both(finding: Finding) -> str:
    """A model's reads, and its predictions."""
    told = "(family = 'read' OR family = 'prediction' AND segment = '')"
    return f"{told} AND model = {literal(finding.scope.model)}"


def _of_version(finding: Finding) -> str:
    columns = ("family", "model", "model_version")
    return " AND ".join(f"{column} = {literal(getattr(finding.scope, column))}" for column in columns)


def ordered(members: Iterable[Member]) -> list[Member]:
    """Strongest first: by severity, whole before segment, confidence, score; then by name, so that ties never flip."""

    def strength(member: Member) -> tuple[int, bool, float, float, str, str, str]:
        finding = member.finding
        return (
            -rank(member.severity),
            bool(finding.scope.segment),
            -finding.confidence_ratio if math.isfinite(finding.confidence_ratio) else 0.0,
            -member.excess,
            finding.quantity,
            finding.detector,
            finding.scope.segment,
        )

    return sorted(members, key=strength)


def evidence_of(members: Sequence[Member], consequences: Sequence[Finding], policy: AlertPolicy) -> Evidence:
    """What an alert carries.

    Parameters
    ----------
    members
        At least one, strongest first (see :func:`ordered`).
    consequences
        Findings of other alerts that these explain.
    policy
        The bounds.
    """
    limit = policy.max_evidence
    events = dict.fromkeys(event for member in members for event in member.finding.exemplars if event)
    said = dict.fromkeys(finding.summary for finding in consequences)
    return Evidence(
        leading=_observation(members[0]),
        others=tuple(_observation(member) for member in members[1 : limit + 1]),
        observations=len(members),
        features=_features(members)[:limit],
        segments=_segments(members)[:limit],
        consequences=tuple(said)[:limit],
        event_ids=tuple(events)[: policy.max_exemplars],
    )


def _observation(member: Member) -> Observation:
    finding = member.finding
    return Observation(
        kind=finding.kind.value,
        detector=finding.detector,
        quantity=finding.quantity,
        segment=finding.scope.segment,
        severity=member.severity.value,
        value=_finite(finding.value),
        baseline=_finite(finding.baseline),
        threshold=_finite(finding.threshold),
        unit=finding.unit,
        score=_finite(finding.score),
        rows=finding.rows,
        confidence_ratio=_finite(finding.confidence_ratio),
        window_start_ms=finding.window_start_ms,
        window_ms=finding.window_ms,
        since_ms=member.since_ms,
        baseline_id=finding.baseline_id,
        summary=finding.summary,
        sql=sql_of(finding),
    )


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def _features(members: Sequence[Member]) -> tuple[Share, ...]:
    """Quantities by their share: what detectors attribute themselves, else their scores against each other.

    Segments fold under the whole: they speak for a quantity only where the whole does not show it.
    """
    whole = [member for member in members if not member.finding.scope.segment]
    attributed: dict[str, float] = {}
    for member in whole or members:
        for part in member.finding.contributions:
            attributed[part.name] = max(attributed.get(part.name, 0.0), part.share_ratio)
    if attributed:
        return _shares(attributed)
    known = {member.finding.quantity for member in whole}
    speaking = whole + [member for member in members if member.finding.quantity not in known]
    weights = _weights((member.finding.quantity, member) for member in speaking)
    return _shares(weights)


def _segments(members: Sequence[Member]) -> tuple[Share, ...]:
    return _shares(_weights((m.finding.scope.segment, m) for m in members if m.finding.scope.segment))


def _weights(named: Iterable[tuple[str, Member]]) -> dict[str, float]:
    """The largest score of each name, relative to its detector's largest: detectors have scales of their own."""
    pairs = list(named)
    largest: dict[str, float] = {}
    for _, member in pairs:
        largest[member.finding.detector] = max(largest.get(member.finding.detector, 0.0), member.excess)
    weights: dict[str, float] = {}
    for name, member in pairs:
        scale = largest[member.finding.detector]
        weights[name] = max(weights.get(name, 0.0), member.excess / scale if scale > 0 else 1.0)
    return weights


def _shares(weights: dict[str, float]) -> tuple[Share, ...]:
    total = sum(weights.values())
    ranked = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Share(name, round(weight / total, 4) if total > 0 else 0.0) for name, weight in ranked)
