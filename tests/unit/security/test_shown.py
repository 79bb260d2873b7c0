"""Names come from events: whoever looks at them in a terminal or a log sees text, whatever they hold."""

import io
import logging

import pytest
from msgspec.structs import replace
from rich.console import Console

from schemas import alerts
from schemas.alerts import Alert, Status
from schemas.clickhouse import literal
from schemas.findings import Kind
from streams.alert.evidence import sql_of
from streams.cli.context import Harmless
from streams.cli.render import render_alert
from streams.cli.up_view import Overview, render
from streams.harmless import harmless
from streams.logs import TextFormatter
from tests.unit.alert.helpers import finding
from tests.unit.schemas.test_contracts import EXAMPLES

HOSTILE = "fraud\x1b[2J\x1b]0;owned\x07\x9b31m\u202egpj\r\n12:00:00.000 ERROR   streams: made up"


def drawn(shown: object) -> str:
    """What a terminal would be sent, colours and all."""
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=200)
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def hostile_alert(status: Status) -> Alert:
    (path,) = [path for path in EXAMPLES if path.name.startswith("alerts")]
    alert = alerts.decode(path.read_bytes())
    lead = replace(alert.evidence.leading, quantity=HOSTILE, segment=HOSTILE, summary=HOSTILE)
    evidence = replace(alert.evidence, leading=lead, event_ids=(HOSTILE,), consequences=(HOSTILE,))
    annotations = {**alert.annotations, "summary": HOSTILE}
    return replace(alert, status=status, annotations=annotations, evidence=evidence)


@pytest.mark.parametrize("status", list(Status))
def test_an_alert_cannot_steer_the_terminal(status: Status) -> None:
    shown = drawn(render_alert(hostile_alert(status)))
    assert "fraud\\x1b[2J" in shown
    for steering in ("\x1b[2J", "\x1b]0", "\x07", "\x9b", "\u202e", "\r"):
        assert steering not in shown


def test_nor_can_it_in_the_view_of_everything() -> None:
    shown = drawn(render(Overview("k", "c", (), (), (hostile_alert(Status.FIRING),))))
    assert "\x1b[2J" not in shown
    assert "fraud\\x1b" in shown


def test_colours_stay() -> None:
    assert drawn(Harmless("[bold red]red[/] \x1b[2J")).startswith("\x1b[1;31mred\x1b[0m")


def test_text_stays_as_it_is() -> None:
    assert harmless("Größe, 漢字, emoji 🙂, tab is written") == "Größe, 漢字, emoji 🙂, tab is written"
    assert harmless("a\nb", keep="\n") == "a\nb"


def test_a_log_has_the_lines_that_were_logged() -> None:
    record = logging.LogRecord("streams", logging.WARNING, "", 0, "cannot be read: %s", (HOSTILE,), None)
    record.topic = HOSTILE
    first, *others = TextFormatter().format(record).split("\n")
    assert "streams: cannot be read: fraud\\x1b[2J" in first
    assert all(line.startswith("  ") for line in others)
    assert "\x1b" not in first + "".join(others)


def test_a_query_that_is_shown_holds_names_as_literals() -> None:
    name = "x' OR 1 = 1; DROP TABLE windows_raw; -- \\"
    shown = sql_of(finding(Kind.DRIFT, name, 0))
    assert f"quantity = {literal(name)}" in shown
    assert literal(name) == "'x\\' OR 1 = 1; DROP TABLE windows_raw; -- \\\\'"
