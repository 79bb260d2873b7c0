"""The view of `halcyon up`: what runs where, how each stage keeps up, and the last alerts."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from schemas.alerts import Alert, Status
from streams.cli.context import Harmless
from streams.supervisor import Page

_COLOURS = {"critical": "red", "warning": "yellow", "info": "blue"}


@dataclass(frozen=True, slots=True)
class StageLine:
    """One worker as it is now."""

    stage: str
    alive: bool
    restarts: int
    url: str
    log: str
    page: Page

    @property
    def state(self) -> str:
        """In one word or two."""
        if not self.alive:
            return "ended, starting again"
        if not self.page.answered:
            return "starting"
        return (
            "ok" if self.page.ready else "failing: " + ", ".join(n for n, (ok, _) in self.page.checks.items() if not ok)
        )


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that is shown."""

    kafka: str
    clickhouse: str
    local: tuple[str, ...]
    stages: tuple[StageLine, ...]
    alerts: tuple[Alert, ...]


def render(overview: Overview) -> RenderableType:
    """The whole view."""
    return Harmless(Group(_addresses(overview), Text(), _stages(overview.stages), Text(), _alerts(overview.alerts)))


def plain(overview: Overview) -> str:
    """The stages in one line, for where there is no terminal."""
    return "; ".join(f"{line.stage} {line.state}, lag {_value(line.page, 'lag_events')}" for line in overview.stages)


def _addresses(overview: Overview) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, address in (("Kafka", overview.kafka), ("ClickHouse", overview.clickhouse)):
        whose = "started here" if name in overview.local else "as configured"
        grid.add_row(Text(name, style="bold"), address, Text(whose, style="dim"))
    grid.add_row(Text("Ask", style="bold"), "halcyon sql   halcyon alerts tail", Text("Ctrl-C stops all", style="dim"))
    return grid


def _stages(lines: Iterable[StageLine]) -> Table:
    table = Table(show_edge=False, header_style="dim")
    for heading in ("stage", "state", "lag", "watermark delay", "last commit", "last insert", "metrics", "restarts"):
        table.add_column(heading, overflow="fold")
    for line in lines:
        style = "green" if line.state == "ok" else "yellow" if line.state == "starting" else "red"
        values = [
            _value(line.page, ending) for ending in ("lag_events", "watermark_delay_s", "commit_age_s", "insert_age_s")
        ]
        metrics = f"{line.url}/metrics" if line.url else line.log
        table.add_row(line.stage, Text(line.state, style=style), *values, metrics, str(line.restarts or ""))
    return table


def _alerts(alerts: Iterable[Alert]) -> Table:
    table = Table(show_edge=False, header_style="dim", title="last alerts", title_justify="left", title_style="bold")
    for heading in ("time", "status", "severity", "what"):
        table.add_column(heading)
    for alert in alerts:
        severity = alert.labels.get("severity", "")
        style = "green" if alert.status is Status.RESOLVED else _COLOURS.get(severity, "")
        what = alert.annotations.get("summary", alert.labels.get("alertname", ""))
        table.add_row(alert.updated_at[11:19], Text(alert.status.value, style=style), severity, Text(what))
    if not table.row_count:
        table.add_row("–", "none yet", "", "")
    return table


def _value(page: Page, ending: str) -> str:
    """The number of a check, without the limit it is held against."""
    words = page.detail(ending).partition(",")[0]
    if not words or words == "nothing to judge":
        return "–"
    return f"{words} s" if ending.endswith("_s") else words
