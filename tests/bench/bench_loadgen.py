"""What the generator costs, step by step, and what one core of it sends: ``python -m tests.bench loadgen``."""

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from deploy.local.kafka import LocalKafka
from loadgen.encode import by_time
from loadgen.playing import Schedule
from loadgen.producer import EventTimePace, KafkaSink, Message, Player
from loadgen.scenarios import Scenario, load
from loadgen.share import Encoding, Plan, addressed
from loadgen.soak import staging
from streams.topics import Topic, TopicAdmin
from tests.bench.report import Promise

RATE_PER_S: Final = 20_000.0
SECONDS: Final = 10
ROUNDS: Final = 5
_START_MS: Final = 1_780_000_020_000
_FAST: Final = 1e6
"""So much faster than the clock that nothing is ever waited for."""
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU µs per event of each step: the least of several rounds; ``send`` has the client's own threads in it."""

    encoding: str
    events: int
    bytes_per_event: float
    columns_us: float
    encode_us: float
    schedule_us: float
    send_us: float

    @property
    def whole_us(self) -> float:
        """All steps."""
        return self.columns_us + self.encode_us + self.schedule_us + self.send_us


@dataclass(slots=True)
class _Nowhere:
    """A sink that keeps nothing."""

    slots: int = 0

    def send(self, messages: Sequence[Message]) -> None:
        self.slots += bool(messages)

    def close(self) -> None:
        pass


@dataclass(slots=True)
class _Clock:
    """CPU seconds of each step, of the round in which they were least."""

    least: dict[str, float] = field(default_factory=dict)

    def time(self, step: str, work: Callable[[], Item]) -> Item:
        began_s = time.process_time()
        found = work()
        used_s = time.process_time() - began_s
        self.least[step] = min(used_s, self.least.get(step, used_s))
        return found


def measure(seconds: int = SECONDS, rounds: int = ROUNDS) -> list[Cost]:
    """Both encodings, against a broker of their own."""
    with tempfile.TemporaryDirectory(prefix="halcyon-bench-") as folder, LocalKafka(Path(folder)) as kafka:
        TopicAdmin({"bootstrap.servers": kafka.bootstrap}).apply([Topic("predictions", 8)])
        return [_measure(encoding, kafka.bootstrap, seconds, rounds) for encoding in Encoding]


def _measure(encoding: Encoding, bootstrap: str, seconds: int, rounds: int) -> Cost:
    spec = staging.quiet(staging.at_rate(load("demo"), RATE_PER_S), seconds)
    scenario = Scenario("demo", spec, spec.seed)
    plan = Plan("demo", 7, Schedule(_START_MS, _FAST, _START_MS), 0.0, seconds, {}, encoding=encoding)
    clock, messages = _Clock(), []
    for _ in range(rounds):
        mix = scenario.mix(_START_MS)
        spans = mix.seconds(0, seconds) if encoding is Encoding.ARROW else mix.spans(0, seconds, plan.stretch_s)
        stretches = clock.time("columns", lambda spans=spans: list(spans))  # type: ignore[misc]
        blocks = [block for stretch in stretches for block in stretch]
        messages = clock.time("encode", lambda blocks=blocks: by_time(addressed(plan, each) for each in blocks))  # type: ignore[misc]
        clock.time("schedule", lambda messages=messages: _play(_Nowhere(), messages))  # type: ignore[misc]
        sink = KafkaSink({"bootstrap.servers": bootstrap, "linger.ms": 20}, "predictions", spread=False)
        clock.time("send", lambda sink=sink, messages=messages: _send(sink, messages))  # type: ignore[misc]
    events = sum(message.events for message in messages)
    us = {step: used_s / events * 1e6 for step, used_s in clock.least.items()}
    size = sum(len(message.value) for message in messages) / events
    return Cost(encoding.value, events, size, us["columns"], us["encode"], us["schedule"], us["send"])


def _play(sink: "_Nowhere | KafkaSink", messages: Iterable[Message]) -> None:
    Player(sink, EventTimePace(_START_MS, _FAST)).play(messages)


def _send(sink: KafkaSink, messages: Sequence[Message]) -> None:
    for first in range(0, len(messages), 2_000):
        sink.send(messages[first : first + 2_000])
    sink.close()


def promises(costs: Sequence[Cost]) -> list[Promise]:
    """One core makes and sends 150,000 JSON events a second."""
    json = next(cost for cost in costs if cost.encoding == "json")
    return [Promise("JSON events a core makes and sends", 1e6 / json.whole_us, 150_000, unit="events/s")]
