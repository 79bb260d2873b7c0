"""Halcyon beside its peers, one job, one run: ``python -m tests.bench peers [PART …]``.

Contenders run one after the other within each round, each in processes of its own, so that what else the machine does
hits all of them; a ratio is the median of the rounds' ratios. See docs/performance.md.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from deploy.local.kafka import LocalKafka
from tests.bench.peers import page
from tests.bench.peers.contest import CONTENDERS, Contender, Run, Task, WrongAnswerError, run_once
from tests.bench.peers.environments import PINNED, interpreter
from tests.bench.peers.latency import Latency, measure
from tests.bench.peers.workload import Workload, fill

out: Final = Console(width=120, highlight=False)
PARTS: Final = ("throughput", "workers", "scopes", "latency")
_ARROW_MORE: Final = 5
"""Times as many events in Arrow: else it were over before a clock has ticked often enough."""
_FAST: Final = ("halcyon", "arrow", "bytewax", "quix")
_BY_SCOPES: Final = ("halcyon", "arrow", "bytewax")
_GROUP_DELAY_MS: Final = "3000"
"""The first of several workers waits for the others, or it would begin with all partitions and hand half of them on."""


@dataclass(slots=True)
class Found:
    """All that was measured: contender's title → runs, round by round."""

    throughput: dict[str, list[Run]] = field(default_factory=dict)
    workers: dict[int, dict[str, list[Run]]] = field(default_factory=dict)
    scopes: dict[str, dict[int, dict[str, list[Run]]]] = field(default_factory=dict)
    latency: dict[str, Latency] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    rounds: int
    events: int
    short_events: int
    models: int
    live_rate_per_s: float
    live_s: float
    contenders: tuple[Contender, ...]

    def chosen(self, names: Sequence[str]) -> list[Contender]:
        """Of these contenders, those that were asked for."""
        return [contender for contender in self.contenders if contender.name in names]


@contextmanager
def _broker() -> Iterator[LocalKafka]:
    properties = {"group.initial.rebalance.delay.ms": _GROUP_DELAY_MS}
    with (
        tempfile.TemporaryDirectory(prefix="halcyon-peers-") as folder,
        LocalKafka(Path(folder), properties=properties) as kafka,
    ):
        yield kafka


def _tasks(kafka: LocalKafka, workload: Workload, contenders: Sequence[Contender], name: str) -> dict[str, Task]:
    """Write what these contenders read; contender → what it is given."""
    truth, tasks = workload.truth(), {}
    for encoding in dict.fromkeys(contender.encoding for contender in contenders):
        batches = workload.json() if encoding == "json" else workload.arrow()
        fill(kafka.bootstrap, f"{name}{encoding}.", batches)
    for each in contenders:
        prefix = f"{name}{each.encoding}."
        tasks[each.name] = Task(kafka.bootstrap, prefix, workload.counted, workload.flush_ms, truth)
    return tasks


