"""What the alert stage writes to ClickHouse: one row per finding, one per alert event."""

from collections.abc import Iterable
from typing import Any

from schemas import alerts
from schemas.findings import Finding
from schemas.rows import TABLES, RowBatch
from schemas.scopes import Scope
from streams.alert.episode import AlertEvent


def findings_rows(findings: Iterable[tuple[int, Finding]]) -> RowBatch:
    """Rows of (version, finding); a finding that comes again is the same row."""
    return _batch("findings", [_finding_row(version, finding) for version, finding in findings])


def alerts_rows(events: Iterable[AlertEvent]) -> RowBatch:
    """Rows of alert events, the suppressed ones too; version is the event's number within its episode."""
    return _batch("alerts", [_alert_row(event) for event in events])


def _finding_row(version: int, finding: Finding) -> dict[str, Any]:
    return {
        **_scope(finding.scope),
        "quantity": finding.quantity,
        "detector": finding.detector,
        "kind": finding.kind.value,
        "window_s": finding.window_ms // 1000,
        "start_ms": finding.window_start_ms,
        "version": version,
        "id": finding.id,
        "firing": finding.firing,
        "severity": finding.severity.value,
        "score": finding.score,
        "value": finding.value,
        "baseline": finding.baseline,
        "threshold": finding.threshold,
        "unit": finding.unit,
        "rows": finding.rows,
        "confidence": finding.confidence_ratio,
        "since_ms": finding.since_ms,
        "summary": finding.summary,
        "baseline_id": finding.baseline_id,
    }


def _alert_row(event: AlertEvent) -> dict[str, Any]:
    alert = event.alert
    return {
        "id": alert.id,
        "version": alert.sequence,
        "fingerprint": alert.fingerprint,
        "status": alert.status.value,
        "severity": event.severity.value,
        "starts_ms": event.starts_ms,
        "ends_ms": event.ends_ms,
        "updated_ms": event.time_ms,
        **_scope(event.scope),
        "kind": event.kind,
        "summary": alert.annotations["summary"],
        "description": alert.annotations["description"],
        "labels": alert.labels,
        "body": alerts.encode(alert).decode(),
    }


def _scope(scope: Scope) -> dict[str, Any]:
    return {
        "family": scope.family.value,
        "model": scope.model,
        "model_version": scope.model_version,
        "segment": scope.segment,
    }


def _batch(table: str, rows: list[dict[str, Any]]) -> RowBatch:
    return RowBatch(table, tuple([row[column] for row in rows] for column in TABLES[table]))
