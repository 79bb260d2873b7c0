"""From an event's time to its alert: short clear faults under steady load, everything running on this machine.

Error bursts hit one model after the other, XID errors one GPU after the other. What is measured of each alert is when a
consumer of the alert topic had it, less the beginning of the window it speaks of: no event behind it is older.

``python -m tests.bench.bench_timeliness BOOTSTRAP RATE SECONDS`` is the generator, a process of its own.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import psutil
from confluent_kafka import Consumer, Producer

from schemas import alerts
from streams.cli.stack import running
from streams.config import Settings
from streams.supervisor import STAGES
from tests.bench.player import Player, Template, cut, templates
from tests.bench.report import Promise
from tests.bench.traffic import Traffic

RATE_PER_S: Final = 20_000.0
MODELS: Final = 40
GPUS: Final = 60
PARTITIONS: Final = 4
QUIET_S: Final = 50.0
FAULTS_S: Final = 60.0
BURST_S: Final = 3.0
AFTER_S: Final = 20.0
"""Event time must go on for the last windows to close."""
BOUND_S: Final = 17.0
PANE_MS: Final = 10_000
SETTINGS: Final = {
    "topics": {"partitions": PARTITIONS},
    # Learned within the quiet time; one window is enough, so that what is measured is the way and not the patience.
    "baseline": {"min_rows": 500, "min_panes": 2, "lead_s": 10},
    "decision": {"k": 1, "m": 1},
}


@dataclass(frozen=True, slots=True)
class Timeliness:
    """What was seen: delays in seconds by alert name, how late the generator was, and cores used by process."""

    rate_per_s: float
    delays_s: dict[str, list[float]]
    generator_behind_s: float
    cores: dict[str, float]

    @property
    def all_s(self) -> list[float]:
        """All delays."""
        return [delay for delays in self.delays_s.values() for delay in delays]

    def promises(self) -> list[Promise]:
        """What is promised of them."""
        delays = self.all_s or [float("inf")]
        text = f"from an event's time to its alert at {self.rate_per_s:,.0f} events/s, 99th percentile"
        return [
            Promise(text, float(np.quantile(delays, 0.99)), BOUND_S, at_most=True, unit="s"),
            Promise("alerts of injected faults", float(len(delays)), 0.9 * (MODELS + GPUS), unit="alerts"),
            Promise("the generator's own delay", self.generator_behind_s, 1.0, at_most=True, unit="s"),
        ]


def measure(rate_per_s: float = RATE_PER_S) -> Timeliness:
    """Start everything, play, listen."""
    with tempfile.TemporaryDirectory(prefix="halcyon-bench-") as folder:
        path = Path(folder, "halcyon.yaml")
        path.write_text(json.dumps(SETTINGS))  # JSON is YAML
        settings = Settings.model_validate(SETTINGS)
        with running(settings, Path(folder), STAGES, lambda _: None, fresh=True, config=path) as stack:
            bootstrap = stack.settings.kafka.bootstrap_servers
            command = [sys.executable, "-m", "tests.bench.bench_timeliness", bootstrap, str(rate_per_s)]
            generator = subprocess.Popen(
                [*command, str(QUIET_S + FAULTS_S + AFTER_S)], stdout=subprocess.PIPE, text=True
            )
            delays, cores = listen(bootstrap, generator)
            said = json.loads(generator.communicate(timeout=60)[0].splitlines()[-1])
            for worker in stack.supervisor.ended():
                raise SystemExit(f"the {worker.stage} worker ended on its own:\n{worker.child.log_tail(60)}")
        return Timeliness(rate_per_s, delays, said["behind_s"], cores)


def listen(bootstrap: str, generator: "subprocess.Popen[str]") -> tuple[dict[str, list[float]], dict[str, float]]:
    """Delays of the alerts, and cores used by process, until the generator has ended and what it caused has come."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "auto.offset.reset": "earliest"})
    consumer.subscribe(["alerts"])
    delays: dict[str, list[float]] = {}
    seen: set[str] = set()
    cpu_before, began_s, ends_s = _cpu(), time.monotonic(), float("inf")
    cores: dict[str, float] = {}
    while time.monotonic() < ends_s:
        message = consumer.poll(0.05)
        now_ms = time.time() * 1000
        if generator.poll() is not None and ends_s == float("inf"):
            ends_s = time.monotonic() + 1
            took_s = time.monotonic() - began_s
            cores = {name: (cpu - cpu_before.get(name, 0.0)) / took_s for name, cpu in _cpu().items()}
        if message is None or message.error():
            continue
        alert = alerts.decode(message.value() or b"")
        leading = alert.evidence.leading
        if alert.status is not alerts.Status.FIRING or alert.fingerprint in seen or leading.window_ms != PANE_MS:
            continue
        seen.add(alert.fingerprint)
        name = alert.labels.get("alertname", leading.kind)
        delays.setdefault(name, []).append((now_ms - leading.window_start_ms) / 1000)
    consumer.close()
    return delays, cores


