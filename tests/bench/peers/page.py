"""Tables for people, for a terminal and for docs/performance.md, and what was promised."""

from __future__ import annotations

import io
import os
import platform
import re
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.table import Table

from loadgen import plots
from tests.bench.peers.contest import CONTENDERS
from tests.bench.peers.environments import PINNED
from tests.bench.report import Promise

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.bench.peers.command import Found
    from tests.bench.peers.contest import Run
    from tests.bench.peers.latency import Latency

    ByScopes = Mapping[str, Mapping[int, Mapping[str, Sequence[Run]]]]

PAGE: Final = Path("docs/performance.md")
PICTURE: Final = Path("docs/images/peers.svg")
_BEGIN, _END = "<!-- peers: written by the command -->", "<!-- end of peers -->"
TITLES: Final = {contender.name: contender.title for contender in CONTENDERS}
_RATIOS: Final = (
    ("Halcyon, JSON, against Bytewax", "halcyon", "bytewax", 2.0),
    ("Halcyon, JSON, against stock Faust", "halcyon", "faust", 20.0),
    ("Halcyon, JSON, against stock Faust in memory", "halcyon", "faust-memory", 20.0),
    ("Halcyon, JSON, against the decode ceiling", "halcyon", "decode", 0.7),
    ("Halcyon, Arrow, against JSON", "arrow", "halcyon", 15.0),
)


def machine() -> dict[str, str]:
    """What it ran on."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "CPU": f"{os.cpu_count()} cores, {cpu[1] if cpu else platform.processor()}",
        "memory": f"{int(memory[1]) / 1024**2:.0f} GiB" if memory else "unknown",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "peers": ", ".join([*(f"{pins[0].replace('==', ' ')}" for pins in PINNED.values()), _of("faust-streaming")]),
        "clients": ", ".join(map(_of, ("aiokafka", "confluent-kafka", "msgspec", "numpy", "pyarrow"))),
    }


def _of(package: str) -> str:
    return f"{package} {version(package)}"


def throughput_table(runs: Mapping[str, Sequence[Run]]) -> Table:
    """Medians, with the least and the most of the rounds."""
    rounds = max((len(found) for found in runs.values()), default=0)
    table = _table(
        f"one worker, medians of {rounds} rounds (least … most)",
        "what", "events/s", "CPU µs/event", "events/s a core", "peak MB", "events",
    )  # fmt: skip
    for title, found in runs.items():
        rate, cpu = [run.per_s for run in found], [run.cpu_us for run in found]
        peak, events = statistics.median(run.rss_mb for run in found), found[0].events
        table.add_row(
            title, _spread(rate, ",.0f"), _spread(cpu, ".2f"), f"{1e6 / statistics.median(cpu):,.0f}", f"{peak:.0f}",
            f"{events:,}",
        )  # fmt: skip
    return table


def workers_table(runs: Mapping[int, Mapping[str, Sequence[Run]]]) -> Table:
    """Events a second and CPU by the number of workers."""
    table = _table(
        "workers", "what", *(f"{count} worker{'s' * (count > 1)}, events/s" for count in runs), "ratio",
        *(f"{count}, CPU µs/event" for count in runs),
    )  # fmt: skip
    for title in next(iter(runs.values()), {}):
        found = [per[title] for per in runs.values() if title in per]
        rates = [statistics.median(run.per_s for run in each) for each in found]
        cpus = [statistics.median(run.cpu_us for run in each) for each in found]
        ratio = f"{rates[-1] / rates[0]:.2f} ×"
        table.add_row(title, *(f"{rate:,.0f}" for rate in rates), ratio, *(f"{cpu:.2f}" for cpu in cpus))
    return table


def scopes_table(runs: ByScopes) -> Table:
    """CPU per event by the number of scopes."""
    sizes = list(next(iter(runs.values()), {}))
    table = _table("CPU µs/event by scopes", "load", "what", *(f"{size:,} scopes" for size in sizes), "most / least")
    for load, by_size in runs.items():
        for title in next(iter(by_size.values()), {}):
            cpu = [statistics.median(run.cpu_us for run in per[title]) for per in by_size.values() if title in per]
            table.add_row(load, title, *(f"{each:.2f}" for each in cpu), f"{max(cpu) / min(cpu):.2f} ×")
    return table


def latency_table(found: Mapping[str, Latency]) -> Table:
    """From a window's end to its answer."""
    rate = next(iter(found.values())).rate_per_s if found else 0
    table = _table(
        f"from a window's end to its answer at {rate:,.0f} events/s, 5 s of disorder allowed",
        "what", "p50 s", "p99 s", "windows", "generator behind s",
    )  # fmt: skip
    for title, said in found.items():
        p50, p99 = np.quantile(said.delays_s, [0.5, 0.99]).tolist() if said.delays_s else (float("nan"),) * 2
        windows = f"{len(said.delays_s)} of {said.expected}"
        table.add_row(title, f"{p50:.2f}", f"{p99:.2f}", windows, f"{said.behind_s:.2f}")
    return table


