"""A scenario in a thread of its own: event time starts in the past and has caught up with the clock at the end."""

import threading
from dataclasses import dataclass, field
from typing import Final

from loadgen.encode import Encode, messages
from loadgen.encode_families import json_of
from loadgen.producer import EventTimePace, Player, Progress, Sink
from loadgen.scenarios import Scenario
from loadgen.truth import Truth

_ALIGN_MS: Final = 60_000
_JOIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a scenario is played: from ``start_ms`` (event time) at ``speed`` times the pace of the clock.

    ``begin_ms`` is the clock's time at which the first event is due.
    """

    start_ms: int
    speed: float
    begin_ms: int = 0

    def intended_ms(self, ts_ms: int) -> int:
        """When an event of this time is due by the clock, ms since the epoch."""
        return self.begin_ms + round((ts_ms - self.start_ms) / self.speed)

    @classmethod
    def catching_up(cls, scenario: Scenario, now_ms: int, wall_s: float) -> "Schedule":
        """Play the whole scenario in ``wall_s`` seconds, > 0, see :meth:`ending_now`."""
        return cls.ending_now(now_ms, scenario.duration_s, scenario.duration_s / wall_s)

    @classmethod
    def ending_now(cls, begin_ms: int, duration_s: int, speed: float) -> "Schedule":
        """Play ``duration_s`` s of event time from ``begin_ms`` on, the last event being of the moment it is sent.

        Event time starts at a whole minute, up to one minute earlier than that asks for, so never in the future.
        """
        start_ms = begin_ms + round(duration_s * 1000 / speed) - duration_s * 1000
        return cls(start_ms - start_ms % _ALIGN_MS, speed, begin_ms)


@dataclass(slots=True)
class Playing:
    """A scenario being played into a sink."""

    scenario: Scenario
    schedule: Schedule
    sink: Sink
    encode: Encode = json_of
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _player: Player | None = None
    _failure: Exception | None = None

    @property
    def truths(self) -> tuple[Truth, ...]:
        """What is injected, placed in event time."""
        return self.scenario.truths(self.schedule.start_ms)

    @property
    def end_ms(self) -> int:
        """Event time at which it ends."""
        return self.schedule.start_ms + self.scenario.duration_s * 1000

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        return self._player.progress if self._player else Progress()

    @property
    def done(self) -> bool:
        """Whether everything was sent, or the playing failed."""
        return self._thread is not None and not self._thread.is_alive()

    def start(self) -> None:
        """Begin, in the background."""
        pace = EventTimePace(self.schedule.start_ms, self.schedule.speed)
        self._player = Player(self.sink, pace, wait=self._stop.wait)
        self._thread = threading.Thread(target=self._play, name="loadgen", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the playing, if anything did."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End early and wait for the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def _play(self) -> None:
        assert self._player is not None  # noqa: S101 - start() made it
        mix = self.scenario.mix(self.schedule.start_ms)
        try:
            self._player.play(messages(mix.seconds(0, self.scenario.duration_s), self.encode))
        except Exception as error:  # noqa: BLE001 - told to whoever started the thread, by check()
            self._failure = error
