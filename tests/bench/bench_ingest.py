"""Ingest against a stock Faust agent, against the bare client and parser, and JSON against Arrow: one topic, one run.

The contenders run one after the other, round by round, each in a process of its own, so that what else the machine does
hits all of them. A ratio is the median of the rounds' ratios. CPU time is told beside wall time: on a machine that is
shared it is the steadier of the two.
"""

import json
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Producer

from streams.cli.topics import declared
from streams.topics import TopicAdmin
from tests.bench.contenders import PARTITIONS, settings
from tests.bench.report import Promise
from tests.bench.traffic import Traffic

JSON_EVENTS: Final = 600_000
ARROW_EVENTS: Final = 3_000_000
ARROW_BATCH: Final = 1_000
FAUST_EVENTS: Final = 20_000
ROUNDS: Final = 3
CHUNK: Final = 20_000
_CHILD_TIMEOUT_S: Final = 300


@dataclass(frozen=True, slots=True)
class Run:
    """One contender in one round."""

    events: int
    wall_s: float
    cpu_s: float
    rss_mb: float

    @property
    def wall_us(self) -> float:
        """µs per event."""
        return self.wall_s / self.events * 1e6

    @property
    def cpu_us(self) -> float:
        """CPU µs per event, of all threads."""
        return self.cpu_s / self.events * 1e6


@dataclass(frozen=True, slots=True)
class Contender:
    """What runs, on which topics, on how many events."""

    title: str
    name: str
    prefix: str
    events: int


CONTENDERS: Final = (
    Contender("ceiling: aiokafka + msgspec", "ceiling", "json.", JSON_EVENTS),
    Contender("Halcyon ingest, JSON", "halcyon", "json.", JSON_EVENTS),
    Contender("Halcyon ingest, Arrow", "halcyon", "arrow.", ARROW_EVENTS),
    Contender("stock Faust agent with a table, JSON", "faust_table", "json.", FAUST_EVENTS),
    Contender("stock Faust agent in memory, JSON", "faust_memory", "json.", FAUST_EVENTS),
)
CEILING, JSON, ARROW, FAUST, FORGETFUL = (contender.title for contender in CONTENDERS)


def fill(bootstrap: str) -> int:
    """Write both topics; the mean size of a JSON message."""
    admin = TopicAdmin({"bootstrap.servers": bootstrap})
    for prefix in ("json.", "arrow."):
        admin.apply(declared(settings(bootstrap, prefix)))
    traffic = Traffic()
    traffic = Traffic(start_ms=int(time.time() * 1000) - int(ARROW_EVENTS / traffic.rate_per_s * 1000))
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.kbytes": 262_144,
        }
    )
    size = 0
    for first in range(0, JSON_EVENTS, CHUNK):
        for number, value in enumerate(traffic.json(first, CHUNK)):
            size += len(value)
            producer.produce("json.predictions", value, partition=number % PARTITIONS)
        producer.flush()
    for number, first in enumerate(range(0, ARROW_EVENTS, ARROW_BATCH)):
        producer.produce("arrow.predictions", traffic.arrow(first, ARROW_BATCH), partition=number % PARTITIONS)
        if number % 100 == 0:
            producer.flush()
    producer.flush()
    return size // JSON_EVENTS


def run_once(bootstrap: str, contender: Contender) -> Run:
    """One contender in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.contenders", contender.name, bootstrap, contender.prefix]
    command += [str(contender.events), uuid.uuid4().hex[:8]]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_CHILD_TIMEOUT_S)
    # Faust writes control characters for the terminal around what is told
    told = answer.stdout[answer.stdout.find("{") : answer.stdout.rfind("}") + 1]
    if not told:
        raise SystemExit(f"{contender.title} said nothing:\n{answer.stdout}{answer.stderr}")
    return Run(**json.loads(told))


def measure(bootstrap: str, rounds: int = ROUNDS) -> dict[str, list[Run]]:
    """All contenders, interleaved."""
    runs: dict[str, list[Run]] = {contender.title: [] for contender in CONTENDERS}
    for _ in range(rounds):
        for contender in CONTENDERS:
            runs[contender.title].append(run_once(bootstrap, contender))
    return runs


def promises(runs: Mapping[str, list[Run]]) -> list[Promise]:
    """What is promised, by wall time and by CPU time."""
    found = []
    for text, fast, slow, floor in (
        ("ingest against the stock Faust agent", JSON, FAUST, 20.0),
        ("ingest against the ceiling", JSON, CEILING, 0.5),
        ("Arrow input against JSON input", ARROW, JSON, 10.0),
    ):
        pairs = list(zip(runs[fast], runs[slow], strict=True))
        wall = statistics.median(slower.wall_us / faster.wall_us for faster, slower in pairs)
        cpu = statistics.median(slower.cpu_us / faster.cpu_us for faster, slower in pairs)
        found += [Promise(f"{text}, wall", wall, floor), Promise(f"{text}, CPU", cpu, floor)]
    return found
