"""Workers as child processes: one per stage, watched, restarted only where someone sees it, and none left behind.

How a child is started is handed in (``deploy.local`` has one whose children the kernel ends with their parent), so that
this module knows processes by what they can do, not by how they are made.
"""

import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, Self

import msgspec

from streams.clock import Clock
from streams.errors import HalcyonError

STAGES: Final = ("ingest", "analyse", "alert", "write")
_ROOT: Final = Path(__file__).resolve().parents[1]
_PROGRAM: Final = (sys.executable, "-m", "streams")
_PAGE_TIMEOUT_S: Final = 2.0
_TAIL_LINES: Final = 15
_FIRST_BACKOFF_S: Final = 1.0
_LONGEST_BACKOFF_S: Final = 30.0


class Child(Protocol):
    """A program that runs in the background and writes to a log file."""

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        ...

    def start(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start it with ``env`` added to this process's environment."""
        ...

    def stop(self, timeout_s: float = ...) -> None:
        """Ask it to end, and end it when it does not."""
        ...

    def log_tail(self, lines: int = ...) -> str:
        """The last lines it wrote."""
        ...


NewChild = Callable[[str, Path], Child]
"""From a name for messages and the path of a log file."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a worker says of itself on ``/readyz``: ``checks`` maps names to (ok, detail)."""

    answered: bool
    ready: bool = False
    checks: Mapping[str, tuple[bool, str]] = field(default_factory=dict)

    def detail(self, ending: str) -> str:
        """The words of the first check whose name ends so, ``""`` where there is none."""
        return next((words for name, (_, words) in self.checks.items() if name.endswith(ending)), "")


@dataclass(slots=True)
class Worker:
    """One worker process: its stages, where it logs, where it says its address, how often it was started again."""

    stage: str
    child: Child
    log_path: Path
    ready_file: Path
    restarts: int = 0
    not_before_s: float = 0.0

    @property
    def url(self) -> str:
        """Address of its pages; ``""`` while it has not said it."""
        try:
            return self.ready_file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    def page(self) -> Page:
        """Ask ``/readyz``."""
        if not (self.child.alive and (url := self.url)):
            return Page(answered=False)
        return _ask(url + "/readyz")


class Supervisor:
    """The workers of one installation on this machine.

    Parameters
    ----------
    folder
        Receives logs and the files in which workers say their address.
    env
        Settings for the workers, as environment variables; these win over files.
    new_child
        Makes a process that is not started yet.
    clock
        For backing off.

    Examples
    --------
    >>> with Supervisor(folder, env, ChildProcess, SystemClock()) as workers:  # doctest: +SKIP
    ...     workers.start(STAGES)
    """

    def __init__(self, folder: Path, env: Mapping[str, str], new_child: NewChild, clock: Clock) -> None:
        self.workers: list[Worker] = []
        self._folder = folder
        self._env = dict(env)
        self._new_child = new_child
        self._clock = clock

    def start(self, stages: Sequence[str] = STAGES) -> None:
        """Start a worker per entry of ``stages``; one may be several stages with commas between them."""
        for stage in stages:
            name = stage.replace(",", "-")
            ready_file = self._folder / "run" / f"{name}.url"
            ready_file.unlink(missing_ok=True)
            log_path = self._folder / "logs" / f"{name}.log"
            worker = Worker(stage, self._new_child(f"the {stage} worker", log_path), log_path, ready_file)
            self.workers.append(worker)
            self._launch(worker)

    def ended(self) -> list[Worker]:
        """The workers that have ended though nobody asked them to."""
        return [worker for worker in self.workers if not worker.child.alive]

    def restart_ended(self) -> list[Worker]:
        """Start those again that have ended, each time after a longer wait; the caller says so to whoever watches.

        Returns
        -------
        list of Worker
            Those that were started by this call.
        """
        started = []
        now_s = self._clock.monotonic_s()
        for worker in self.ended():
            if worker.not_before_s == 0.0:
                backoff_s = min(_FIRST_BACKOFF_S * 2**worker.restarts, _LONGEST_BACKOFF_S)
                worker.not_before_s = now_s + backoff_s
            elif now_s >= worker.not_before_s:
                worker.restarts += 1
                worker.not_before_s = 0.0
                worker.ready_file.unlink(missing_ok=True)
                self._launch(worker)
                started.append(worker)
        return started

    def wait_ready(self, timeout_s: float, pause: Callable[[float], Any]) -> None:
        """Wait until every worker says that it is ready.

        Raises
        ------
        HalcyonError
            When one ends, or the time is over; carries the end of its log and what it waits for.
        """
        deadline_s = self._clock.monotonic_s() + timeout_s
        waiting = list(self.workers)
        while waiting:
            self.check()
            waiting = [worker for worker in waiting if not worker.page().ready]
            if waiting and self._clock.monotonic_s() > deadline_s:
                raise HalcyonError(
                    f"The {waiting[0].stage} worker was not ready within {timeout_s:g} s: {_complaint(waiting[0])}",
                    str(waiting[0].log_path),
                    f"The end of its log:\n{waiting[0].child.log_tail(_TAIL_LINES)}",
                )
            if waiting:
                pause(0.1)

    def check(self) -> None:
        """Do nothing while all workers run.

        Raises
        ------
        HalcyonError
            When one has ended; carries the end of its log.
        """
        for worker in self.ended():
            raise HalcyonError(
                f"The {worker.stage} worker ended by itself.",
                str(worker.log_path),
                f"The end of its log:\n{worker.child.log_tail(_TAIL_LINES)}",
            )

    def stop(self) -> None:
        """End all workers, all at once: what one has not handed on is in Kafka still."""
        with ThreadPoolExecutor(max_workers=max(len(self.workers), 1)) as pool:
            list(pool.map(lambda worker: worker.child.stop(), self.workers))
        self.workers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self, worker: Worker) -> None:
        env = {
            "PYTHONPATH": str(_ROOT),
            **self._env,
            "HALCYON_WEB__PORT": "0",
            "HALCYON_WEB__READY_FILE": str(worker.ready_file),
        }
        stages = [argument for stage in worker.stage.split(",") for argument in ("--stage", stage)]
        worker.child.start([*_PROGRAM, "worker", *stages], env)


def _ask(url: str) -> Page:
    try:
        with urllib.request.urlopen(url, timeout=_PAGE_TIMEOUT_S) as answer:  # noqa: S310 - the worker's own http://
            ready, body = True, answer.read()
    except urllib.error.HTTPError as error:
        ready, body = False, error.read()
    except OSError:
        return Page(answered=False)
    try:
        checks = msgspec.json.decode(body)["checks"]
        return Page(True, ready, {check["name"]: (check["ok"], check["detail"]) for check in checks})
    except (msgspec.DecodeError, KeyError, TypeError):
        return Page(answered=False)


def _complaint(worker: Worker) -> str:
    page = worker.page()
    if not page.answered:
        return "its health page does not answer."
    return "; ".join(f"{name} is {words}" for name, (ok, words) in page.checks.items() if not ok) or "it is now."