def promises(runs: Mapping[str, Sequence[Run]], scopes: ByScopes) -> list[Promise]:
    """What is promised, by wall and by CPU time: the ratio of each round, and the median of those."""
    found = []
    for text, fast, slow, floor in _RATIOS:
        pairs = list(zip(runs.get(TITLES[fast], ()), runs.get(TITLES[slow], ()), strict=False))
        if pairs:
            wall = statistics.median(one.per_s / other.per_s for one, other in pairs)
            cpu = statistics.median(other.cpu_us / one.cpu_us for one, other in pairs)
            found += [Promise(f"{text}, wall", wall, floor), Promise(f"{text}, CPU", cpu, floor)]
    if arrow := runs.get(TITLES["arrow"]):
        a_core = 1e6 / statistics.median(run.cpu_us for run in arrow)
        found.append(Promise("Halcyon, Arrow, events/s a core", a_core, 1_000_000, unit="events/s"))
    return found + [flat for load, by_size in scopes.items() for flat in _flat(load, by_size)]


def _flat(load: str, by_size: Mapping[int, Mapping[str, Sequence[Run]]]) -> Iterator[Promise]:
    for title in (TITLES["halcyon"], TITLES["arrow"]):
        costs = [statistics.median(run.cpu_us for run in per[title]) for per in by_size.values() if title in per]
        if len(costs) > 1:
            text = f"{title}: CPU per event, most against least scopes, {load}"
            yield Promise(text, max(costs) / min(costs), 1.5, at_most=True)


def write(found: Found, rounds: int, events: int, models: int) -> None:
    """Put tables and plot into the docs, between the marks that stand there."""
    parts = [
        f"{events:,} events of {models} models, {rounds} rounds. "
        + "; ".join(f"{name}: {what}" for name, what in machine().items())
        + "."
    ]
    if found.throughput:
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        PICTURE.write_text(_picture(found.throughput))
        parts += [_markdown(throughput_table(found.throughput)), f"![events a second of a core](images/{PICTURE.name})"]
    if found.workers:
        parts.append(_markdown(workers_table(found.workers)))
    if found.scopes:
        parts.append(_markdown(scopes_table(found.scopes)))
    if found.latency:
        parts.append(_markdown(latency_table(found.latency)))
    if kept := promises(found.throughput, found.scopes):
        parts.append(_markdown(_promised(kept)))
    text = PAGE.read_text()
    head, _, rest = text.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    PAGE.write_text(f"{head}{_BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{_END}{tail}")


def _promised(kept: Sequence[Promise]) -> Table:
    table = _table("promises", "promise", "seen", "promised", "")
    for promise in kept:
        bound = f"{'≤' if promise.at_most else '≥'} {promise.bound:,g} {promise.unit}"
        verdict = "kept" if promise.kept else "**missed**"
        table.add_row(promise.text, f"{promise.value:,.2f} {promise.unit}", bound, verdict)
    return table


def _picture(runs: Mapping[str, Sequence[Run]]) -> str:
    rates = {
        title.replace(", ", "\n").replace(": ", "\n"): 1e6 / statistics.median(run.cpu_us for run in found)
        for title, found in runs.items()
    }
    return plots.bars({"one core": rates}, y="events/s of a core")


def _spread(values: Sequence[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} … {max(values):{form}})"


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _markdown(table: Table) -> str:
    """The same table in Markdown, below its title."""
    text = io.StringIO()
    cells: list[list[Any]] = [list(column.cells) for column in table.columns]
    heads = [str(column.header) for column in table.columns]
    title = str(table.title)
    text.write(f"{title[0].upper()}{title[1:]}:\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n")
    for row in zip(*cells, strict=True):
        text.write(f"| {' | '.join(map(str, row))} |\n")
    return text.getvalue().rstrip()
