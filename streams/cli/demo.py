"""``halcyon demo``: start everything, inject known faults into an hour of event time played in two minutes, score."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape

from streams.cli.context import err, out
from streams.errors import HalcyonError

if TYPE_CHECKING:
    from loadgen.playing import Playing
    from loadgen.scenarios import Scenario
    from loadgen.score.scorecard import Scorecard
    from schemas.alerts import Alert
    from streams.cli.demo_view import DemoView, Pulse
    from streams.cli.stack import Stack
    from streams.config import Settings

_PLAYED_SHARE: Final = 0.9
"""Of the minutes asked for; the rest is for starting and draining."""
_DRAIN_S: Final = 30.0
_SETTLE_S: Final = 3.0
_TAIL_LINES: Final = 12


def command(
    minutes: Annotated[float, typer.Option(min=0.5, max=60, help="How long it shall take, about.")] = 2.0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running afterwards, until Ctrl-C, and keep the data.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another hour of traffic.")] = 7,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scorecard here too.")] = None,
) -> None:
    """Watch Halcyon find known faults.

    Starts Kafka, ClickHouse and a worker per stage in a temporary folder, plays an hour of predictions of three models
    with four faults in it, prints alerts as they fire beside what was injected, and scores them. Exit code 0 only if
    every fault was found and nobody was paged for anything else.
    """
    from dataclasses import replace

    from loadgen.scenarios import demo
    from streams.cli.demo_view import DemoView
    from streams.cli.replay import load_errors
    from streams.cli.stack import terminable

    scenario = replace(demo(), seed=seed)
    with terminable(), load_errors(), _folder(keep=keep) as folder, DemoView(out()) as view:
        card = _perform(scenario, folder, minutes * 60 * _PLAYED_SHARE, view, keep=keep)
        if json_file is not None:
            from loadgen.score.scorecard import to_json

            json_file.write_bytes(to_json(card))
        if not card.passed:
            raise typer.Exit(1)


def _perform(scenario: "Scenario", folder: Path, wall_s: float, view: "DemoView", *, keep: bool) -> "Scorecard":
    from loadgen.score.scorecard import score
    from streams.cli.stack import READY_S, running
    from streams.supervisor import STAGES

    settings = _settings(folder)
    with running(settings, folder, STAGES, view.say, fresh=True, config=folder / "halcyon.yaml") as stack:
        stack.supervisor.wait_ready(READY_S, time.sleep)
        view.say(f"ready: Kafka {stack.settings.kafka.bootstrap_servers}, ClickHouse {stack.settings.clickhouse.url}")
        with _played(scenario, stack, wall_s) as playing:
            view.truths = playing.truths
            alerts = _watch(playing, stack, view)
        card = score(playing.truths, alerts, scenario.grace_s * 1000)
        view.finish()
        _account(card, stack, playing, folder)
        if keep:
            _stay(stack, folder)
        view.say("stopping")
    view.say("everything is stopped")
    return card


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="halcyon-demo-"))
    failed = True
    try:
        yield folder
        failed = False
    finally:
        if keep:
            err().print(f"data and logs are in {folder}", highlight=False)
        elif failed and (folder / "logs").exists():
            for part in ("kafka", "clickhouse", "run"):
                shutil.rmtree(folder / part, ignore_errors=True)
            err().print(f"logs are in {folder / 'logs'}", highlight=False)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _settings(folder: Path) -> "Settings":
    """The demo's own settings, in a file for the workers too: a halcyon.yaml nearby does not change what it shows."""
    import yaml

    from loadgen.scenarios import LATENCY_LIMIT_MS
    from streams.config import load_settings

    limit = {"model": "chat-llm", "limit_ms": LATENCY_LIMIT_MS}
    knobs = {
        # Small traffic: fewer partitions cost less to start and to poll.
        "topics": {"partitions": 4},
        # Event time runs thirty times as fast: a baseline's way to ingest takes as many times longer in it.
        "baseline": {"lead_s": 240},
        # The limit is a promise: breaking it pages, by however little.
        "alerts": {"page_confidence_ratio": 0.5},
        "detect": {"latency_limit": {"minutes": 3, "limits": [limit]}},
    }
    file = folder / "halcyon.yaml"
    file.write_text(yaml.safe_dump(knobs), encoding="utf-8")
    return load_settings(file, env={})


@contextmanager
def _played(scenario: "Scenario", stack: "Stack", wall_s: float) -> "Iterator[Playing]":
    from loadgen.playing import Playing, Schedule
    from loadgen.producer import KafkaSink
    from streams.clock import SystemClock
    from streams.connections import client_config

    kafka = stack.settings.kafka
    sink = KafkaSink(client_config(kafka), kafka.source("predictions"))
    schedule = Schedule.catching_up(scenario, SystemClock().now_ms(), wall_s)
    playing = Playing(scenario, schedule, sink)
    playing.start()
    try:
        yield playing
    finally:
        playing.stop()


