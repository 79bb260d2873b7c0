import io
import json

import pytest
from msgspec import structs
from rich.console import Console

from loadgen.score.scorecard import explained_by, score, table, to_json, verdict
from loadgen.truth import Truth
from schemas.alerts import Alert, Evidence, Observation, Status, rfc3339
from schemas.findings import Kind, Severity

START_MS = 1_780_000_000_000
GRACE_MS = 300_000
DRIFT = Truth(
    name="drift",
    entity="fraud",
    onset_ms=START_MS + 600_000,
    end_ms=START_MS + 900_000,
    kinds=(Kind.DRIFT,),
    collateral=(Kind.OUTLIERS,),
    injected="features.amount × 2",
)
TRUTHS = (DRIFT,)


def alert(
    at_s: int,
    *kinds: str,
    model: str = "fraud",
    severity: str = "critical",
    id_: str = "a",
    sequence: int = 1,
    status: Status = Status.FIRING,
    since_s: int | None = None,
    seen_s: int | None = None,
) -> Alert:
    since_ms = START_MS + 1000 * (at_s if seen_s is None else seen_s)
    numbers = (1.0, 0.0, 0.5, "", 2.0, 900, 1.0, 0, 60_000, since_ms)
    seen = [
        Observation(kind, "psi", "features.amount", "", severity, *numbers, "", "", "") for kind in kinds or ("drift",)
    ]
    return Alert(
        id=id_,
        status=status,
        labels={"alertname": "X", "model": model, "severity": severity},
        annotations={"summary": f"{model} {kinds}"},
        starts_at=rfc3339(START_MS + 1000 * (at_s if since_s is None else since_s)),
        updated_at=rfc3339(START_MS + 1000 * at_s),
        fingerprint="f" + id_,
        sequence=sequence,
        evidence=Evidence(leading=seen[0], others=tuple(seen[1:])),
    )


def test_a_detected_fault_has_its_delay_in_event_time() -> None:
    card = score(TRUTHS, [alert(780)], GRACE_MS)
    (fault,) = card.faults
    assert fault.detected
    assert fault.delay_s == 180.0
    assert fault.kind == "drift"
    assert card.passed


def test_without_alerts_a_fault_is_missed() -> None:
    card = score(TRUTHS, [], GRACE_MS)
    assert not card.faults[0].detected
    assert not card.passed


@pytest.mark.parametrize(
    ("about", "page"),
    [
        (alert(300), "before the onset"),
        (alert(1300), "after the grace"),
        (alert(780, model="other"), "another model"),
        (alert(780, "latency"), "another kind"),
        (alert(700, since_s=300), "a condition that began long before"),
    ],
)
def test_what_no_fault_explains_is_false(about: Alert, page: str) -> None:
    card = score(TRUTHS, [alert(780, id_="b"), about], GRACE_MS)
    assert len(card.false_pages) == 1, page
    assert not card.passed
    assert explained_by(TRUTHS, about, GRACE_MS) is None


def test_false_tickets_are_told_but_wake_nobody() -> None:
    card = score(TRUTHS, [alert(780), alert(100, severity="warning", id_="b")], GRACE_MS)
    assert len(card.false_tickets) == 1
    assert card.passed


def test_collateral_is_neither_detection_nor_false() -> None:
    card = score(TRUTHS, [alert(700, "outliers")], GRACE_MS)
    assert not card.faults[0].detected
    assert not card.false_pages


def test_a_later_event_of_the_same_alert_can_name_the_fault() -> None:
    events = [alert(700, "outliers"), alert(790, "outliers", "drift", sequence=2)]
    card = score(TRUTHS, events, GRACE_MS)
    assert card.faults[0].delay_s == 190.0
    assert card.faults[0].alerts == 1


def test_a_ticket_is_too_quiet_for_a_page() -> None:
    card = score(TRUTHS, [alert(780, severity="warning")], GRACE_MS)
    assert card.faults[0].detected
    assert not card.faults[0].loud_enough
    assert not card.passed
    louder = score(TRUTHS, [alert(780, severity="warning"), alert(800, sequence=2)], GRACE_MS)
    assert louder.passed
    assert louder.faults[0].delay_s == 180.0


def test_a_quiet_fault_may_be_said_quietly() -> None:
    quiet = structs.replace(DRIFT, severity=Severity.TICKET)
    assert score((quiet,), [alert(780, severity="warning")], GRACE_MS).passed


def test_the_same_event_twice_is_a_duplicate() -> None:
    card = score(TRUTHS, [alert(780), alert(780)], GRACE_MS)
    assert card.duplicates == ("a/1",)
    assert not card.passed


def test_resolved_events_are_no_alarms() -> None:
    resolved = alert(1290, status=Status.RESOLVED, sequence=2)
    assert score(TRUTHS, [alert(780), resolved], GRACE_MS).passed


def test_the_account_reads_as_table_and_as_json() -> None:
    card = score(TRUTHS, [alert(780), alert(100, severity="warning", id_="b")], GRACE_MS)
    console = Console(width=160, file=io.StringIO())
    console.print(table(card))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "180 s" in shown
    assert "drift, page" in shown
    assert "features.amount × 2" in shown
    assert verdict(card) == "1 of 1 faults detected, 0 false pages, 1 false tickets, 0 duplicates"
    told = json.loads(to_json(card))
    assert told["passed"] is True
    assert told["faults"][0]["delay_s"] == 180.0
    assert told["false_tickets"][0]["entity"] == "fraud"
