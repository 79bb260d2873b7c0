"""``halcyon-loadgen soak``: hours of constant load on a running installation, and whether it stood them."""

import os
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape

from loadgen.connecting import client_config
from loadgen.playing import Schedule
from loadgen.producer import LoadError
from loadgen.run import Running
from loadgen.scenarios import Scenario, load
from loadgen.share import Encoding, Plan
from loadgen.soak import capacity, staging
from loadgen.soak.recording import Begun, Injected, Load, Recording
from loadgen.soak.recording import load as load_recording
from loadgen.soak.report import html
from loadgen.soak.verdict import Check, judge
from loadgen.soak.watching import Journal, Watch, workers_in

_BOOTSTRAP: Final = "127.0.0.1:9092"
_LEAD_S: Final = 5.0
_LISTEN_S: Final = 1.0
_SETTLE_S: Final = 5.0
_AHEAD: Final = 4
"""Seconds of load that are made before they are due: more would be gigabytes at high rates."""
_JOURNAL: Final = "soak.jsonl"
_REPORT: Final = "soak.html"
_PLAIN_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Target:
    """Where the load goes, and how."""

    scenario: Scenario
    kafka: dict[str, str]
    topic_prefix: str
    encoding: Encoding
    processes: int
    workers: Mapping[str, str]
    folder: Path

    def plan(self, spec: Any) -> Plan:  # noqa: ANN401 - ScenarioFile
        """The plan of one stretch of load that begins in a moment, event time being the clock's."""
        path = staging.write(spec, self.folder / "soak-scenario.yaml")
        now_ms = time.time_ns() // 1_000_000  # noqa: TID251 - the schedule's only look at the clock
        schedule = Schedule.ending_now(now_ms + round(_LEAD_S * 1000), spec.duration_s, 1.0)
        # Event time begins at a whole second of the clock: what is 60 s old already would be late.
        schedule = replace(schedule, start_ms=schedule.begin_ms - schedule.begin_ms % 1000)
        return Plan(
            str(path), self.scenario.seed, schedule, time.monotonic() + _LEAD_S, spec.duration_s, self.kafka,
            topic_prefix=self.topic_prefix, encoding=self.encoding, ahead=_AHEAD,
        )  # fmt: skip


def command(
    scenario: Annotated[str, typer.Argument(help="Whose models and faults are played.")] = "demo",
    *,
    hours: Annotated[float, typer.Option(min=0.02, help="How long.")] = 1.0,
    share: Annotated[float, typer.Option(min=0.05, max=1.0, help="Load as a share of the capacity.")] = 0.7,
    capacity_per_s: Annotated[
        float, typer.Option(min=0.0, help="Events a second that the installation sustains; 0: it is measured first.")
    ] = 0.0,
    step_s: Annotated[
        int, typer.Option(min=10, help="How long each rate is held while the capacity is measured.")
    ] = 30,
    warm_up_s: Annotated[float, typer.Option(min=0.0, help="Not judged; 0: a quarter of the time.")] = 0.0,
    burst_ratio: Annotated[float, typer.Option(min=1.0, help="Load in a burst, as a share of the load.")] = 1.3,
    workers: Annotated[Path, typer.Option(help="Folder of the *.url files that workers leave.")] = Path(".halcyon/run"),
    bootstrap: Annotated[str, typer.Option(help="Brokers to start from, host:port, comma-separated.")] = _BOOTSTRAP,
    kafka: Annotated[list[str], typer.Option(help="More settings of librdkafka, name=value: TLS, log-in.")] = [],  # noqa: B006
    topic_prefix: Annotated[str, typer.Option(help="Put before every topic.")] = "",
    encoding: Annotated[Encoding, typer.Option(help="An event per message, or Arrow IPC streams.")] = Encoding.JSON,
    processes: Annotated[int, typer.Option(min=1, max=64, help="That share the work of the generator.")] = 1,
    seed: Annotated[int | None, typer.Option(min=0, help="Another run of the same kind.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the recording and the report.")] = Path("soak"),
    again: Annotated[Path | None, typer.Option(help="Judge and draw this recording; nothing is played.")] = None,
) -> None:
    """Hold an installation at a share of its capacity for hours; fails when memory grows or lag does not come back."""
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    if again is not None:
        _conclude(_recorded(again), out, console)
        return
    with tempfile.TemporaryDirectory(prefix="halcyon-soak-") as folder:
        target = _Target(
            load(scenario, seed=seed), client_config(bootstrap, kafka), topic_prefix, encoding,
            processes, workers_in(workers), Path(folder),
        )  # fmt: skip
        found = capacity_per_s or _measured(target, step_s, console)
        duration_s = round(hours * 3600)
        begun = Begun(
            at_s=time.time(),  # noqa: TID251 - a test of hours has a date
            duration_s=duration_s,
            warm_up_s=warm_up_s or duration_s / 4,
            capacity_per_s=found,
            rate_per_s=found * share,
            scenario=target.scenario.name,
            seed=target.scenario.seed,
            machine=_machine(),
        )
        recording = _endure(target, begun, burst_ratio, out / _JOURNAL, console)
    _conclude(recording, out, console)