def _watch(playing: "Playing", stack: "Stack", view: "DemoView") -> "list[Alert]":
    """Show alerts until everything was played and analysed; return all of them."""
    from loadgen.score.scorecard import explained_by
    from schemas import alerts as alert_messages
    from schemas import findings
    from streams.cli.feed import Feed

    kafka, grace_ms = stack.settings.kafka, playing.scenario.grace_s * 1000
    analysed: dict[int, int] = {}
    alerts: list[Alert] = []
    drained_at: float | None = None
    begun = time.monotonic()
    played_s = 0.0
    with (
        Feed(kafka, kafka.topic_prefix + "alerts", alert_messages.decode) as alert_feed,
        Feed(kafka, kafka.topic_prefix + "findings", findings.decode) as finding_feed,
    ):
        while drained_at is None or time.monotonic() < drained_at + _SETTLE_S:
            for alert in alert_feed.take(0.2):
                alerts.append(alert)
                view.alert(alert, explained_by(playing.truths, alert, grace_ms))
            for message in finding_feed.take():
                if isinstance(message, findings.Progress):
                    analysed[message.source_partition] = message.through_ms
            stack.supervisor.check()
            playing.check()
            now = time.monotonic()
            played_s = played_s if playing.done else now - begun
            view.pulse(_pulse(playing, analysed, now - begun, played_s))
            if drained_at is None and playing.done:
                reached = min(analysed.values(), default=0) >= playing.end_ms - 60_000
                if reached or now - begun > played_s + _DRAIN_S:
                    drained_at = now
    return alerts


def _pulse(playing: "Playing", analysed: dict[int, int], wall_s: float, played_s: float) -> "Pulse":
    from streams.cli.demo_view import Pulse

    progress = playing.progress
    return Pulse(
        wall_s=wall_s,
        event_ms=progress.ts_ms or playing.schedule.start_ms,
        analysed_ms=min(analysed.values(), default=None),
        events=progress.events,
        events_per_s=progress.events / played_s if played_s else 0.0,
        behind_s=progress.behind_s,
    )


def _account(card: "Scorecard", stack: "Stack", playing: "Playing", folder: Path) -> None:
    """Print the scorecard, the query that shows the drift with its answer, and, after a failure, why."""
    from loadgen.score.scorecard import table, verdict

    console = out()
    console.print(table(card))
    colour = "green" if card.passed else "red"
    console.print(f"\n[bold {colour}]{'passed' if card.passed else 'failed'}[/]: {verdict(card)}", highlight=False)
    for episode in (*card.false_pages, *card.false_tickets):
        console.print(f"  [yellow]not injected:[/] {episode.severity} {escape(episode.summary)}", highlight=False)
    progress = playing.progress
    if progress.fell_behind:
        console.print(
            f"[yellow]The generator fell behind by up to {progress.worst_behind_s:.1f} s: this machine is busy.[/]"
        )
    _show_drift(stack, playing)
    if not card.passed:
        _show_logs(folder)


def _show_drift(stack: "Stack", playing: "Playing") -> None:
    from schemas.clickhouse import literal
    from streams.sinks.clickhouse import ClickHouse

    truth = playing.truths[0]
    parameters = {"model": truth.entity, "quantity": f"features.{truth.target}"}
    shown = DRIFT_SQL
    for name, value in parameters.items():
        shown = shown.replace(f"{{{name}:String}}", literal(value))
    client = ClickHouse(stack.settings.clickhouse, stack.settings.clickhouse.database)
    try:
        answer = client.formatted(DRIFT_SQL, "PrettyCompactMonoBlock", parameters).decode()
    except HalcyonError as error:
        answer = f"no answer: {error}"
    finally:
        client.close()
    console = out()
    console.print(
        f"\n[bold]The drift of {escape(truth.entity)}, asked in SQL:[/]\n\n[dim]{escape(shown)}[/]", highlight=False
    )
    console.print(answer, markup=False, highlight=False, no_wrap=True, soft_wrap=True)


DRIFT_SQL: Final = """\
SELECT formatDateTime(w.start, '%H:%i') AS from, w.rows AS rows, round(w.mean, 1) AS mean,
       round(w.p50, 1) AS p50, round(w.p95, 1) AS p95, round(s.psi, 3) AS worst_psi,
       s.minutes AS minutes_firing, bar(s.psi, 0, 1, 20) AS drift
FROM windows AS w
LEFT JOIN (
    SELECT toStartOfFiveMinutes(start) AS start, max(score) AS psi, countIf(firing) AS minutes
    FROM scores
    WHERE model = {model:String} AND quantity = {quantity:String} AND segment = ''
      AND detector = 'psi' AND window_s = 60
    GROUP BY start
) AS s ON s.start = w.start
WHERE w.model = {model:String} AND w.quantity = {quantity:String} AND w.segment = ''
  AND w.window_s = 300
ORDER BY w.start"""


def _show_logs(folder: Path) -> None:
    from deploy.local.process import tail

    for log in sorted((folder / "logs").glob("*.log")):
        if lines := tail(log, _TAIL_LINES):
            err().print(f"\n[bold]end of {log.name}[/]\n{escape(lines)}", highlight=False)


def _stay(stack: "Stack", folder: Path) -> None:
    kafka, clickhouse = stack.settings.kafka, stack.settings.clickhouse
    out().print(
        f"\nStill running, data in {folder}. Ask it:\n"
        f"  HALCYON_CLICKHOUSE__URL={clickhouse.url} halcyon sql\n"
        f"  HALCYON_KAFKA__BOOTSTRAP_SERVERS={kafka.bootstrap_servers} halcyon alerts tail\n"
        "Ctrl-C ends it.",
        highlight=False,
    )
    while True:
        time.sleep(1.0)
        stack.supervisor.check()
