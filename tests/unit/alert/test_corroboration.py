"""Outliers page when labels bear them out, and at no other time."""

from typing import Any

import pytest

from schemas.findings import Finding, FindingMessage, Kind
from schemas.scopes import Family, Scope
from streams.alert.lifecycle import AlertBook
from streams.alert.policy import AlertPolicy
from tests.unit.alert.helpers import finding, through

LABELS = Scope(Family.LABEL, "fraud")


def crowd(window: int, **fields: Any) -> Finding:
    return finding(Kind.OUTLIERS, "features.amount", window, **{"detector": "crowd", "confidence_ratio": 0.3, **fields})


def losses(window: int, **fields: Any) -> Finding:
    given = {"scope": LABELS, "detector": "label_rate", "value": 0.06, "baseline": 0.03, "confidence_ratio": 0.3}
    return finding(Kind.CONCEPT_DRIFT, "label", window, **{**given, **fields})


def severities(messages: list[Finding], **policy: Any) -> dict[str, str]:
    """How loud each alert is, of those that are published, once the second window is over."""
    book = AlertBook(AlertPolicy(**policy))
    events = [event for message in messages for event in book.fold(message)]
    events += book.fold(through(2))
    return {event.alert.labels["alertname"]: event.alert.labels["severity"] for event in events if event.published}


def test_a_crowd_and_more_losses_at_the_same_time_page_and_say_why() -> None:
    book = AlertBook(AlertPolicy())
    messages: list[FindingMessage] = [crowd(0), through(1), losses(1), crowd(1), through(2)]
    told = [event for message in messages for event in book.fold(message)]
    loud = [e for e in told if e.alert.labels["severity"] == "critical"]
    assert [e.alert.labels["alertname"] for e in loud] == ["HalcyonOutliers"]
    assert loud[0].alert.sequence == 2, "the alert that was a ticket"
    assert loud[0].alert.evidence.leading.severity == "critical"
    assert "label concept_drift" in loud[0].alert.evidence.consequences


@pytest.mark.parametrize(
    ("seen", "labels", "policy"),
    [
        (crowd(1), losses(1, value=0.04), {}),  # a third more
        (crowd(1), losses(1, value=0.01), {}),  # fewer
        (crowd(1), losses(1, detector="wasserstein"), {}),  # it does not say which way
        (crowd(1), losses(1), {"attack_models": ("payout-*",)}),
        (crowd(1), losses(1), {"page_confidence_ratio": 0.8}),  # 0.76 together
        (crowd(1, segment="country=DE"), losses(1), {}),
        (finding(Kind.DRIFT, "features.amount", 1), losses(1), {}),
    ],
)
def test_nothing_else_pages(seen: Finding, labels: Finding, policy: dict[str, Any]) -> None:
    assert set(severities([labels, seen], **policy).values()) == {"warning"}


def test_what_is_within_its_limit_again_opens_no_alert() -> None:
    assert not severities([crowd(1, evidence=False)])
