"""``halcyon up``: everything on this machine, in the foreground, with one view of how it does."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape

from streams.cli.context import out, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.alerts import Alert
    from streams.cli.feed import Feed
    from streams.cli.stack import Stack
    from streams.cli.up_view import Overview

_ALERTS_SHOWN: Final = 8
_EVERY_S: Final = 1.0
_PLAIN_EVERY_S: Final = 30.0


def command(
    ctx: typer.Context,
    data: Annotated[Path, typer.Option("--data", help="Folder for what is started here; kept.")] = Path(".halcyon"),
    stages: Annotated[
        list[str] | None, typer.Option("--stage", help="Only these; each is a process. Commas put several into one.")
    ] = None,
) -> None:
    """Start Kafka, ClickHouse and all stages here, or use what the settings point at; Ctrl-C stops what was started.

    A part whose configured address answers is used as it is. Only parts at their default address are started here, and
    keep their data in the folder.
    """
    from schemas import alerts as alert_messages
    from streams.cli.feed import Feed
    from streams.cli.stack import READY_S, running, terminable
    from streams.supervisor import STAGES

    data.mkdir(parents=True, exist_ok=True)
    config = ctx.find_root().obj.config
    chosen = tuple(stages or STAGES)
    with terminable(), running(settings_of(ctx), data.resolve(), chosen, _say, fresh=False, config=config) as stack:
        stack.supervisor.wait_ready(READY_S, time.sleep)
        kafka = stack.settings.kafka
        topic = kafka.topic_prefix + "alerts"
        with Feed(kafka, topic, alert_messages.decode, from_start=False) as feed, _shown() as show:
            _watch(stack, feed, show)


def _say(words: str) -> None:
    out().print(f"[dim]{escape(words)}[/]", highlight=False)


def _watch(stack: "Stack", feed: "Feed[Alert]", show: "Callable[[Overview], None]") -> None:
    """Look and show, for ever; workers that ended are started again, and the view says how often."""
    recent: deque[Alert] = deque(maxlen=_ALERTS_SHOWN)
    while True:
        for alert in feed.take(_EVERY_S):
            recent.appendleft(alert)
        show(_overview(stack, tuple(recent)))
        for worker in stack.supervisor.restart_ended():
            _say(f"the {worker.stage} worker ended and was started again; its log: {worker.log_path}")


@contextmanager
def _shown() -> "Iterator[Callable[[Overview], None]]":
    """A function that shows the state: in place on a terminal, a line now and then elsewhere."""
    from rich.live import Live

    from streams.cli.up_view import plain, render

    if out().is_terminal:
        with Live(console=out(), auto_refresh=False, screen=False) as live:
            yield lambda overview: live.update(render(overview), refresh=True)
        return
    due_s = 0.0

    def show(overview: "Overview") -> None:
        nonlocal due_s
        if time.monotonic() >= due_s:
            due_s = time.monotonic() + _PLAIN_EVERY_S
            _say(f"Kafka {overview.kafka}, ClickHouse {overview.clickhouse}; {plain(overview)}")

    yield show


def _overview(stack: "Stack", alerts: "tuple[Alert, ...]") -> "Overview":
    from streams.cli.up_view import Overview, StageLine

    return Overview(
        kafka=stack.settings.kafka.bootstrap_servers,
        clickhouse=stack.settings.clickhouse.url,
        local=stack.local,
        stages=tuple(
            StageLine(w.stage, w.child.alive, w.restarts, w.url, str(w.log_path), w.page())
            for w in stack.supervisor.workers
        ),
        alerts=alerts,
    )
