"""What one process of a run does: every so-manieth stretch of the scenario, made, spoilt, stamped and sent on schedule.

Random numbers are keyed by entity and second, so who makes a second does not change what is in it.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Final

import msgspec

from loadgen.ahead import Ahead
from loadgen.columns import Columns, rows
from loadgen.encode import by_time
from loadgen.encode_families import arrow_of, json_of
from loadgen.playing import Schedule
from loadgen.producer import EventTimePace, KafkaSink, LoadError, Message, Player, Progress
from loadgen.scenarios import Scenario, load
from loadgen.wire import Wire, WireAccount, WireFaults

_ARROW_EVENTS: Final = 2_000
"""Brokers refuse messages over a megabyte unless they are told otherwise."""
_TELL_S: Final = 0.25
_TELL_MESSAGES: Final = 1_000


class Encoding(StrEnum):
    """How events are put into messages."""

    JSON = "json"
    """One event each."""
    ARROW = "arrow"
    """One Arrow IPC stream per entity and second, or two thousand events."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, as every one of its processes is told it.

    Attributes
    ----------
    scenario, seed
        A name or the path of a file, and which of its many runs.
    begin_s
        When the first event is due, by the machine's monotonic clock, which all processes share.
    duration_s
        How much of it is played, in event time.
    kafka
        librdkafka settings.
    topic_prefix
        Put before every topic.
    stretch_s
        Event time that is made in one go: numpy is slow on few rows.
    ahead
        Stretches that are made ahead of when they are due.
    """

    scenario: str
    seed: int
    schedule: Schedule
    begin_s: float
    duration_s: int
    kafka: dict[str, str]
    topic_prefix: str = ""
    encoding: Encoding = Encoding.JSON
    wire: WireFaults = field(default_factory=WireFaults)
    stretch_s: int = 10
    ahead: int = 3
    behind_limit_s: float = 1.0

    def load(self) -> Scenario:
        """The scenario."""
        return load(self.scenario, seed=self.seed)


class Told(msgspec.Struct, frozen=True):
    """What a process says of itself, over and over; ``cpu_s`` is what all of its threads have used since it began."""

    progress: Progress
    wire: WireAccount
    cpu_s: float = 0.0
    error: str = ""
    done: bool = False


def outgoing(plan: Plan, scenario: Scenario, wire: Wire, share: int, shares: int) -> Iterator[list[Message]]:
    """The messages of every ``shares``-th stretch from number ``share`` on: one list per stretch, by due time."""
    start_ms = plan.schedule.start_ms
    mix, arrow = scenario.mix(start_ms), plan.encoding is Encoding.ARROW
    for first in range(share * plan.stretch_s, plan.duration_s, shares * plan.stretch_s):
        last = min(first + plan.stretch_s, plan.duration_s)
        # An Arrow message of more than a second would hold the watermark of its partition back, or push it ahead.
        spans = mix.seconds(first, last) if arrow else mix.spans(first, last, step_s=plan.stretch_s)
        messages = by_time(addressed(plan, columns) for columns in chain.from_iterable(spans))
        if plan.wire.any:
            until_ms = start_ms + (first + shares * plan.stretch_s) * 1000
            messages = wire.second(first, until_ms, messages)
        yield messages
    yield wire.rest()


def addressed(plan: Plan, columns: Columns) -> list[Message]:
    """The messages of one block, with their topic and, in JSON, the moment at which each is meant to go out."""
    topic = plan.topic_prefix + columns.topic.value
    if plan.encoding is Encoding.ARROW:
        parts = (rows(columns, slice(at, at + _ARROW_EVENTS)) for at in range(0, len(columns), _ARROW_EVENTS))
        return [Message(m.ts_ms, m.key, m.value, m.events, topic) for part in parts for m in arrow_of(part)]
    intended_ms = plan.schedule.intended_ms
    return [
        # Behind all that the event says: a field that readers of events pass over.
        Message(m.ts_ms, m.key, b'%b,"intended_ts_ms":%d}' % (m.value[:-1], intended_ms(m.ts_ms)), m.events, topic)
        for m in json_of(columns)
    ]


def work(plan: Plan, share: int, shares: int, tell: Callable[[Told], None], wait: Callable[[float], bool]) -> None:
    """Make and send one share of a run; tells how far it is every so often, and at its end.

    ``wait`` sleeps for so many seconds; true ends the run early.
    """
    wire, began_s = Wire(plan.wire, plan.seed), time.process_time()
    try:
        scenario = plan.load()
        schedule = plan.schedule
        sink = KafkaSink({"linger.ms": 20, **plan.kafka}, "", spread=False)
        pace = EventTimePace(schedule.start_ms, schedule.speed)
        player = Player(sink, pace, wait=wait, progress=Progress(behind_limit_s=plan.behind_limit_s))
        made = Ahead(outgoing(plan, scenario, wire, share, shares), plan.ahead)
        telling = _Telling(player.progress, wire, tell, began_s)
        player.play(telling.through(made), plan.begin_s)
    except (LoadError, ValueError, OSError) as error:
        tell(Told(Progress(), WireAccount(), error=str(error), done=True))
    else:
        tell(telling.now(done=True))


@dataclass(slots=True)
class _Telling:
    """Tells of a player while its messages pass by."""

    progress: Progress
    wire: Wire
    tell: Callable[[Told], None]
    began_s: float
    _told_s: float = 0.0

    def through(self, made: Iterable[list[Message]]) -> Iterator[Message]:
        """The messages, one by one."""
        for messages in made:
            for place in range(0, len(messages), _TELL_MESSAGES):
                if time.monotonic() - self._told_s > _TELL_S:
                    self.tell(self.now())
                    self._told_s = time.monotonic()
                yield from messages[place : place + _TELL_MESSAGES]

    def now(self, *, done: bool = False) -> Told:
        """What there is to tell."""
        return Told(self.progress, self.wire.account, time.process_time() - self.began_s, done=done)
