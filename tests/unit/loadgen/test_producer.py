from collections.abc import Sequence

import pytest

from loadgen.producer import EventTimePace, Message, Player, RatePace


class Recorder:
    """A sink that takes its time: ``cost_s`` on the shared clock for every call."""

    def __init__(self, clock: list[float], cost_s: float = 0.0) -> None:
        self.clock, self.cost_s = clock, cost_s
        self.sent: list[tuple[float, Message]] = []
        self.closed = False

    def send(self, messages: Sequence[Message]) -> None:
        self.sent += [(self.clock[0], message) for message in messages]
        self.clock[0] += self.cost_s

    def close(self) -> None:
        self.closed = True


def messages(count: int, step_ms: int) -> list[Message]:
    return [Message(1_000_000 + place * step_ms, b"k", b"v") for place in range(count)]


def player(pace: EventTimePace | RatePace, cost_s: float = 0.0) -> tuple[Player, Recorder]:
    clock = [100.0]

    def wait(seconds: float) -> bool:
        clock[0] += seconds
        return False

    recorder = Recorder(clock, cost_s)
    return Player(recorder, pace, monotonic_s=lambda: clock[0], wait=wait), recorder


def test_no_event_is_sent_before_it_is_due_and_none_long_after() -> None:
    played, recorder = player(EventTimePace(1_000_000, speed=30.0))
    played.play(messages(500, 100))
    for at_s, message in recorder.sent:
        due_s = (message.ts_ms - 1_000_000) / 1000 / 30.0
        assert due_s - 1e-9 <= at_s - 100.0 <= due_s + 0.02 + 1e-9
    assert recorder.closed
    assert played.progress.events == 500
    assert not played.progress.fell_behind


def test_order_is_kept() -> None:
    played, recorder = player(EventTimePace(1_000_000, speed=10.0))
    sent = messages(300, 7)
    played.play(sent)
    assert [message for _, message in recorder.sent] == sent


def test_a_rate_is_kept() -> None:
    played, recorder = player(RatePace(100.0))
    played.play(messages(300, 0))
    assert recorder.sent[-1][0] - 100.0 == pytest.approx(3.0, abs=0.03)


def test_a_slow_sink_does_not_move_the_schedule_and_the_delay_is_told() -> None:
    # Twice the time that there is: an open loop sends without pause and says how late it is.
    played, recorder = player(EventTimePace(1_000_000, speed=1.0), cost_s=0.2)
    played.play(messages(50, 100))
    assert played.progress.fell_behind
    assert played.progress.worst_behind_s == pytest.approx(49 * 0.1, abs=0.2)
    assert len(recorder.sent) == 50


def test_as_fast_as_possible_is_never_behind() -> None:
    played, _ = player(RatePace(float("inf")), cost_s=1.0)
    played.play(messages(5000, 1))
    assert played.progress.events == 5000
    assert not played.progress.fell_behind


def test_it_ends_when_told_to() -> None:
    clock = [0.0]
    recorder = Recorder(clock)
    calls = []

    def wait(seconds: float) -> bool:
        clock[0] += seconds
        calls.append(seconds)
        return len(calls) > 3

    Player(recorder, EventTimePace(1_000_000, 1.0), lambda: clock[0], wait).play(messages(100, 1000))
    assert len(recorder.sent) == 3
    assert recorder.closed


@pytest.mark.parametrize("speed", [0.0, -1.0])
def test_time_goes_forward(speed: float) -> None:
    with pytest.raises(ValueError, match="forward"):
        EventTimePace(0, speed)


def test_a_rate_is_positive() -> None:
    with pytest.raises(ValueError, match="over 0"):
        RatePace(0.0)
