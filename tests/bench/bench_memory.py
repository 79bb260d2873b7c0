"""Memory of an ingest and of an analyse worker with a thousand scopes of fifty features, before and after baselines.

Event time runs four times as fast as the clock: 26 minutes of it pass, in which baselines are learned and the
roll-up of an hour turns over, so that what grows has time to.

``python -m tests.bench.bench_memory BOOTSTRAP SECONDS`` is the generator, a process of its own.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from deploy.local.kafka import LocalKafka
from deploy.local.process import ChildProcess
from streams.cli.topics import declared
from streams.clock import SystemClock
from streams.config import Settings
from streams.supervisor import Supervisor
from streams.topics import TopicAdmin
from tests.bench.player import Player, Template, latest_begin_ms, templates
from tests.bench.report import Promise
from tests.bench.traffic import Traffic

MODELS: Final = 200
"""Of five scopes each."""
FEATURES: Final = 50
PARTITIONS: Final = 4
SPEED: Final = 4.0
RATE_PER_S: Final = 500.0 * SPEED
"""Messages a second of the clock."""
SECONDS: Final = 390.0
WARM_S: Final = 840.0
"""Event time after which nothing may grow: baselines are in force, and an hour has been rolled up."""
HOUR_ENDS_S: Final = 600.0
"""Event time until an hour ends, after baselines have been learned."""
BOUND_MB: Final = 400.0
SLOPE_MB_PER_MIN: Final = 1.0
STAGES: Final = ("ingest", "analyse")
SETTINGS: Final = {
    "topics": {"partitions": PARTITIONS},
    "baseline": {"min_rows": 100, "min_panes": 10, "lead_s": 20},
    "caps": {"scopes": 2_000},
}


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of one worker over time, in MB, and when the first baseline was in force."""

    stage: str
    at_s: list[float]
    rss_mb: list[float]

    @property
    def peak_mb(self) -> float:
        """The most it took."""
        return max(self.rss_mb)

    @property
    def slope_mb_per_min(self) -> float:
        """Growth once it is warm, by the minute of event time."""
        warm = [at * SPEED >= WARM_S for at in self.at_s].index(True)
        return float(np.polyfit(self.at_s[warm:], self.rss_mb[warm:], 1)[0] * 60 / SPEED)

    def promises(self) -> list[Promise]:
        """What is promised of it."""
        return [
            Promise(f"memory of {self.stage}, peak", self.peak_mb, BOUND_MB, at_most=True, unit="MB"),
            Promise(
                f"growth of {self.stage}, once warm", self.slope_mb_per_min, SLOPE_MB_PER_MIN, at_most=True,
                unit="MB per minute of event time",
            ),
        ]  # fmt: skip


def measure() -> list[Memory]:
    """Start both workers, play, watch."""
    with tempfile.TemporaryDirectory(prefix="halcyon-bench-") as folder, LocalKafka(Path(folder, "kafka")) as kafka:
        settings = Settings.model_validate(SETTINGS | {"kafka": {"bootstrap_servers": kafka.bootstrap}})
        TopicAdmin({"bootstrap.servers": kafka.bootstrap}).apply(declared(settings))
        path = Path(folder, "halcyon.yaml")
        path.write_text(json.dumps(SETTINGS))  # JSON is YAML
        env = {"HALCYON_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap, "HALCYON_CONFIG": str(path)}
        env |= {"HALCYON_WEB__PORT": "0"}
        with Supervisor(Path(folder), env, ChildProcess, SystemClock()) as workers:
            workers.start(STAGES)
            command = [sys.executable, "-m", "tests.bench.bench_memory", kafka.bootstrap, str(SECONDS)]
            generator = subprocess.Popen(command)
            watched = [watch_of(worker.stage) for worker in workers.workers]
            began_s = time.monotonic()
            while generator.poll() is None:
                time.sleep(0.5)
                for process, memory in watched:
                    memory.at_s.append(time.monotonic() - began_s)
                    memory.rss_mb.append(process.memory_info().rss / 1e6)
            for worker in workers.ended():
                raise SystemExit(f"the {worker.stage} worker ended on its own:\n{worker.child.log_tail(60)}")
        return [memory for _, memory in watched]


def watch_of(stage: str) -> tuple[psutil.Process, Memory]:
    """The process of a stage, and where its memory is noted."""
    for child in psutil.Process().children(recursive=True):
        if f"--stage {stage}" in " ".join(child.cmdline()):
            return child, Memory(stage, [], [])
    raise SystemExit(f"no process of the stage {stage} runs")


def generate(bootstrap: str, seconds: float) -> None:
    """The generator."""
    pool = templates(Traffic(models=MODELS, features=FEATURES), 20_000)
    place = 0

    def choose(_: float, due: int) -> list[Template]:
        nonlocal place
        chosen = [pool[number % len(pool)] for number in range(place, place + due)]
        place += due
        return chosen

    hour_ms, early_ms = 3_600_000, HOUR_ENDS_S * 1000
    begin_ms = (latest_begin_ms(seconds, SPEED) + early_ms) // hour_ms * hour_ms - early_ms
    Player(bootstrap, PARTITIONS, RATE_PER_S, SPEED, begin_ms).play("predictions", seconds, choose)


if __name__ == "__main__":
    generate(sys.argv[1], float(sys.argv[2]))
