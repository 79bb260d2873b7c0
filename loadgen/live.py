"""What a run looks like while it goes on: rate, how far behind, lag of the readers, what is injected now."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from loadgen.producer import Progress
from loadgen.truth import Expectation, Truth

_PLAIN_EVERY_S: Final = 10.0
_STYLES: Final = {Expectation.MUST: "bold red", Expectation.MAY: "yellow", Expectation.MUST_NOT: "cyan"}


def injected_at(truths: Sequence[Truth], ts_ms: int) -> list[Truth]:
    """What is on at an event time."""
    return [truth for truth in truths if truth.onset_ms <= ts_ms < truth.end_ms]


@dataclass(slots=True)
class LiveView:
    """Shows a run: a table that is redrawn in a terminal, else a line every ten seconds."""

    title: str
    truths: Sequence[Truth]
    console: Console
    _live: Live | None = None
    _rate: float = 0.0
    _seen: tuple[float, int] | None = None
    _plain_due_s: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, progress: Progress, lags: Mapping[str, int]) -> None:
        """Show how far it is."""
        now_s = time.monotonic()
        if self._seen is not None and now_s > self._seen[0]:
            self._rate = (progress.events - self._seen[1]) / (now_s - self._seen[0])
        self._seen = (now_s, progress.events)
        if self._live is not None:
            self._live.update(self.drawn(progress, lags), refresh=True)
        elif now_s >= self._plain_due_s:
            self._plain_due_s = now_s + _PLAIN_EVERY_S
            self.console.print(self._line(progress, lags), highlight=False, markup=False, soft_wrap=True)

    def drawn(self, progress: Progress, lags: Mapping[str, int]) -> Group:
        """The table and what is injected now."""
        table = Table(title=escape(self.title), title_justify="left", show_header=False)
        table.add_row("event time", _clock(progress.ts_ms))
        table.add_row("events", f"{progress.events:,}")
        table.add_row("rate", f"{self._rate:,.0f} events/s")
        late = f"{progress.behind_s:.2f} s behind its schedule, {progress.worst_behind_s:.2f} s at worst"
        table.add_row("generator", f"[bold red]{late}: the run is void[/]" if progress.fell_behind else late)
        for group, behind in lags.items():
            table.add_row(f"lag of {escape(group)}", f"{behind:,} messages")
        on = [
            Text(f"  {truth.injected or truth.injection} · {truth.entity} · {truth.name}", _STYLES[truth.expectation])
            for truth in injected_at(self.truths, progress.ts_ms)
        ]
        return Group(table, Text("injected now" if on else "nothing injected now", "dim"), *on)

    def _line(self, progress: Progress, lags: Mapping[str, int]) -> str:
        said = [
            _clock(progress.ts_ms),
            f"{progress.events:,} events",
            f"{self._rate:,.0f}/s",
            f"behind {progress.behind_s:.2f} s",
            *(f"{group} lags {behind:,}" for group, behind in lags.items()),
            *(f"[{truth.name}]" for truth in injected_at(self.truths, progress.ts_ms)),
        ]
        return " · ".join(said)


def _clock(ts_ms: int) -> str:
    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}" if ts_ms else "not begun"
