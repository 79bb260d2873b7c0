"""Tables for people, and whether what is promised was kept."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.bench_backlog import Backlog
    from tests.bench.bench_cost import Cost
    from tests.bench.bench_ingest import Run
    from tests.bench.bench_loadgen import Cost as LoadgenCost
    from tests.bench.bench_memory import Memory
    from tests.bench.bench_timeliness import Timeliness


@dataclass(frozen=True, slots=True)
class Promise:
    """A figure and its bound: at least ``bound``, or at most when ``at_most``."""

    text: str
    value: float
    bound: float
    at_most: bool = False
    unit: str = "×"

    @property
    def kept(self) -> bool:
        """Whether the figure is within its bound."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        verdict = "kept" if self.kept else "MISSED"
        return f"{verdict:7} {self.text}: {self.value:,.2f} {self.unit}, promised {sign} {self.bound:g} {self.unit}"


def throughput_table(runs: Mapping[str, Sequence[Run]], message_bytes: int) -> Table:
    """Medians of all rounds."""
    rounds = len(next(iter(runs.values())))
    table = _table(
        f"predictions of {message_bytes} bytes, medians of {rounds} rounds",
        "what", "events/s", "µs/event", "CPU µs/event", "peak MB",
    )  # fmt: skip
    for title, found in runs.items():
        wall, cpu = (statistics.median(run.wall_us for run in found), statistics.median(run.cpu_us for run in found))
        peak = statistics.median(run.rss_mb for run in found)
        table.add_row(title, f"{1e6 / wall:,.0f}", f"{wall:.2f}", f"{cpu:.2f}", f"{peak:.0f}")
    return table


def cost_table(costs: Sequence[Cost]) -> Table:
    """Work of ingest by the number of scopes."""
    table = _table("CPU µs per event", "encoding", "scopes", "decode", "sum", "emit", "all")
    for cost in costs:
        parts = (cost.decode_us, cost.sum_us, cost.emit_us)
        table.add_row(cost.encoding, f"{cost.scopes:,}", *(f"{part:.2f}" for part in (*parts, sum(parts))))
    return table


def timeliness_table(found: Timeliness) -> Table:
    """Delays by alert, and what each process used."""
    table = _table(
        f"from the beginning of the window to the alert, at {found.rate_per_s:,.0f} events/s",
        "alert", "alerts", "p50 s", "p99 s", "longest s",
    )  # fmt: skip
    for name, delays in (*sorted(found.delays_s.items()), ("all", found.all_s)):
        if delays:
            p50, p99 = np.quantile(delays, [0.5, 0.99]).tolist()
            table.add_row(name, f"{len(delays)}", f"{p50:.2f}", f"{p99:.2f}", f"{max(delays):.2f}")
    table.caption = "cores: " + ", ".join(f"{name} {cores:.2f}" for name, cores in sorted(found.cores.items()))
    return table


def memory_table(found: Sequence[Memory]) -> Table:
    """Peaks and growth."""
    table = _table(
        "resident memory, MB", "worker", "peak", "at the end", "growth once warm, MB per minute of event time"
    )
    for memory in found:
        last, slope = memory.rss_mb[-1], memory.slope_mb_per_min
        table.add_row(memory.stage, f"{memory.peak_mb:.0f}", f"{last:.0f}", f"{slope:+.1f}")
    return table


def backlog_table(found: Backlog) -> Table:
    """Rates, and memory of each worker by quarters of its time."""
    early, late = found.rates_per_s
    table = _table(
        f"a backlog of {found.events:,} events: {early:,.0f} events/s in its first half, {late:,.0f} in its second",
        "worker", "seconds", "MB in each quarter, at most",
    )  # fmt: skip
    for track in (*found.tracks, found.held_up):
        quarters = ", ".join(f"{max(part):.0f}" for part in np.array_split(np.array(track.rss_mb), 4))
        name = "write, ClickHouse away" if track is found.held_up else track.stage
        table.add_row(name, f"{track.at_s[-1]:.0f}", quarters)
    return table


def loadgen_table(costs: Sequence[LoadgenCost]) -> Table:
    """The generator, step by step."""
    table = _table(
        "the generator: CPU µs per event", "encoding", "columns", "encode", "schedule", "send", "all", "events/s a core"
    )
    for cost in costs:
        steps = (cost.columns_us, cost.encode_us, cost.schedule_us, cost.send_us, cost.whole_us)
        table.add_row(cost.encoding, *(f"{step:.2f}" for step in steps), f"{1e6 / cost.whole_us:,.0f}")
    return table


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table
