"""Questions to brokers that are away for a moment."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.broker import patiently


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits that take no time: each moves the clock."""
    slept: list[float] = []
    clock = SimpleNamespace(sleep=slept.append, monotonic=lambda: sum(slept))
    monkeypatch.setattr("streams.broker.time", clock)
    return slept


def failing(times: int, code: int) -> Callable[[float], str]:
    left = [times]

    def ask(timeout_s: float) -> str:
        assert timeout_s > 0
        left[0] -= 1
        if left[0] >= 0:
            raise KafkaException(KafkaError(code))
        return "answer"

    return ask


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._DESTROY,
    ],
)
def test_a_broker_that_restarts_is_asked_again(code: int) -> None:
    assert patiently(failing(3, code), 30.0) == "answer"


def test_one_that_stays_away_is_given_up_when_the_time_is_over(waits: list[float]) -> None:
    with pytest.raises(KafkaException):
        patiently(failing(1_000, KafkaError._TRANSPORT), 5.0)
    assert 4.0 < sum(waits) <= 5.0


@pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._AUTHENTICATION, KafkaError._SSL])
def test_any_other_error_is_an_answer(code: int, waits: list[float]) -> None:
    with pytest.raises(KafkaException):
        patiently(failing(1, code), 30.0)
    assert waits == []
