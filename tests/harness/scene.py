"""A cell of the matrix of faults: workers, traffic at its pace, something done to them, and the verifier at the end."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from schemas import panes as pane_codec
from schemas import rows as row_codec
from schemas.panes import Pane
from schemas.topics import TopicName
from tests.harness.baselines import publish_baselines
from tests.harness.installation import KNOWING, STAGES, Installation, installed
from tests.harness.monitor import Monitor
from tests.harness.playing import Playing
from tests.harness.telling import tell
from tests.harness.traffic import Slowdown, Traffic, a_while_ago
from tests.harness.verifier import Verifier
from tests.harness.waiting import wait_for
from tests.harness.workers import READY_S, Worker

EVENTS: Final = 36_000
SPAN_MS: Final = 900_000
BEFORE_THE_HOUR_MS: Final = 500_000
"""An hour ends in the middle of the traffic, so that its window can be looked at."""
WALL_S: Final = 24.0
SLOWDOWN: Final = Slowdown(model=2, after_ms=150_000)
TALKATIVE: Final = {"HALCYON_ALERTS__REPEAT_AFTER_S": "60"}
"""An alert that fires is said again every minute of event time: there are alerts on their way at any moment."""
_LEAD_S: Final = 1.0
_PATIENCE_S: Final = 120.0

OUTPUTS: Final = {
    "ingest": (TopicName.PANES, ""),
    "analyse": (TopicName.ROWS, "volumes"),
    "alert": (TopicName.ROWS, "findings"),
}
"""Where to see that a stage works again: its topic, and the table of the rows that only it sends."""


@dataclass
class Scene:
    """What a cell works with.

    Attributes
    ----------
    verifier
        Its laws; a cell in which one of them is weaker replaces it.
    recoveries_s
        From the start of a worker to the first thing that it, or whoever took its place, has sent for the first time.
    """

    installation: Installation
    traffic: Traffic
    playing: Playing
    monitor: Monitor
    verifier: Verifier
    recoveries_s: dict[str, float] = field(default_factory=dict)
    _restarts: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def recovery(self) -> str:
        """The longest of them, for the report."""
        return f"{max(self.recoveries_s.values()):.1f}" if self.recoveries_s else ""

    def pass_time(self, ratio: float) -> None:
        """Wait until the traffic has come so far; workers that end meanwhile are a failure."""
        while self.playing.at_ms < ratio * self.traffic.span_ms:
            self.installation.check_alive()
            time.sleep(0.05)

    def end_of(self, worker: Worker) -> None:
        """Wait until a worker has ended, by what it was armed with."""
        wait_for(f"{worker.name} has ended", lambda: not worker.alive, _PATIENCE_S)

    def wait_held(self) -> None:
        """Wait until every stage is held by somebody, and everybody holds something."""
        wait_held(self.installation)

    def add(self, name: str) -> Worker:
        """Another worker, not started yet; see :func:`stages_of` for what its name says."""
        return self.installation.add(*stages_of(name), name=name)

    def remove(self, name: str) -> None:
        """Stop a worker in good order, for good."""
        worker = self.installation.workers.pop(name)
        assert worker.stop() == 0, worker.log_tail()

    def restart(self, worker: Worker, stage: str) -> None:
        """Start a worker again, and remember when, so that the report can say how long it was until it worked."""
        worker.start()
        self._restarts.append((worker.name, stage, worker.started_ms))

    def finish(self) -> None:
        """Wait for the end of the traffic, hold everything against the raw topic, stop all workers in good order."""
        self.playing.wait(300)
        wait_held(self.installation, everybody=False)
        verified = f"{self.verifier.check()}; {self.monitor.check()}"
        for name, stage, since_ms in self._restarts:
            recovered = recovery_s(self.installation, stage, since_ms)
            if recovered is not None:
                self.recoveries_s[name] = recovered
        codes = self.installation.stop()
        assert set(codes.values()) == {0}, codes
        recovered_s = {name: round(seconds, 1) for name, seconds in self.recoveries_s.items()}
        tell(f"{verified}; first new output after a restart: {recovered_s} s")


@contextmanager
def scene(
    kafka: LocalKafka, clickhouse: LocalClickHouse, folder: Path, rng: random.Random,
    workers: Mapping[str, Callable[[Worker], None]], changes: Mapping[str, str] | None = None, *,
    learning: bool = False, zombies: bool = False, with_state: bool = True,
) -> Iterator[Scene]:  # fmt: skip
    """Workers that are ready, and traffic that flows.

    Parameters
    ----------
    rng
        Makes the traffic.
    workers
        Name → how it is started. A name is the stages it runs, joined by ``+``, and perhaps ``#`` and a number.
    changes
        Of the settings.
    learning, zombies, with_state
        Baselines are learned from the traffic instead of being there before it; what :class:`Verifier` and
        :class:`Monitor` must know of the cell.
    """
    seed = rng.randrange(1 << 30)
    traffic = Traffic.make(
        seed, EVENTS, a_while_ago() - BEFORE_THE_HOUR_MS, SPAN_MS, late_ratio=0.002, slowdown=SLOWDOWN
    )
    with installed(kafka, clickhouse, folder, {**KNOWING, **TALKATIVE, **(changes or {})}) as installation:
        edges = None if learning else publish_baselines(installation, traffic)
        topic = installation.topic(TopicName.PREDICTIONS)
        traffic.send_opening(installation.producer(), topic)
        for name, start in workers.items():
            start(installation.add(*stages_of(name), name=name))
        wait_held(installation)
        with (
            Monitor(installation, with_state=with_state) as monitor,
            Playing(traffic, installation.producer(), topic, WALL_S) as playing,
        ):
            time.sleep(_LEAD_S)
            yield Scene(installation, traffic, playing, monitor, Verifier(installation, edges, zombies=zombies))


def stages_of(name: str) -> tuple[str, ...]:
    """The stages that a worker of this name runs; ``all`` is all of them, ``not-x`` all but one."""
    words = name.partition("#")[0]
    if words == "all":
        return STAGES
    if words.startswith("not-"):
        return tuple(stage for stage in STAGES if stage not in words.removeprefix("not-").split("+"))
    return tuple(words.split("+"))


def wait_held(installation: Installation, *, everybody: bool = True) -> None:
    """Wait until every stage is held by somebody, and ``everybody`` holds something."""

    def held() -> list[set[str]]:
        installation.check_alive()
        return [worker.held() for worker in installation.workers.values()]

    def enough(found: list[set[str]]) -> bool:
        return set().union(*found) == set(STAGES) and (all(found) or not everybody)

    wait_for("every stage is held", held, READY_S, until=enough)


def plainly(worker: Worker) -> None:
    """Start a worker as it is."""
    worker.start()


def recovery_s(installation: Installation, stage: str, since_ms: int) -> float | None:
    """Seconds from a moment to the first thing a stage sent after it and never before; None if there was nothing.

    What the write stage does cannot be seen in a topic: for it, the first insert of a row that was not there before.
    """
    if stage not in OUTPUTS:
        rows = installation.query(
            "SELECT min(first) FROM (SELECT min(inserted_at) AS first FROM volumes_raw GROUP BY "
            f"model, model_version, segment, window_s, start_ms) WHERE toUnixTimestamp(first) * 1000 >= {since_ms}"
        )
        first = rows[0][0].timestamp() * 1000
        return (first - since_ms) / 1000 if first >= since_ms else None
    topic, table = OUTPUTS[stage]
    seen: set[tuple[object, ...]] = set()
    for at_ms, key in sorted(_said(installation, topic, table), key=lambda pair: pair[0]):
        if at_ms >= since_ms and key not in seen:
            return (at_ms - since_ms) / 1000
        seen.add(key)
    return None


def _said(installation: Installation, topic: TopicName, table: str) -> Iterator[tuple[int, tuple[object, ...]]]:
    """(time of sending, what it was about) of everything a stage has sent."""
    for message in installation.read(topic):
        at_ms, value = message.timestamp()[1], message.value() or b""
        if topic is TopicName.PANES:
            pane = pane_codec.decode(value)
            if isinstance(pane, Pane):
                yield at_ms, (pane.scope, pane.start_ms, pane.source_partition)
        else:
            batch = row_codec.decode(value)
            if batch.table == table:
                width = 4 if table == "volumes" else len(batch.columns)
                yield from (
                    (at_ms, tuple(map(str, (*row[:width], *row[4:6])))) for row in zip(*batch.columns, strict=True)
                )
