"""How an alert looks in a terminal: severity by colour, the numbers beneath, the way on at the end."""

from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from schemas.alerts import Alert, Observation, Share, Status, milliseconds
from streams.alert.wording import number
from streams.cli.context import Harmless

_COLOURS: Final = {"critical": "red", "warning": "yellow", "info": "blue"}
_WORDS: Final = {"critical": "PAGE", "warning": "TICKET", "info": "INFO"}
_BAR: Final = 12
_SHOWN: Final = 5


def render_alert(alert: Alert) -> RenderableType:
    """One alert event: a frame while it fires, one line when it has resolved."""
    if alert.status is Status.RESOLVED:
        return Harmless(_resolved(alert))
    severity = alert.labels.get("severity", "")
    colour = _COLOURS.get(severity, "white")
    title = Text.assemble(
        (f" {_WORDS.get(severity, severity.upper())} ", f"bold reverse {colour}"),
        (f" {alert.labels.get('alertname', '')} ", f"bold {colour}"),
        ("update " if alert.sequence > 1 else "", "dim"),
    )
    subtitle = Text(f" {_clock(alert.updated_at)} UTC  {alert.fingerprint} ", style="dim")
    body = Group(Text(alert.annotations.get("summary", ""), style="bold"), _facts(alert))
    framed = Panel(
        body,
        title=title,
        title_align="left",
        subtitle=subtitle,
        subtitle_align="right",
        border_style=colour,
        box=box.ROUNDED,
        padding=(0, 1),
    )
    return Harmless(framed)


def _resolved(alert: Alert) -> Text:
    ends_at = alert.ends_at if isinstance(alert.ends_at, str) else alert.updated_at
    lasted = _span(milliseconds(ends_at) - milliseconds(alert.starts_at))
    summary = alert.annotations.get("summary", "").removeprefix("Resolved: ")
    return Text.assemble(
        (" RESOLVED ", "bold reverse green"),
        (f" {_clock(ends_at)} UTC ", "dim"),
        summary,
        (f"  after {lasted}", "green"),
    )


def _facts(alert: Alert) -> Table:
    evidence = alert.evidence
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    lasted = _span(milliseconds(alert.updated_at) - milliseconds(alert.starts_at))
    grid.add_row("since", f"{_clock(alert.starts_at)} UTC ({lasted})")
    lead = evidence.leading
    grid.add_row("measured", _measured(lead))
    grid.add_row("by", f"{lead.detector}, window of {_span(lead.window_ms)}, {lead.rows:,} events")
    if len(evidence.features) > 1:
        grid.add_row("features", _shares(evidence.features))
    if evidence.segments:
        grid.add_row("segments", _shares(evidence.segments))
    if evidence.consequences:
        grid.add_row("explains", Text("\n".join(evidence.consequences[:_SHOWN])))
    if evidence.event_ids:
        grid.add_row("events", Text(" ".join(evidence.event_ids[:_SHOWN]), style="cyan"))
    runbook = alert.annotations.get("runbook_url", "")
    if runbook:
        grid.add_row("runbook", Text(runbook, style=f"underline link {runbook}" if "://" in runbook else "underline"))
    return grid


def _measured(seen: Observation) -> Text:
    return Text.assemble(
        f"{seen.quantity} ",
        (number(seen.value, seen.unit), "bold"),
        f" against {number(seen.baseline, seen.unit)} (threshold {number(seen.threshold, seen.unit)})",
    )


def _shares(shares: tuple[Share, ...]) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, style="magenta")
    grid.add_column(justify="right", no_wrap=True)
    largest = max((share.share_ratio for share in shares), default=0.0) or 1.0
    for share in shares[:_SHOWN]:
        bar = "━" * max(1, round(_BAR * share.share_ratio / largest))
        grid.add_row(Text(share.name), bar, f"{share.share_ratio:.0%}")
    if len(shares) > _SHOWN:
        grid.add_row(Text(f"and {len(shares) - _SHOWN} more", style="dim"), "", "")
    return grid


def _clock(at: str) -> str:
    return at[:19].replace("T", " ")


def _span(ms: int) -> str:
    seconds = max(0, ms) // 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