def _measured(target: _Target, step_s: int, console: Console) -> float:
    """Search for the rate that is sustained."""
    ramp, watch = capacity.Ramp(), _watch(target, lambda _: None)
    while not ramp.done:
        rate = ramp.rate_per_s
        spec = staging.quiet(staging.at_rate(target.scenario, rate), step_s)
        with Running(target.processes) as running:
            before = watch.lag_events()
            running.begin(target.plan(spec))
            while not running.listen(_LISTEN_S):
                pass
            after, behind_s = watch.lag_events(), running.progress.worst_behind_s
        good = capacity.held(rate, before, after, behind_s)
        word = "held" if good else "not held"
        console.print(
            f"{rate:9,.0f} events/s: {word} (lag {before:,.0f} → {after:,.0f}, generator {behind_s:.1f} s behind)",
            highlight=False,
        )
        ramp.judged(held=good)
        _drained(watch, rate)
    if not ramp.sustained_per_s:
        raise LoadError("not even the first rate was sustained: look at the workers' /readyz before testing them")
    console.print(f"capacity: {ramp.sustained_per_s:,.0f} events/s", highlight=False, soft_wrap=True)
    return ramp.sustained_per_s


def _drained(watch: Watch, rate_per_s: float) -> None:
    """Wait until what a step has left is read: it would count against the next."""
    deadline_s = time.monotonic() + 60
    while watch.lag_events() > rate_per_s / 2 and time.monotonic() < deadline_s:
        time.sleep(0.5)
    time.sleep(_SETTLE_S)


def _endure(target: _Target, begun: Begun, burst_ratio: float, path: Path, console: Console) -> Recording:
    steady = staging.at_rate(target.scenario, begun.rate_per_s)
    spec, recording, shown_s = staging.endless(steady, round(begun.duration_s), burst_ratio), Recording(begun), 0.0
    with path.open("wb") as file, Running(target.processes) as running:
        journal = Journal(file, recording)
        journal.add(begun)
        plan = target.plan(spec)
        running.begin(plan)
        for truth in plan.load().truths(plan.schedule.start_ms):
            journal.add(Injected(truth))
        with _watch(target, journal.add):
            while not running.listen(_LISTEN_S):
                progress = running.progress
                journal.add(Load(time.time(), progress.events, progress.behind_s))  # noqa: TID251 - as above
                if time.monotonic() - shown_s > _PLAIN_EVERY_S:
                    shown_s = time.monotonic()
                    console.print(_line(recording), highlight=False, soft_wrap=True)
    return recording


def _watch(target: _Target, add: Any) -> Watch:  # noqa: ANN401 - a function of an entry
    topic = target.topic_prefix + "alerts"
    return Watch(target.workers, add, time.time, consumer_config=target.kafka, alert_topic=topic)  # noqa: TID251 - as above


def _line(recording: Recording) -> str:
    last = [readings[-1] for readings in recording.readings.values()]
    memory = ", ".join(f"{reading.worker} {reading.rss_bytes / 1e6:.0f} MB" for reading in last)
    lag = sum(reading.lag_events for reading in last)
    events = recording.loads[-1].events if recording.loads else 0
    since_s = recording.loads[-1].at_s - recording.begun.at_s if recording.loads else 0.0
    return f"{since_s / 60:5.0f} min  {events:,} events, lag {lag:,.0f}, {len(recording.heard)} alerts; {memory}"


def _recorded(path: Path) -> Recording:
    try:
        return load_recording(path)
    except (OSError, ValueError) as error:
        raise LoadError(str(error)) from error


def _conclude(recording: Recording, out: Path, console: Console) -> None:
    try:
        checks: list[Check] = judge(recording)
    except ValueError as error:
        raise LoadError(str(error)) from error
    (out / _REPORT).write_text(html(recording, checks), encoding="utf-8")
    for check in checks:
        mark = "[green]✓[/]" if check.ok else "[red]✗[/]"
        console.print(f"{mark} {escape(check.words)}", highlight=False, soft_wrap=True)
    failed = sum(not check.ok for check in checks)
    console.print(
        f"{'passed' if not failed else f'failed: {failed} checks'}; report: {out / _REPORT}",
        highlight=False,
        soft_wrap=True,
    )
    if failed:
        raise typer.Exit(1)


def _machine() -> str:
    system = f"{platform.system()} {platform.release()}"
    return f"{os.cpu_count()} cores, {platform.machine()}, {system}, Python {platform.python_version()}"