def _rounds(contenders: Sequence[Contender], tasks: Mapping[str, Task], rounds: int) -> dict[str, list[Run]]:
    """All of them, round by round; one that gives a wrong answer is told and is out."""
    runs: dict[str, list[Run]] = {contender.title: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders:
            if len(runs[contender.title]) < number:
                continue
            try:
                run = run_once(contender, tasks[contender.name])
            except WrongAnswerError as error:
                out.print(f"[red]{error}[/]")
                continue
            runs[contender.title].append(run)
            out.print(f"  {contender.title}: {run.per_s:,.0f} events/s, {run.cpu_us:.2f} µs of CPU", style="dim")
    return {title: found for title, found in runs.items() if found}


def throughput(sizes: Sizes, found: Found) -> None:
    """Everyone, on one worker."""
    groups = {
        "long.": ([each for each in sizes.contenders if not each.slow and each.encoding == "json"], sizes.events),
        "short.": ([each for each in sizes.contenders if each.slow], sizes.short_events),
        "more.": ([each for each in sizes.contenders if each.encoding == "arrow"], sizes.events * _ARROW_MORE),
    }
    with _broker() as kafka:
        out.print("writing the topics …")
        tasks: dict[str, Task] = {}
        for name, (contenders, events) in groups.items():
            workload = Workload(events, int(time.time() * 1000), sizes.models)
            tasks |= _tasks(kafka, workload, contenders, name) if contenders else {}
        found.throughput = _rounds(sizes.contenders, tasks, sizes.rounds)
    out.print(page.throughput_table(found.throughput))


def workers(sizes: Sizes, found: Found) -> None:
    """One worker, and two that share the partitions."""
    chosen = sizes.chosen(_FAST)
    with _broker() as kafka:
        tasks = _tasks(kafka, Workload(sizes.events, int(time.time() * 1000), sizes.models), chosen, "")
        for count in (1, 2):
            shared = {name: dataclasses.replace(task, workers=count) for name, task in tasks.items()}
            found.workers[count] = _rounds(chosen, shared, sizes.rounds)
    out.print(page.workers_table(found.workers))


def scopes(sizes: Sizes, found: Found) -> None:
    """More and more scopes: at the same rate, and at a rate that grows with them."""
    chosen = sizes.chosen(_BY_SCOPES)
    for name, rate in (("200 events a scope and window", 20.0), ("20,000 events/s in all", 0.0)):
        found.scopes[name] = {}
        for models in (100, 1_000, 10_000):
            per_s = rate * models or 20_000.0
            # A whole window at least, or there is no cost of a window to see.
            workload = Workload(max(sizes.events, int(per_s * 10)), int(time.time() * 1000), models, per_s)
            with _broker() as kafka:
                tasks = _tasks(kafka, workload, chosen, "")
                found.scopes[name][models] = _rounds(chosen, tasks, min(sizes.rounds, 3))
    out.print(page.scopes_table(found.scopes))


def latency(sizes: Sizes, found: Found) -> None:
    """From a window's end to its answer."""
    for contender in sizes.contenders:
        if contender.answers and contender.encoding == "json":
            with _broker() as kafka:
                said = measure(contender, kafka.bootstrap, sizes.models, sizes.live_rate_per_s, sizes.live_s)
            found.latency[contender.title] = said
            out.print(f"  {contender.title}: {len(said.delays_s)} of {said.expected} windows", style="dim")
    out.print(page.latency_table(found.latency))


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; 1 when a promise is missed."""
    given = _parser().parse_args(arguments)
    known = [contender.name for contender in CONTENDERS]
    wanted = given.only.split(",") if given.only else known
    if unknown := set(wanted) - set(known) or set(given.parts) - set(PARTS):
        raise SystemExit(
            f"unknown: {', '.join(sorted(unknown))}; contenders: {', '.join(known)}; parts: {', '.join(PARTS)}"
        )
    chosen = tuple(contender for contender in CONTENDERS if contender.name in wanted)
    for name in PINNED.keys() & {contender.kind for contender in chosen}:
        interpreter(name)
    sizes = Sizes(
        given.rounds, given.events, given.short_events, given.models, given.live_rate, given.live_s, chosen
    )  # fmt: skip
    found = Found()
    for name in given.parts or PARTS:
        out.rule(name)
        {"throughput": throughput, "workers": workers, "scopes": scopes, "latency": latency}[name](sizes, found)
    kept = page.promises(found.throughput, found.scopes)
    for promise in kept:
        out.print(f"[{'green' if promise.kept else 'red'}]{promise}[/]")
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(_plain(found, sizes), indent=1))
    out.print(f"figures: {given.json}")
    if given.write:
        page.write(found, sizes.rounds, sizes.events, sizes.models)
    return int(not all(promise.kept for promise in kept))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench peers", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--only", default="", help="contenders, comma-separated; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=600_000, help="in the topic that most read")
    parser.add_argument("--short-events", type=int, default=30_000, help="in the topic for those that need minutes")
    parser.add_argument("--models", type=int, default=100, help="each is one scope")
    parser.add_argument("--live-rate", type=float, default=500.0, help="events a second, for latency")
    parser.add_argument("--live-s", type=float, default=75.0, help="seconds of it")
    parser.add_argument("--json", type=Path, default=Path(".cache/bench-peers.json"), help="where the figures go")
    parser.add_argument("--write", action="store_true", help="put the tables and the plot into docs/performance.md")
    return parser


def _plain(found: Found, sizes: Sizes) -> dict[str, Any]:
    told = dataclasses.asdict(found)
    told["sizes"] = {"rounds": sizes.rounds, "events": sizes.events, "models": sizes.models}
    told["machine"] = page.machine()
    return told
