"""The network between workers and their broker: cut, pulled, slow, and losing answers, while events flow."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.harness.cell import Play
from tests.harness.cluster import KafkaCluster, Network
from tests.harness.installation import BASE
from tests.harness.waiting import wait_for

Fault = Callable[[Network], AbstractContextManager[None]]
SESSION_S = float(BASE["HALCYON_KAFKA__SESSION_TIMEOUT_S"])
LOST = 12


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.parametrize("how", [Network.cut, Network.stalled])
def test_a_network_gone_for_longer_than_the_session_loses_nothing(play: Play, kafka1: KafkaCluster, how: Fault) -> None:
    with kafka1.network() as network, play(kafka1, through(kafka1)) as cell:
        cell.wait_until(0.3)
        with how(network):
            cell.hold(2 * SESSION_S)
        cell.recovered("network back")
        cell.wait_until(1)


@pytest.mark.matrix
@pytest.mark.slow
def test_a_slow_network_is_only_slow(play: Play, kafka1: KafkaCluster) -> None:
    # A tenth of a second each way. Event time passes forty times as fast as the clock, and so do the waits for it.
    with kafka1.network() as network, network.delayed(0.1), play(kafka1, through(kafka1), partitions=2) as cell:
        cell.wait_until(1)


@pytest.mark.matrix
@pytest.mark.slow
def test_answers_that_are_lost_double_nothing(play: Play, kafka1: KafkaCluster) -> None:
    with kafka1.network() as network, play(kafka1, through(kafka1)) as cell:
        (proxy,) = network.proxies
        for number in range(1, LOST + 1):
            cell.wait_until(0.1 + 0.8 * number / LOST)
            proxy.lose_answers(1)
            wait_for("a produce answer is lost", lambda at=number: proxy.answers_lost >= at, 30)  # type: ignore[misc]
        cell.wait_until(1)
        cell.told.append(f"{proxy.answers_lost} produce answers lost, {proxy.accepted} connections made")


@pytest.mark.matrix
@pytest.mark.slow
def test_an_alert_whose_answer_is_lost_comes_once(play: Play, kafka1: KafkaCluster) -> None:
    """Alerts are the only messages that a repeat would double: all others say what is, and may say it again."""
    with kafka1.network(losing=b"-alerts") as network, play(kafka1, through(kafka1)) as cell:
        (proxy,) = network.proxies
        proxy.lose_answers(LOST // 2)
        cell.wait_until(1)
        wait_for("an answer to alerts is lost", lambda: proxy.answers_lost, 60)
        cell.told.append(f"{proxy.answers_lost} answers to alerts lost")


def through(kafka: KafkaCluster) -> dict[str, str]:
    """Settings of workers that have the failing network between them and their brokers."""
    return {"HALCYON_KAFKA__BOOTSTRAP_SERVERS": kafka.proxied_bootstrap}
