"""What the terminal shows of an alert."""

import io

import pytest
from rich.console import Console

from schemas.alerts import Alert, Status
from schemas.findings import FindingMessage, Kind, Severity
from streams.alert.lifecycle import AlertBook
from streams.alert.policy import AlertPolicy
from streams.cli.alerts import is_wanted, moment_ms
from streams.cli.render import render_alert
from streams.errors import ConfigError
from tests.unit.alert.helpers import T0, at, finding, through


def alerts() -> list[Alert]:
    book = AlertBook(AlertPolicy())
    messages: list[FindingMessage] = [
        finding(Kind.DRIFT, "features.amount", 0, score=3.0, severity=Severity.PAGE, exemplars=("tx-1", "tx-2")),
        finding(Kind.DRIFT, "features.[age]", 0, segment="country=DE"),
        through(1),
        finding(Kind.DRIFT, "features.amount", 12, firing=False),
        finding(Kind.DRIFT, "features.[age]", 12, segment="country=DE", firing=False),
        through(13),
    ]
    return [event.alert for message in messages for event in book.fold(message)]


def shown(alert: Alert, width: int = 100) -> str:
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=False).print(render_alert(alert))
    return file.getvalue()


def test_a_firing_alert_says_what_how_much_since_when_and_where_to_read_on() -> None:
    text = shown(alerts()[0])
    for part in (
        "PAGE",
        "HalcyonModelDrift",
        "fraud v3 drifts from its baseline",
        "features.amount PSI 0.6 against PSI 0.02 (threshold PSI 0.2)",
        "1,000 events",
        "since",
        "75%",
        "features.[age]",
        "country=DE",
        "tx-1 tx-2",
        "docs/runbooks/drift.md",
    ):
        assert part in text, part


def test_a_resolved_alert_is_one_line_with_its_duration() -> None:
    text = shown(alerts()[1], width=200)
    assert text.count("\n") == 1
    assert "RESOLVED" in text
    assert "after 2 min" in text


def test_a_narrow_terminal_breaks_nothing() -> None:
    assert "PAGE" in shown(alerts()[0], width=40)


def test_since_and_status_choose() -> None:
    firing, resolved = alerts()
    assert is_wanted(firing, None, None)
    assert is_wanted(firing, at(1), Status.FIRING)
    assert not is_wanted(firing, at(1) + 1, None)
    assert not is_wanted(resolved, None, Status.FIRING)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("90s", T0 - 90_000),
        ("1.5h", T0 - 5_400_000),
        ("2023-11-14", T0 - 80_000_000),
        ("7d", T0 - 604_800_000),
        ("2023-11-14T22:13:20Z", T0),
        ("2023-11-14T22:13:20", T0),
        ("2023-11-14T23:13:20+01:00", T0),
    ],
)
def test_since_takes_spans_and_times(text: str, wanted: int) -> None:
    assert moment_ms(text, T0) == wanted


@pytest.mark.parametrize("text", ["", "soon", "5", "5w", "-3h"])
def test_since_refuses_the_rest_and_says_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match="15m"):
        moment_ms(text, T0)
