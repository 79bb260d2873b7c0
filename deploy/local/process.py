"""One child process: started, watched, killed, and never left behind."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launcher.py")
_POLL_S = 0.02
_KILL_WAIT_S = 10.0
_TAIL_LINES = 30
_LOG_MAX_BYTES = 16 * 1024 * 1024
# The death signal is sent when the *thread* that forked the child ends, so all children are forked by one thread
# that lives as long as this process.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="halcyon-spawner")


class LocalPartError(RuntimeError):
    """A local part could not be set up, started or stopped; the message says what to do."""


class ChildProcess:
    """A program that runs in the background, its output in a log file.

    The child gets a session of its own, so that Ctrl-C in a terminal reaches only its parent, which then stops its
    children in order. On Linux the kernel kills the child when this process ends in whatever way; elsewhere it is
    killed when this process exits by itself, but not when it is killed.

    Parameters
    ----------
    name
        What the part is called in error messages.
    log_path
        File that takes stdout and stderr; appended to, or begun anew at a start that finds it over 16 MiB.
    """

    def __init__(self, name: str, log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.kill)

    @property
    def pid(self) -> int:
        """Process id of the running child.

        Raises
        ------
        LocalPartError
            When the child does not run.
        """
        if self._process is None:
            raise LocalPartError(f"{self.name} is not running: call start() first")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start the child; `env` is added to this process's environment.

        Raises
        ------
        LocalPartError
            When it runs already, or the program cannot be executed.
        """
        if self.alive:
            raise LocalPartError(f"{self.name} is already running as process {self.pid}: stop() it first")
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        launch = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *command]
        too_long = self.log_path.exists() and self.log_path.stat().st_size > _LOG_MAX_BYTES
        with self.log_path.open("wb" if too_long else "ab") as log:

            def spawn() -> subprocess.Popen[bytes]:
                return subprocess.Popen(
                    launch,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **(env or {})},
                    start_new_session=True,
                )

            self._process = _spawner.submit(spawn).result()

    def wait_ready(self, is_ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `is_ready` says so.

        Raises
        ------
        LocalPartError
            When the child ends first or the time is over; the message carries the end of the log. The child is
            killed in the second case.
        """
        deadline = time.monotonic() + timeout_s
        while not is_ready():
            if not self.alive:
                code = self._process.returncode if self._process else None
                self._process = None
                raise LocalPartError(f"{self.name} ended with status {code} while starting.\n{self._explain()}")
            if time.monotonic() > deadline:
                self.kill()
                raise LocalPartError(f"{self.name} was not ready after {timeout_s:g} s.\n{self._explain()}")
            time.sleep(_POLL_S)

    def stop(self, timeout_s: float = 15.0) -> None:
        """Ask the child to end (SIGTERM), wait, then kill it; nothing happens when it does not run."""
        if self._process is None:
            return
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def kill(self) -> None:
        """End the child at once (SIGKILL) and wait until it is gone; nothing happens when it does not run."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(_KILL_WAIT_S)
        self._process = None

    def log_tail(self, lines: int = _TAIL_LINES) -> str:
        """Return the last lines of the log, or an empty string when there is none yet."""
        return tail(self.log_path, lines)

    def _explain(self) -> str:
        return f"End of {self.log_path}:\n{self.log_tail() or '(empty)'}"


def tail(path: Path, lines: int = _TAIL_LINES, window_bytes: int = 65_536) -> str:
    """Return the last lines of a file, reading no more than its last `window_bytes`; empty when it is missing."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - window_bytes))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
