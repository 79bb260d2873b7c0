"""A scenario in a thread of its own: event time starts in the past and has caught up with the clock at the end."""

import threading
from dataclasses import dataclass, field
from typing import Final

from loadgen.encode import Encode, json_messages, messages
from loadgen.producer import EventTimePace, Player, Progress, Sink
from loadgen.scenarios import Scenario
from loadgen.truth import Truth

_ALIGN_MS: Final = 60_000
_JOIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a scenario is played: from ``start_ms`` (event time) at ``speed`` times the pace of the clock."""

    start_ms: int
    speed: float

    @classmethod
    def catching_up(cls, scenario: Scenario, now_ms: int, wall_s: float) -> "Schedule":
        """Play the whole scenario in ``wall_s`` seconds, > 0, so that its last event is of the moment it is sent.

        Event time starts at a whole minute, up to one minute earlier than that asks for, so never in the future.
        """
        start_ms = now_ms + round(wall_s * 1000) - scenario.duration_s * 1000
        return cls(start_ms - start_ms % _ALIGN_MS, scenario.duration_s / wall_s)


@dataclass(slots=True)
class Playing:
    """A scenario being played into a sink."""

    scenario: Scenario
    schedule: Schedule
    sink: Sink
    encode: Encode = json_messages
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
