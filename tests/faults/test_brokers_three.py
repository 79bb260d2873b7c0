"""Three brokers, two of which suffice: leaders move, one dies, all are restarted in turn, while events flow."""

import itertools
import time
from collections.abc import Iterator

import pytest

from schemas.topics import TopicName
from tests.harness.cell import Cell, Play
from tests.harness.cluster import KafkaCluster

COPIES = {"HALCYON_TOPICS__REPLICATION_FACTOR": "3"}
MOVES = 12
MOVED = (TopicName.PREDICTIONS, TopicName.PANES, TopicName.FINDINGS, TopicName.ROWS, TopicName.ALERTS, TopicName.STATE)


@pytest.fixture
def brokers(kafka3: KafkaCluster) -> Iterator[KafkaCluster]:
    """All three, before and after."""
    kafka3.start()
    yield kafka3
    kafka3.start()
    kafka3.wait_in_sync("__consumer_offsets")


@pytest.mark.matrix
@pytest.mark.slow
def test_leaders_move(play: Play, brokers: KafkaCluster) -> None:
    with play(brokers, COPIES) as cell:
        rng = cell.rng
        for number in range(1, MOVES + 1):
            cell.wait_until(0.1 + 0.8 * number / MOVES)
            topic = cell.installation.topic(rng.choice(MOVED))
            partition, leader = rng.choice(sorted(brokers.leaders(topic).items()))
            brokers.move_leader(topic, partition, to=rng.choice([n for n in (1, 2, 3) if n != leader]))
        cell.recovered("leaders moved")
        # Those of the groups' offsets too: every group has a new coordinator.
        for partition, leader in brokers.leaders("__consumer_offsets").items():
            brokers.move_leader("__consumer_offsets", partition, to=leader % 3 + 1)
        cell.wait_until(1)
        assert not cell.installation.revived


@pytest.mark.matrix
@pytest.mark.slow
def test_one_of_three_is_killed_and_comes_back(play: Play, brokers: KafkaCluster) -> None:
    with play(brokers, COPIES, wall_s=30) as cell:
        victim = brokers.node(cell.rng.randint(1, 3))
        cell.wait_until(0.25)
        victim.kill()
        cell.recovered(f"broker {victim.node_id} of three killed")
        cell.wait_until(0.6)
        victim.start()
        wait_whole(cell, brokers)
        cell.wait_until(1)
        assert not cell.installation.revived


@pytest.mark.matrix
@pytest.mark.slow
def test_all_three_are_restarted_in_turn(play: Play, brokers: KafkaCluster) -> None:
    with play(brokers, COPIES, wall_s=40) as cell:
        cell.wait_until(0.15)
        for node in cell.rng.sample(brokers.nodes, 3):
            down = time.monotonic()
            node.restart()
            wait_whole(cell, brokers)
            cell.told.append(f"broker {node.node_id} restarted in {time.monotonic() - down:.1f} s")
        cell.recovered("all brokers restarted in turn")
        cell.wait_until(1)
        assert not cell.installation.revived


def wait_whole(cell: Cell, brokers: KafkaCluster) -> None:
    """Wait until every broker has all of what the installation and its groups keep."""
    for topic in itertools.chain(map(cell.installation.topic, MOVED), ["__consumer_offsets"]):
        brokers.wait_in_sync(topic)
