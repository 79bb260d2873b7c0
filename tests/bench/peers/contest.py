"""One contender at a time, in processes of its own: started, watched, checked, ended."""

import json
import os
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from deploy.local.ports import free_port
from streams.cli.topics import declared
from streams.topics import Topic, TopicAdmin
from tests.bench.contenders import PARTITIONS
from tests.bench.peers.answers import Panes, Results, Told, wrong
from tests.bench.peers.environments import interpreter
from tests.bench.peers.house import halcyon_settings
from tests.bench.peers.workload import Place, Truth

TIMEOUT_S: Final = 1_200.0
_END_S: Final = 20.0
_SOURCE: Final = "predictions"


@dataclass(frozen=True, slots=True)
class Contender:
    """Who it is.

    Attributes
    ----------
    name, title
        On the command line, and in tables.
    kind
        Which program runs: ``halcyon``, ``bytewax``, ``quix``, ``faust``, ``ceiling`` or ``broker``.
    encoding
        Of the topic it reads: ``json`` or ``arrow``.
    slow
        It reads the short topic.
    how
        What else its program is told.
    """

    name: str
    title: str
    kind: str
    encoding: str = "json"
    slow: bool = False
    how: str = ""

    @property
    def answers(self) -> bool:
        """Whether it does the job; a ceiling does not."""
        return self.kind not in {"ceiling", "broker"}


CONTENDERS: Final = (
    Contender("broker", "ceiling: broker and client", "broker"),
    Contender("decode", "ceiling: aiokafka + msgspec", "ceiling"),
    Contender("halcyon", "Halcyon ingest, JSON", "halcyon"),
    Contender("arrow", "Halcyon ingest, Arrow", "halcyon", "arrow"),
    Contender("bytewax", "Bytewax", "bytewax"),
    Contender("quix", "Quix Streams", "quix"),
    Contender("faust", "stock Faust, windows in a table", "faust", slow=True, how="table"),
    Contender("faust-memory", "stock Faust, windows in memory", "faust", slow=True, how="memory"),
)


@dataclass(frozen=True, slots=True)
class Run:
    """What a contender did in one run.

    ``wall_s`` is until the last event was counted in, ``cpu_s`` of all threads of all workers until the last answer was
    out; ``rss_mb`` the peaks of all workers together; ``wrong`` how many windows were told wrongly.
    """

    events: int
    workers: int
    wall_s: float
    cpu_s: float
    rss_mb: float
    wrong: int = 0

    @property
    def per_s(self) -> float:
        """Events a second."""
        return self.events / self.wall_s

    @property
    def cpu_us(self) -> float:
        """CPU µs per event."""
        return self.cpu_s / self.events * 1e6


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be read, where, and what is so: all that a run needs but the contender."""

    bootstrap: str
    prefix: str
    events: int
    flush_ms: int
    truth: Mapping[Place, Truth]
    workers: int = 1


class WrongAnswerError(RuntimeError):
    """A contender did another job than it was given."""


def run_once(contender: Contender, task: Task) -> Run:
    """One run of one contender.

    Raises
    ------
    WrongAnswerError
        When its answers are not what is so.
    SystemExit
        When it died or did not finish.
    """
    with playing(contender, task) as (game, results):
        deadline_s = time.monotonic() + TIMEOUT_S
        while not _finished(game, results, task):
            if results is not None:
                results.poll()
            else:
                time.sleep(0.05)
            game.check(deadline_s)
        cpu_s = game.cpu_s()
        found = game.readings()
    if results is not None:
        problems = wrong(results.reader.answers(), task.truth, same_bins=contender.kind != "halcyon")
        if problems:
            raise WrongAnswerError(f"{contender.title} told {len(problems)} windows wrongly, such as {problems[0]}")
    working = [each for each in found if each["began_s"]]
    wall_s = max(each["ended_s"] for each in working) - min(each["began_s"] for each in working)
    return Run(task.events, task.workers, wall_s, cpu_s, sum(each["rss_mb"] for each in found))


def _finished(game: "Game", results: Results | None, task: Task) -> bool:
    if game.events() < task.events:
        return False
    return results is None or task.truth.keys() <= results.reader.answers().keys()


@dataclass(slots=True)
class Game:
    """The processes of one run, and the files they write about themselves."""

    title: str
    folder: Path
    children: list["subprocess.Popen[bytes]"]

    def readings(self) -> list[dict[str, Any]]:
        """What each worker wrote last."""
        files = [path for path in self.folder.glob("meter*") if path.suffix != ".new"]
        return [json.loads(path.read_text()) for path in files]

    def events(self) -> int:
        """What all of them have counted."""
        return sum(each["events"] for each in self.readings())

    def cpu_s(self) -> float:
        """What all threads of all workers have used since their first event."""
        used = 0.0
        for each in self.readings():
            times = psutil.Process(each["pid"]).cpu_times()
            used += times.user + times.system - each["began_cpu_s"] if each["began_s"] else 0.0
        return used

    def check(self, deadline_s: float) -> None:
        """End everything when a worker has died or time is up."""
        dead = [child for child in self.children if child.poll() is not None]
        if dead or time.monotonic() > deadline_s:
            why = (
                f"ended with {dead[0].returncode}" if dead else f"did not finish in {TIMEOUT_S:g} s: {self.readings()}"
            )
            raise SystemExit(f"{self.title} {why}:\n{(self.folder / 'log').read_text(errors='replace')[-3000:]}")


@contextmanager
def playing(contender: Contender, task: Task) -> Iterator[tuple[Game, Results | None]]:
    """A contender's workers, reading from the beginning of their topic, and the reader of their answers."""
    run = f"{contender.name}-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix="halcyon-peers-") as name:
        folder = Path(name)
        results = _results(contender, task, run)
        with (folder / "log").open("wb") as log:
            commands = _commands(contender, task, run, folder)
            children = [subprocess.Popen(command, stdout=log, stderr=log, env=_environment()) for command in commands]
            try:
                yield Game(contender.title, folder, children), results
            finally:
                _end(children)
                if results is not None:
                    results.close()


