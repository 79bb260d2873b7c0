"""A backlog of five million events, and a database that is away: stages at full speed, or held up, that do not grow.

The events lie in Kafka before the workers start. How fast they are worked off is read from what ingest has committed;
memory is read twice a second. Then the rows of a day wait for a ClickHouse that refuses every connection.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from confluent_kafka import Producer

from deploy.local.kafka import LocalKafka
from deploy.local.ports import free_port
from deploy.local.process import ChildProcess
from schemas import rows as row_codec
from schemas.rows import TABLES, RowBatch
from streams.cli.topics import declared
from streams.clock import SystemClock
from streams.config import Settings
from streams.errors import UnavailableError
from streams.groups import GroupAdmin
from streams.supervisor import Supervisor
from streams.topics import TopicAdmin
from tests.bench.bench_memory import watch_of
from tests.bench.player import templates
from tests.bench.report import Promise
from tests.bench.traffic import Traffic

EVENTS: Final = 5_000_000
PARTITIONS: Final = 8
CHUNK: Final = 5_000
DRAINED_RATIO: Final = 0.9
"""Panes that are open hold back the commit: the last seconds of event time are never committed."""
ROW_MESSAGES: Final = 4_000
ROWS_PER_MESSAGE: Final = 500
HELD_UP_S: Final = 60.0
STAGES: Final = ("ingest", "analyse", "alert")
BOUND_MB: Final = 400.0
FLAT_RATIO: Final = 1.1
FULL_SPEED_RATIO: Final = 0.8


@dataclass(slots=True)
class Track:
    """One worker while it works: seconds since the start, resident MB, and how much it has done by then."""

    stage: str
    at_s: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    done: list[int] = field(default_factory=list)

    def promises(self) -> list[Promise]:
        """That it is bounded, and that its second half is no larger than its first."""
        half = len(self.rss_mb) // 2
        ratio = max(self.rss_mb[half:]) / max(self.rss_mb[:half])
        return [
            Promise(f"memory of {self.stage}, peak", max(self.rss_mb), BOUND_MB, at_most=True, unit="MB"),
            Promise(f"memory of {self.stage}, second half against first", ratio, FLAT_RATIO, at_most=True),
        ]


@dataclass(frozen=True, slots=True)
class Backlog:
    """What was seen."""

    events: int
    tracks: list[Track]
    held_up: Track

    @property
    def rates_per_s(self) -> tuple[float, float]:
        """Events a second in the first and in the second half of the backlog."""
        ingest = self.tracks[0]
        at_s, done = np.array(ingest.at_s), np.array(ingest.done)
        first = float(at_s[np.argmax(done > 0)])
        half = float(at_s[np.argmax(done >= done[-1] / 2)])
        middle, last = int(done[np.argmax(done >= done[-1] / 2)]), int(done[-1])
        return middle / (half - first), (last - middle) / (float(at_s[-1]) - half)

    def promises(self) -> list[Promise]:
        """What is promised of it."""
        early, late = self.rates_per_s
        found = [Promise("rate of the second half against the first", late / early, FULL_SPEED_RATIO)]
        return found + [promise for track in (*self.tracks, self.held_up) for promise in track.promises()]


def measure(events: int = EVENTS) -> Backlog:
    """Fill the topics, start the workers, watch."""
    with tempfile.TemporaryDirectory(prefix="halcyon-bench-") as folder, LocalKafka(Path(folder, "kafka")) as kafka:
        nowhere = f"http://127.0.0.1:{free_port()}"
        settings = Settings.model_validate(
            {
                "kafka": {"bootstrap_servers": kafka.bootstrap},
                "topics": {"partitions": PARTITIONS},
                "clickhouse": {"url": nowhere},
            }
        )
        TopicAdmin({"bootstrap.servers": kafka.bootstrap}).apply(declared(settings))
        fill_events(kafka.bootstrap, events)
        fill_rows(kafka.bootstrap)
        env = {
            "HALCYON_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
            "HALCYON_CLICKHOUSE__URL": nowhere,
            "HALCYON_WEB__PORT": "0",
        }
        admin = GroupAdmin({"bootstrap.servers": kafka.bootstrap})

        def committed() -> int:
            try:
                moves = admin.plan(settings.kafka.group("ingest"), settings.kafka.source("predictions"), None)
            except UnavailableError:  # the broker has only just been asked for its first group
                return 0
            return sum(move.before or 0 for move in moves)

        with Supervisor(Path(folder), env, ChildProcess, SystemClock()) as workers:
            workers.start(STAGES)
            tracks = watch(workers, committed, lambda done, _: done >= DRAINED_RATIO * events)
        with Supervisor(Path(folder), env, ChildProcess, SystemClock()) as workers:
            workers.start(("write",))
            (held_up,) = watch(workers, lambda: 0, lambda _, at_s: at_s > HELD_UP_S)
    return Backlog(events, tracks, held_up)


def watch(workers: Supervisor, done: Callable[[], int], over: Callable[[int, float], bool]) -> list[Track]:
    """Note memory and progress twice a second until it is over."""
    watched: list[tuple[psutil.Process, Track]] = []
    for worker in workers.workers:
        process, _ = watch_of(worker.stage)
        watched.append((process, Track(worker.stage)))
    began_s = time.monotonic()
    while True:
        time.sleep(0.5)
        progress, at_s = done(), time.monotonic() - began_s
        for process, track in watched:
            track.at_s.append(at_s)
            track.rss_mb.append(process.memory_info().rss / 1e6)
            track.done.append(progress)
        for ended in workers.ended():
            raise SystemExit(f"the {ended.stage} worker ended on its own:\n{ended.child.log_tail(60)}")
        if over(progress, at_s):
            return [track for _, track in watched]


def fill_events(bootstrap: str, events: int) -> None:
    """Write the predictions, in the order of their times, a chunk to each partition in turn."""
    producer = _producer(bootstrap)
    traffic = Traffic()
    pool = templates(traffic, CHUNK)
    begin_ms = time.time() * 1000 - events / traffic.rate_per_s * 1000 - 60_000
    for number, first in enumerate(range(0, events, CHUNK)):
        stamp = str(int(begin_ms + first / traffic.rate_per_s * 1000)).encode()
        batch = [{"value": head + stamp + tail} for head, tail in pool]
        producer.produce_batch("predictions", batch, number % PARTITIONS)
        producer.flush()


def fill_rows(bootstrap: str) -> None:
    """Write as many rows as a busy hour makes, with numbers as wide as real ones."""
    producer = _producer(bootstrap)
    rng, size = np.random.default_rng(23), ROWS_PER_MESSAGE
    texts = {
        "family": "prediction", "model": "ranker", "model_version": "1", "segment": "", "quantity": "score",
        "layout": "5b1c0f3e",
    }  # fmt: skip
    for number in range(ROW_MESSAGES):
        columns: list[list[Any]] = []
        for name in TABLES["numerics"]:
            if name in texts:
                columns.append([texts[name]] * size)
            elif name == "bins":
                columns.append([list(range(34))] * size)
            elif name == "counts":
                columns.append(rng.integers(1, 3_000, (size, 34)).tolist())
            elif name in {"mean", "m2", "min", "max"}:
                columns.append(rng.normal(size=size).tolist())
            elif name == "start_ms":
                columns.append([(number * size + place) * 10_000 for place in range(size)])
            else:
                columns.append(rng.integers(1, 100_000, size).tolist())
        value = row_codec.encode(RowBatch("numerics", tuple(columns)))
        producer.produce("rows", value, partition=number % PARTITIONS)
        if number % 50 == 0:
            producer.flush()
    producer.flush()


def _producer(bootstrap: str) -> Producer:
    return Producer(
        {
            "bootstrap.servers": bootstrap, "compression.type": "lz4", "linger.ms": 20, "log_level": 3,
            "queue.buffering.max.kbytes": 262_144,
        }
    )  # fmt: skip
