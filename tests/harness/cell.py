"""A cell of the matrix of faults: traffic plays through an installation while a test does something to its world."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.clickhouse import LocalClickHouse
from schemas.topics import TopicName
from tests.harness.expectations import check_alerts
from tests.harness.fixtures import Brokers
from tests.harness.installation import LEARNING, STAGES, Installation, installed
from tests.harness.oracle import Oracle, wait_shown
from tests.harness.playing import Playing
from tests.harness.telling import drawn_seed, tell
from tests.harness.traffic import MODELS, Slowdown, Traffic, a_while_ago
from tests.harness.verifier import Verifier
from tests.harness.waiting import wait_for
from tests.harness.workers import Worker

EVENTS: Final = 40_000
SPAN_MS: Final = 900_000
WALL_S: Final = 25.0
SLOWDOWN: Final = Slowdown(model=2, after_ms=450_000)
_RECOVERED_S: Final = 120.0
_SHOWN_S: Final = 150.0

Record = Callable[[str, object], None]


@dataclass
class Cell:
    """What a test has in hand while its traffic plays.

    Attributes
    ----------
    installation
        With one worker of all stages, unless the test starts others.
    traffic, playing
        What is sent, and how far it has come.
    rng
        For whatever a test draws; from the seed of the traffic.
    told
        Figures for whoever reads the output.
    """

    installation: Installation
    traffic: Traffic
    playing: Playing
    record: Record
    rng: random.Random
    told: list[str] = field(default_factory=list)

    @property
    def worker(self) -> Worker:
        """The one with all stages."""
        return next(iter(self.installation.workers.values()))

    def wait_until(self, share: float) -> None:
        """Wait until so much of the traffic has been sent, 0 to 1."""
        while self.playing.at_ms < share * self.traffic.span_ms:
            self.installation.check_alive()
            time.sleep(0.05)

    def hold(self, seconds: float, look: Callable[[], None] = lambda: None) -> None:
        """Let the fault last, and look again and again."""
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            self.installation.check_alive()
            look()
            time.sleep(0.2)

    def recovered(self, what: str, progress: Callable[[], float] | None = None) -> float:
        """Wait for the first sign of progress after a fault, by default a message on ``panes``; seconds it took."""
        began, seen = time.monotonic(), progress or self.panes_end
        before = wait_for("an answer", lambda: _or_nothing(seen), _RECOVERED_S, until=lambda n: n >= 0)

        def now() -> float:
            self.installation.check_alive()
            return _or_nothing(seen)

        wait_for(f"more than {before}", now, _RECOVERED_S, until=lambda n: n > before)
        took_s = time.monotonic() - began
        self.record("recovery_s", round(took_s, 1))
        self.told.append(f"{what}: going on after {took_s:.1f} s")
        return took_s

    def panes_end(self) -> float:
        """Messages on ``panes``, ever."""
        topic = self.installation.topic(TopicName.PANES)
        consumer = Consumer(
            {"bootstrap.servers": self.installation.kafka.bootstrap, "group.id": "ends", "log_level": 0}
        )
        try:
            partitions = consumer.list_topics(topic, 5).topics[topic].partitions
            return sum(consumer.get_watermark_offsets(TopicPartition(topic, p), 5, cached=False)[1] for p in partitions)
        finally:
            consumer.close()

    def rows_shown(self) -> float:
        """Events that ClickHouse shows."""
        return float(self.installation.query("SELECT sum(rows) FROM volume WHERE window_s = 10")[0][0] or 0)


def _or_nothing(ask: Callable[[], float]) -> float:
    try:
        return ask()
    except KafkaException:
        return -1.0


def metric(worker: Worker, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry these labels."""
    page = worker.page("/metrics").decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def failing(worker: Worker, path: str = "/readyz") -> list[str]:
    """The checks that fail; empty also when the page does not answer."""
    page = worker.page(path)
    return list(msgspec.json.decode(page)["failed"]) if page else []


def verified(installation: Installation) -> str:
    """Everything that came out, held against the raw topic."""
    return Verifier(installation).check()


Play = Callable[..., AbstractContextManager[Cell]]


@pytest.fixture
def play(clickhouse: LocalClickHouse, tmp_path: Path, record_property: Record) -> Play:
    """Plays traffic through a fresh installation while a block lasts, then holds all of it against the raw topic."""

    @contextmanager
    def begin(
        kafka: Brokers,
        changes: Mapping[str, str] | None = None,
        *,
        wall_s: float = WALL_S,
        supervised: bool = False,
        partitions: int = 4,
        shape: Callable[[Traffic], Traffic] = lambda traffic: traffic,
        check: Callable[[Installation], str] = verified,
    ) -> Iterator[Cell]:
        seed = drawn_seed()
        begun_ms = a_while_ago()
        traffic = shape(
            Traffic.make(seed, EVENTS, begun_ms, SPAN_MS, partitions=partitions, late_ratio=0.002, slowdown=SLOWDOWN)
        )
        sizes = {"HALCYON_TOPICS__PARTITIONS": str(partitions)}
        with installed(kafka, clickhouse, tmp_path, {**LEARNING, **sizes, **(changes or {})}) as installation:
            installation.supervised = supervised
            producer, topic = installation.producer(), installation.topic(TopicName.PREDICTIONS)
            traffic.send_opening(producer, topic)
            installation.start(*STAGES)
            installation.wait_ready()
            with Playing(traffic, producer, topic, wall_s) as playing:
                cell = Cell(installation, traffic, playing, record_property, random.Random(seed))
                yield cell
            sent = time.monotonic()
            wait_shown(installation, Oracle(traffic), _SHOWN_S)
            shown_s = time.monotonic() - sent
            said, alerts = check(installation), check_alerts(installation, MODELS[SLOWDOWN.model])
            for line in cell.told:
                tell(line)
            tell(f"{said}; all rows {shown_s:.0f} s after the last event; alerts {alerts}")
            assert installation.stop() == {"-".join(STAGES): 0}

    return begin