def _cpu() -> dict[str, float]:
    """CPU seconds of this process's children by what they are."""
    found: dict[str, float] = {}
    for child in psutil.Process().children(recursive=True):
        try:
            line, times = " ".join(child.cmdline()), child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        names = {"kafka.Kafka": "Kafka", "clickhouse": "ClickHouse", "bench_timeliness": "generator"}
        names |= {f"--stage {stage}": stage for stage in STAGES}
        name = next((name for mark, name in names.items() if mark in line), "other")
        found[name] = found.get(name, 0.0) + times.user + times.system
    return found


def generate(bootstrap: str, rate_per_s: float, seconds: float) -> None:
    """The generator."""
    traffic = Traffic(models=MODELS)
    count = 20 * MODELS * 8
    good = _by_model(templates(traffic, count, status=["ok"] * count))
    bad = _by_model(templates(traffic, count, status=["timeout"] * count))
    names = sorted(good)
    player = Player(bootstrap, PARTITIONS, rate_per_s)
    turn = 0

    def choose(at_s: float, due: int) -> list[Template]:
        nonlocal turn
        chosen = []
        hit = (at_s - QUIET_S) / FAULTS_S * len(names)
        burst = {int(hit - back) for back in np.arange(0, BURST_S, 0.5) / FAULTS_S * len(names)} if hit >= 0 else set()
        for number in range(turn, turn + due):
            model = number % len(names)
            pool = (bad if model in burst and number // len(names) % 2 else good)[names[model]]
            chosen.append(pool[number // len(names) % len(pool)])
        turn += due
        return chosen

    player.play("predictions", seconds, choose, _Gpus())
    print(json.dumps({"behind_s": player.worst_behind_s, "sent": player.sent}), flush=True)  # noqa: T201 - for the parent


def _by_model(pool: Sequence[Template]) -> dict[str, list[Template]]:
    found: dict[str, list[Template]] = {}
    for head, tail in pool:
        model = msgspec.json.decode(head + b"0" + tail)["model"]
        found.setdefault(model, []).append((head, tail))
    return found


class _Gpus:
    """A sample of each GPU every second, and one XID error of each in the time of faults."""

    def __init__(self) -> None:
        self._due_s = 0.0
        self._struck = 0
        sample = {"ts_ms": 1767225600000, "host": "h1", "utilization_ratio": 0.8, "temperature_c": 61.0}
        self._samples = [
            [cut(msgspec.json.encode(sample | {"gpu_uuid": f"GPU-{gpu:03d}", "xid": xid})) for xid in ([], [79])]
            for gpu in range(GPUS)
        ]

    def __call__(self, producer: Producer, at_s: float, ts_ms: int) -> None:
        if at_s < self._due_s:
            return
        self._due_s += 1.0
        strikes = int(max(0.0, (at_s - QUIET_S) / FAULTS_S) * GPUS)
        for gpu, (quiet, broken) in enumerate(self._samples):
            head, tail = broken if self._struck <= gpu < strikes else quiet
            producer.produce("gpu-telemetry", head + str(ts_ms).encode() + tail, partition=gpu % PARTITIONS)
        self._struck = max(self._struck, strikes)


if __name__ == "__main__":
    generate(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
