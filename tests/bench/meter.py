"""What a contender has used, read by itself: no third party's library, so that it runs in any environment."""

from __future__ import annotations

import json
import os
import resource
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WRITE_S = 0.2


def peak_mb() -> float:
    """The most memory that was resident; what ``getrusage`` says has the parent's in it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


@dataclass
class Meter:
    """Wall and CPU time of all threads, from :meth:`start` on."""

    events: int = 0
    began_wall_s: float = 0.0
    began_cpu_s: float = 0.0

    def start(self) -> None:
        """Begin, if nobody has."""
        if not self.began_wall_s:
            self.began_wall_s, self.began_cpu_s = time.monotonic(), time.process_time()

    def add(self, events: int, newest_ms: int) -> bool:
        """Count events, the newest of which has that event time; true when that is enough."""
        raise NotImplementedError

    def reading(self) -> dict[str, Any]:
        """What there is to tell now."""
        wall, cpu = time.monotonic() - self.began_wall_s, time.process_time() - self.began_cpu_s
        return {"events": self.events, "wall_s": wall, "cpu_s": cpu, "rss_mb": peak_mb()}


@dataclass
class Count(Meter):
    """Tells on standard output, once so many events were processed."""

    wanted: int = 0

    def add(self, events: int, newest_ms: int) -> bool:
        del newest_ms
        before = self.events
        self.events += events
        if before < self.wanted <= self.events:
            print(json.dumps(self.reading()), flush=True)  # noqa: T201 - read by the parent
            return True
        return False


@dataclass
class Watch(Meter):
    """Writes a file over and over: when it began, and when the last event so far from ``flush_ms`` on was counted.

    The events from that time on are the last of their partitions: a worker that has counted one of each has counted
    all. What it has used by then, and until its last answer is out, whoever reads the file asks the system.
    """

    file: str = ""
    flush_ms: int = 0
    _flushed_s: float = 0.0

    def __post_init__(self) -> None:
        threading.Thread(target=self._write_on, name="meter", daemon=True).start()

    def add(self, events: int, newest_ms: int) -> bool:
        self.events += events
        if newest_ms >= self.flush_ms:
            self._flushed_s = time.monotonic()
        return False

    def _write_on(self) -> None:
        path = Path(self.file)
        new = path.with_suffix(".new")
        while True:
            told = {
                "pid": os.getpid(),
                "events": self.events,
                "began_s": self.began_wall_s,
                "began_cpu_s": self.began_cpu_s,
                "ended_s": self._flushed_s,
                "rss_mb": peak_mb(),
            }
            new.write_text(json.dumps(told))
            new.replace(path)
            time.sleep(_WRITE_S)
