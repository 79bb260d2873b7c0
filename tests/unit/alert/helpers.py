"""Findings in short."""

from typing import Any

from schemas.findings import Finding, Kind, Progress, Severity
from schemas.scopes import Family, Scope

T0 = 1_700_000_000_000
PANE_MS = 10_000


def at(window: int) -> int:
    """Start of the n-th 10 s window."""
    return T0 + window * PANE_MS


def finding(kind: Kind, quantity: str, window: int, **fields: Any) -> Finding:
    """A finding about fraud v3 in the n-th window; any field can be given."""
    known: dict[str, Any] = {
        "scope": Scope(Family.PREDICTION, "fraud", "3", fields.pop("segment", "")),
        "detector": "psi",
        "window_start_ms": at(window),
        "window_ms": PANE_MS,
        "firing": True,
        "severity": Severity.TICKET,
        "score": 1.0,
        "value": 0.6,
        "baseline": 0.02,
        "threshold": 0.2,
        "unit": "PSI",
        "rows": 1_000,
        "confidence_ratio": 0.99,
        "since_ms": at(window),
        "summary": f"{quantity} {kind.value}",
        **fields,
    }
    return Finding(id=f"{kind}/{quantity}/{window}", kind=kind, quantity=quantity, **known)


class FamilyProgress(Progress, frozen=True, tag="progress"):
    """Progress that says of which family it speaks."""

    family: Family = Family.PREDICTION


def through(window: int, partition: int = 0) -> Progress:
    """Everything before the start of the n-th window has been analysed."""
    return Progress(partition, at(window))
