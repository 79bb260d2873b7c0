"""How findings are grouped into alerts, and the knobs of an alert's life."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from detectors.protocol import LATENCIES
from schemas.findings import Finding, Kind, Severity
from schemas.scopes import Family, Scope


class Group(StrEnum):
    """One alert per scope and group: the names on-call sees as ``alertname``."""

    DRIFT = "HalcyonModelDrift"
    OUTLIERS = "HalcyonOutliers"
    NULLS = "HalcyonNulls"
    VOLUME = "HalcyonVolume"
    ERRORS = "HalcyonErrors"
    LATENCY = "HalcyonLatency"
    ERROR_BUDGET = "HalcyonErrorBudget"
    BAD_INPUT = "HalcyonBadInput"
    SCHEMA = "HalcyonSchema"
    FRESHNESS = "HalcyonFreshness"
    SKEW = "HalcyonFeatureSkew"
    DUPLICATES = "HalcyonDuplicates"
    MODEL_QUALITY = "HalcyonModelQuality"
    LABELS = "HalcyonLabels"
    GPU_THERMAL = "HalcyonGpuThermal"
    GPU_MEMORY = "HalcyonGpuMemory"
    GPU_FAULT = "HalcyonGpuFault"
    GPU_IDLE = "HalcyonGpuIdle"
    GPU_SLOW = "HalcyonGpuSlow"


GROUPS: Final[dict[Kind, Group]] = {
    Kind.DRIFT: Group.DRIFT,
    Kind.CATEGORY_DRIFT: Group.DRIFT,
    Kind.SCORE_DRIFT: Group.DRIFT,
    Kind.CHANGE: Group.DRIFT,
    Kind.NULLS: Group.NULLS,
    Kind.VOLUME: Group.VOLUME,
    Kind.ERRORS: Group.ERRORS,
    Kind.LATENCY: Group.LATENCY,
    Kind.LATENCY_SLO: Group.LATENCY,
    Kind.SLO_BURN: Group.ERROR_BUDGET,
    Kind.SLOW_HOST: Group.LATENCY,
    Kind.OUTLIERS: Group.OUTLIERS,
    Kind.BAD_INPUT: Group.BAD_INPUT,
    Kind.SCHEMA: Group.SCHEMA,
    Kind.FRESHNESS: Group.FRESHNESS,
    Kind.SKEW: Group.SKEW,
    Kind.DUPLICATES: Group.DUPLICATES,
    Kind.CONCEPT_DRIFT: Group.MODEL_QUALITY,
    Kind.CALIBRATION: Group.MODEL_QUALITY,
    Kind.LABEL_DELAY: Group.LABELS,
    Kind.GPU_TEMPERATURE: Group.GPU_THERMAL,
    Kind.GPU_THROTTLE: Group.GPU_THERMAL,
    Kind.GPU_MEMORY: Group.GPU_MEMORY,
    Kind.GPU_XID: Group.GPU_FAULT,
    Kind.GPU_ECC: Group.GPU_FAULT,
    Kind.GPU_IDLE: Group.GPU_IDLE,
    Kind.GPU_SLOW: Group.GPU_SLOW,
}

# A change point is about whatever changed: said beside what else is known of that quantity, not as drift.
_CHANGES: Final = {
    **dict.fromkeys(LATENCIES, Group.LATENCY),
    "rows": Group.VOLUME,
    "errors": Group.ERRORS,
    "outliers": Group.OUTLIERS,
}

COUNTING: Final = frozenset({"gpu_ecc", "gpu_xid"})
"""Detectors whose value is how many faults have come so far: each further one is news about the same alert."""

_RANKS: Final = {Severity.INFO: 0, Severity.TICKET: 1, Severity.PAGE: 2}


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """The knobs of an alert's life. All times are event time.

    Parameters
    ----------
    page_confidence_ratio
        A finding pages only from this confidence on, 0…1; below it becomes a ticket.
    resolve_after_ms
        A finding that has not come again for so long has ended.
    flap_window_ms
        An alert that fires again within this after its end is the same episode: same id, next sequence.
    update_after_ms
        At most one update of a firing alert in this span (an escalation is never held back).
    repeat_after_ms
        A firing alert is said again after so long without news.
    inhibit_after_ms
        What a cause explains, it explains for so long after its end.
    replay_horizon_ms
        How far the analyse stage may go back when it restarts: what was seen within it is known to be a repeat.
    retain_ms
        A resolved alert is remembered for so long; no episode is said to have begun longer before it was seen.
    max_alerts, max_members, max_silences, max_series
        Bounds on memory: alerts, findings held per alert, silences, series whose latest window is remembered.
    max_evidence, max_exemplars
        Bounds on what an alert carries: observations, features, segments and consequences each; event ids.
    attack_models
        Patterns of the models whose positive labels are losses: see :mod:`streams.alert.corroboration`.
    runbook_url
        ``{kind}`` and ``{alertname}`` are replaced; an address without either is a folder of ``<kind>.md`` pages.
    source
        ``ce_source`` of the events.
    """

    page_confidence_ratio: float = 0.5
    resolve_after_ms: int = 300_000
    flap_window_ms: int = 600_000
    update_after_ms: int = 300_000
    repeat_after_ms: int = 3_600_000
    inhibit_after_ms: int = 300_000
    replay_horizon_ms: int = 3_600_000
    retain_ms: int = 86_400_000
    max_alerts: int = 1_000
    max_members: int = 64
    max_silences: int = 1_000
    max_series: int = 50_000
    max_evidence: int = 10
    max_exemplars: int = 10
    attack_models: tuple[str, ...] = ("*fraud*",)
    runbook_url: str = "docs/runbooks"
    source: str = "/halcyon/alert"

    def runbook(self, kind: str, alertname: str) -> str:
        """Where the runbook of ``kind`` is.

        Examples
        --------
        >>> AlertPolicy(runbook_url="https://wiki.example/{alertname}").runbook("drift", "HalcyonModelDrift")
        'https://wiki.example/HalcyonModelDrift'
        >>> AlertPolicy().runbook("gpu_xid", "HalcyonGpuFault")
        'docs/runbooks/gpu_xid.md'
        """
        base = self.runbook_url or "docs/runbooks"
        if "{" in base:
            return base.replace("{kind}", kind).replace("{alertname}", alertname)
        return f"{base.rstrip('/')}/{kind}.md"

    def severity(self, finding: Finding) -> Severity:
        """What the finding may say: a page needs confidence, else it is a ticket."""
        sure = finding.confidence_ratio >= self.page_confidence_ratio
        return Severity.TICKET if finding.severity is Severity.PAGE and not sure else finding.severity


def rank(severity: Severity) -> int:
    """0 for information, 1 for a ticket, 2 for a page."""
    return _RANKS[severity]


def group_of(finding: Finding) -> Group:
    """The group of alerts a finding belongs to."""
    if finding.kind is Kind.CHANGE:
        if finding.scope.family is Family.GPU:
            return Group.GPU_THERMAL if finding.quantity == "temperature_c" else Group.GPU_MEMORY
        return _CHANGES.get(finding.quantity, Group.DRIFT)
    return GROUPS[finding.kind]


def labels_of(scope: Scope, group: Group) -> dict[str, str]:
    """The labels that identify an alert; a label without a value is left out, as Prometheus does.

    Examples
    --------
    >>> labels_of(Scope(Family.GPU, "node-1", "GPU-7"), Group.GPU_FAULT)
    {'alertname': 'HalcyonGpuFault', 'host': 'node-1', 'gpu_uuid': 'GPU-7'}
    """
    names = {
        Family.PREDICTION: ("model", "model_version"),
        Family.FEATURE: ("feature_set", "model_version"),
        Family.GPU: ("host", "gpu_uuid"),
        Family.LABEL: ("model", "model_version"),
        Family.READ: ("model", "model_version"),
    }[scope.family]
    pairs = zip(names, (scope.model, scope.model_version), strict=True)
    return {"alertname": group.value, **{name: value for name, value in pairs if value}}
