"""Workers as processes of their own: started, asked, killed."""

import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

from deploy.local.process import ChildProcess
from tests.harness.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
READY_S = 90.0
_PAGE_S = 2.0


class Worker:
    """One worker process that can die and be started again.

    Parameters
    ----------
    name
        For messages and files.
    stages
        What it runs.
    folder
        For its log and its ready file.
    env
        The settings.
    """

    def __init__(self, name: str, stages: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        self.name, self.stages = name, tuple(stages)
        self.log_path = folder / f"{name}.log"
        self._ready_file = folder / f"{name}.ready"
        web = {"HALCYON_WEB__PORT": "0", "HALCYON_WEB__READY_FILE": str(self._ready_file)}
        self._env = {**env, **web, "PYTHONPATH": str(ROOT)}
        self._child = ChildProcess(name, self.log_path)
        self.pid = 0
        self.started_ms = 0

    def start(self, step: str = "", nth: int = 1, signum: signal.Signals = signal.SIGKILL) -> None:
        """Start it; with ``step``, as one that sends itself a signal there the nth time (see ``crashing_worker``)."""
        self._ready_file.unlink(missing_ok=True)
        program = ["streams", "worker", *(word for stage in self.stages for word in ("--stage", stage))]
        if step:
            program = ["tests.harness.crashing_worker", signum.name, step, str(nth), *self.stages]
        self.started_ms = time.time_ns() // 1_000_000
        self._child.start([sys.executable, "-P", "-m", *program], env=self._env)
        self.pid = self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._child.alive

    @property
    def was_killed(self) -> bool:
        """Whether it has ended, by SIGKILL."""
        return self.exit_code == -signal.SIGKILL

    @property
    def exit_code(self) -> int | None:
        """How the process has ended; None while it runs, or before its first start."""
        process = self._child._process
        return None if process is None else process.poll()

    @property
    def is_stopped(self) -> bool:
        """Whether the process sleeps since a SIGSTOP."""
        return self.alive and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    @property
    def rss_bytes(self) -> int:
        """What the process holds in memory."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)
        assert self._child._process is not None
        self._child._process.wait()

    def signal(self, signum: signal.Signals) -> None:
        """Any signal; does not wait for what comes of it."""
        os.kill(self.pid, signum)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        process = self._child._process
        self._child.stop(timeout_s=70.0)
        return -1 if process is None else process.returncode

    def is_ready(self) -> bool:
        """Whether ``/readyz`` says so."""
        page = self.page("/readyz")
        return bool(page) and msgspec.json.decode(page)["status"] == "ok"

    def held(self) -> set[str]:
        """The stages of which it holds partitions: of one with fewer partitions than workers, some hold none."""
        page = self.page("/readyz")
        checks = msgspec.json.decode(page)["checks"] if page else ()
        return {
            check["name"].removesuffix(".assigned")
            for check in checks
            if check["name"].endswith(".assigned") and check["ok"]
        }

    def page(self, path: str) -> bytes:
        """What it answers on its web port, with whatever status; empty when it does not."""
        if not self._ready_file.exists():
            return b""
        try:
            with urllib.request.urlopen(f"{self._ready_file.read_text()}{path}", timeout=_PAGE_S) as page:  # noqa: S310
                return bytes(page.read())
        except urllib.error.HTTPError as error:
            return bytes(error.read())
        except (urllib.error.URLError, OSError):
            return b""

    def wait_ready(self, timeout_s: float = READY_S) -> float:
        """Wait until it holds partitions and keeps up; how long that took, in seconds."""
        began = time.monotonic()

        def ready() -> bool:
            assert self.alive, f"{self.name} has ended:\n{self._child.log_tail(40)}"
            return self.is_ready()

        wait_for(f"{self.name} is ready", ready, timeout_s)
        return time.monotonic() - began

    def log_tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return self._child.log_tail(lines)

    def log(self) -> str:
        """All that its lives have logged."""
        return self.log_path.read_text(errors="replace")
