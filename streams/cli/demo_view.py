"""What the demo shows: injected faults and alerts side by side as they come, a line of progress, and the account."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from schemas.alerts import Alert, Status, rfc3339

if TYPE_CHECKING:
    from loadgen.truth import Truth

_PLAIN_EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Pulse:
    """How the demo stands: event times in ms, rates per second of the clock."""

    wall_s: float
    event_ms: int
    analysed_ms: int | None
    events: int
    events_per_s: float
    behind_s: float

    def line(self) -> str:
        """All of it in one line."""
        analysed = "–" if self.analysed_ms is None else clock_time(self.analysed_ms)
        behind = f", generator {self.behind_s:.1f} s behind" if self.behind_s > 1 else ""
        return (
            f"{self.wall_s:4.0f} s  event time {clock_time(self.event_ms)}, analysed to {analysed}, "
            f"{self.events:,} events, {self.events_per_s:,.0f}/s{behind}"
        )


@dataclass(slots=True)
class DemoView:
    """Prints above a line that is rewritten in place; without a terminal the line comes every ten seconds instead."""

    console: Console
    truths: Sequence["Truth"] = ()
    _live: Live | None = None
    _announced: set[str] = field(default_factory=set)
    _plain_due_s: float = 0.0
    _begun_s: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(Text(""), console=self.console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> None:
        """Take the line of progress away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, words: str) -> None:
        """Print a step."""
        since_s = time.monotonic() - self._begun_s
        self.console.print(f"[dim]{since_s:4.0f} s  {escape(words)}[/]", highlight=False)

    def pulse(self, pulse: Pulse) -> None:
        """Show how it stands, and say which faults have begun or ended since."""
        for truth in self.truths:
            self._announce(truth, pulse.event_ms, begins=True)
            self._announce(truth, pulse.event_ms, begins=False)
        if self._live is not None:
            self._live.update(Text(pulse.line(), style="cyan"))
        elif pulse.wall_s >= self._plain_due_s:
            self._plain_due_s = pulse.wall_s + _PLAIN_EVERY_S
            self.console.print(pulse.line(), highlight=False)

    def alert(self, alert: Alert, truth: "Truth | None") -> None:
        """Print an alert event and what it is about."""
        from streams.cli.render import render_alert

        self.console.print(render_alert(alert))
        if alert.status is not Status.FIRING:
            return
        if truth is None:
            self.console.print("  [yellow]nothing injected explains this[/]", highlight=False)
        else:
            self.console.print(
                f"  [green]injected:[/] {escape(truth.name)} ({escape(truth.injected)}) "
                f"since {clock_time(truth.onset_ms)}",
                highlight=False,
            )

    def _announce(self, truth: "Truth", event_ms: int, *, begins: bool) -> None:
        at_ms = truth.onset_ms if begins else truth.end_ms
        key = f"{truth.name}/{begins}"
        if event_ms < at_ms or key in self._announced:
            return
        self._announced.add(key)
        mark, verb = ("[magenta]▶[/]", "injected") if begins else ("[magenta]■[/]", "ended")
        self.console.print(
            f"{mark} {clock_time(at_ms)} {verb}: [bold]{escape(truth.name)}[/], "
            f"{escape(truth.entity)}, {escape(truth.injected)}",
            highlight=False,
        )


def clock_time(ms: int) -> str:
    """Hours, minutes and seconds of a time, UTC."""
    return rfc3339(ms)[11:19]
