import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from streams.clock import ManualClock
from streams.errors import HalcyonError
from streams.supervisor import Page, Supervisor


class FakeChild:
    """A process that lives until it is told otherwise."""

    def __init__(self, name: str, log_path: Path) -> None:
        self.name, self.log_path = name, log_path
        self.alive = False
        self.starts: list[tuple[Sequence[str], Mapping[str, str]]] = []

    def start(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.alive = True
        self.starts.append((command, env or {}))

    def stop(self, timeout_s: float = 15.0) -> None:
        self.alive = False

    def log_tail(self, lines: int = 30) -> str:
        return f"the end of {self.log_path.name}"


class World:
    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(now_ms=1_000_000)
        self.children: list[FakeChild] = []
        self.supervisor = Supervisor(folder, {"HALCYON_X": "1"}, self.new_child, self.clock)

    def new_child(self, name: str, log_path: Path) -> FakeChild:
        self.children.append(FakeChild(name, log_path))
        return self.children[-1]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_worker_per_entry_with_its_stages_and_settings(world: World, tmp_path: Path) -> None:
    world.supervisor.start(["ingest", "alert,write"])
    commands = [child.starts[0][0] for child in world.children]
    assert [list(command[3:]) for command in commands] == [
        ["worker", "--stage", "ingest"],
        ["worker", "--stage", "alert", "--stage", "write"],
    ]
    env = world.children[0].starts[0][1]
    assert env["HALCYON_X"] == "1"
    assert env["HALCYON_WEB__PORT"] == "0"
    assert Path(env["HALCYON_WEB__READY_FILE"]).is_relative_to(tmp_path)
    assert world.children[0].log_path != world.children[1].log_path


def test_an_address_of_an_earlier_life_is_not_believed(world: World, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "ingest.url").write_text("http://127.0.0.1:1")
    world.supervisor.start(["ingest"])
    assert world.supervisor.workers[0].url == ""
    assert not world.supervisor.workers[0].page().answered


def test_a_worker_that_ended_is_told_with_the_end_of_its_log(world: World) -> None:
    world.supervisor.start(["ingest", "alert"])
    world.supervisor.check()
    world.children[1].alive = False
    with pytest.raises(HalcyonError, match="alert worker ended") as caught:
        world.supervisor.check()
    assert "the end of alert.log" in caught.value.todo


def test_a_worker_that_ended_is_restarted_after_ever_longer_waits(world: World) -> None:
    world.supervisor.start(["ingest"])
    child = world.children[0]
    waits = []
    for _ in range(8):
        child.alive = False
        assert world.supervisor.restart_ended() == []
        waited = 0.0
        while not world.supervisor.restart_ended():
            world.clock.advance(0.5)
            waited += 0.5
        waits.append(waited)
    assert waits == sorted(waits)
    assert waits[0] == 1.0
    assert waits[-1] == 30.0
    assert world.supervisor.workers[0].restarts == 8
    assert len(child.starts) == 9


def test_waiting_for_a_worker_that_never_answers_ends_with_its_log(world: World) -> None:
    world.supervisor.start(["ingest"])
    with pytest.raises(HalcyonError, match="not ready") as caught:
        world.supervisor.wait_ready(5.0, world.clock.advance)
    assert "health page does not answer" in caught.value.what


def test_the_end_of_the_block_ends_all(world: World) -> None:
    with pytest.raises(KeyboardInterrupt), world.supervisor as supervisor:  # noqa: PT012 - what is left by an exception
        supervisor.start(["ingest", "analyse"])
        raise KeyboardInterrupt
    assert [child.alive for child in world.children] == [False, False]
    assert world.supervisor.workers == []


def test_a_page_is_read_by_the_ending_of_a_check() -> None:
    page = Page(True, True, {"ingest.lag_events": (True, "12, at most 1e+06")})
    assert page.detail("lag_events") == "12, at most 1e+06"
    assert page.detail("commit_age_s") == ""


def test_children_find_the_packages_of_this_checkout(world: World) -> None:
    world.supervisor.start(["ingest"])
    path = world.children[0].starts[0][1]["PYTHONPATH"]
    assert Path(path, "streams", "supervisor.py").exists()
    assert os.path.isabs(path)  # noqa: PTH117 - the text is what the child gets
