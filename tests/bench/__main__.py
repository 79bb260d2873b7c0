"""All benchmarks in one run, or some: ``python -m tests.bench [PART …] [--json FILE]``.

``python -m tests.bench peers`` is by itself: it makes environments for others' software, and takes half an hour.

Exits 1 when a promise is missed. Ratios travel between machines, seconds do not: see docs/performance.md.
"""

import argparse
import dataclasses
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from deploy.local.kafka import LocalKafka
from tests.bench import bench_backlog, bench_cost, bench_ingest, bench_loadgen, bench_memory, bench_timeliness, report
from tests.bench.peers import command as peers
from tests.bench.report import Promise

out: Final = Console(width=120, highlight=False)
Result = tuple[Any, list[Promise]]


def throughput() -> Result:
    """Ingest, the stock agent, the ceiling; JSON and Arrow."""
    with tempfile.TemporaryDirectory(prefix="halcyon-bench-") as folder, LocalKafka(Path(folder)) as kafka:
        out.print("writing the topics …")
        size = bench_ingest.fill(kafka.bootstrap)
        runs = bench_ingest.measure(kafka.bootstrap)
    out.print(report.throughput_table(runs, size))
    found = {title: [dataclasses.asdict(run) for run in rounds] for title, rounds in runs.items()}
    return {"message_bytes": size, "runs": found}, bench_ingest.promises(runs)


def cost() -> Result:
    """Work per event by the number of scopes."""
    costs = bench_cost.measure()
    out.print(report.cost_table(costs))
    return [dataclasses.asdict(each) for each in costs], []


def timeliness() -> Result:
    """Event to alert."""
    found = bench_timeliness.measure()
    out.print(report.timeliness_table(found))
    return dataclasses.asdict(found), found.promises()


def memory() -> Result:
    """Resident memory of ingest and analyse."""
    found = bench_memory.measure()
    out.print(report.memory_table(found))
    promises = [promise for each in found for promise in each.promises()]
    return [dataclasses.asdict(each) for each in found], promises


def backlog() -> Result:
    """A backlog worked off, and rows that wait for a database that is away."""
    found = bench_backlog.measure()
    out.print(report.backlog_table(found))
    return dataclasses.asdict(found), found.promises()


def loadgen() -> Result:
    """What the generator costs."""
    costs = bench_loadgen.measure()
    out.print(report.loadgen_table(costs))
    return [dataclasses.asdict(cost) for cost in costs], bench_loadgen.promises(costs)


PARTS: Final[dict[str, Callable[[], Result]]] = {
    "throughput": throughput,
    "cost": cost,
    "timeliness": timeliness,
    "memory": memory,
    "backlog": backlog,
    "loadgen": loadgen,
}


def main() -> int:
    """Run what is asked for; 1 when a promise is missed."""
    if sys.argv[1:2] == ["peers"]:
        return peers.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--json", type=Path, default=Path(".cache/bench.json"), help="where the figures go")
    given = parser.parse_args()
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    found: dict[str, Any] = {"machine": machine}
    promises: list[Promise] = []
    for name in given.parts or PARTS:
        out.rule(name)
        found[name], kept = PARTS[name]()
        promises += kept
    found["promises"] = [dataclasses.asdict(promise) | {"kept": promise.kept} for promise in promises]
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(found, indent=1))
    out.rule("promises")
    for promise in promises:
        out.print(f"[{'green' if promise.kept else 'red'}]{promise}[/]")
    out.print(f"figures: {given.json}")
    return int(not all(promise.kept for promise in promises))


if __name__ == "__main__":
    raise SystemExit(main())