def _results(contender: Contender, task: Task, run: str) -> Results | None:
    if not contender.answers:
        return None
    admin = TopicAdmin({"bootstrap.servers": task.bootstrap})
    if contender.kind == "halcyon":
        admin.apply(declared(halcyon_settings(task.bootstrap, task.prefix, f"{run}.")))
        return Results(task.bootstrap, f"{run}.panes", PARTITIONS, Panes())
    admin.apply([Topic(f"{run}.results", 1, 1, {})])
    return Results(task.bootstrap, f"{run}.results", 1, Told())


def _commands(contender: Contender, task: Task, run: str, folder: Path) -> list[list[str]]:
    """The command line of each worker."""
    python, kind = interpreter(contender.kind), contender.kind
    source, results, flush = task.prefix + _SOURCE, f"{run}.results", str(task.flush_ms)
    if kind == "bytewax":
        call = f"flow({task.bootstrap!r}, {source!r}, {results!r}, {str(folder / 'meter')!r}, {flush})"
        flow = [python, "-m", "bytewax.run", f"tests.bench.peers.bytewax_peer:{call}"]
        if task.workers == 1:
            return [flow]
        addresses = ";".join(f"127.0.0.1:{port}" for port in _ports(task.workers))
        return [[*flow, "-i", str(number), "-a", addresses] for number in range(task.workers)]
    commands = []
    for number in range(task.workers):
        file, state = str(folder / f"meter-{number}"), str(folder / f"state-{number}")
        command = [python, "-m", f"tests.bench.peers.{kind}_peer"]
        if kind == "quix":
            command += [task.bootstrap, source, results, file, flush, run, state]
        elif kind == "faust":
            command += [contender.how, task.bootstrap, source, results, file, flush, run, state]
        else:
            command = [python, "-m", "tests.bench.peers.house", kind]
            command += [task.bootstrap, task.prefix, f"{run}.", file, flush, f"{run}-{number}"]
        commands.append(command)
    return commands


def _ports(count: int) -> list[int]:
    ports: list[int] = []
    while len(ports) < count:
        port = free_port()
        if port not in ports:
            ports.append(port)
    return ports


def _environment() -> dict[str, str]:
    # Not what this process runs under: the peers have environments of their own, and read this folder alone.
    kept = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    return {**kept, "PYTHONPATH": str(Path.cwd())}


def _end(children: Sequence["subprocess.Popen[bytes]"]) -> None:
    for child in children:
        child.send_signal(signal.SIGTERM)
    deadline_s = time.monotonic() + _END_S
    for child in children:
        try:
            child.wait(max(deadline_s - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
