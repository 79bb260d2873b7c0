"""Workers that die by SIGKILL, at random moments and at chosen steps, and are started again at once."""

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.harness.workers import Worker

_LEAD_S: Final = 6.0
"""A partition that nothing was ever read of counts as idle, and is not waited for; every one is read from by then."""


@dataclass
class Reaper:
    """Kills workers and starts them again.

    Parameters
    ----------
    workers
        By name; all running.
    rng
        Chooses moments and victims.
    """

    workers: Mapping[str, Worker]
    rng: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    at_steps: list[str] = field(default_factory=list)
    recoveries_s: list[tuple[str, float]] = field(default_factory=list)
    _down: dict[str, tuple[float, str]] = field(default_factory=dict)
    _armed: dict[str, str] = field(default_factory=dict)

    def kill(self, name: str, step: str = "", nth: int = 1) -> None:
        """SIGKILL now, and a new life; with ``step``, one that kills itself there."""
        worker = self.workers[name]
        if worker.alive:
            worker.kill()
            self._count(name, "at random")
        else:
            self._bury(name)
        self._start(name, step, nth)

    def watch(self) -> None:
        """Start again who has died at its step; note who has recovered."""
        for name, worker in self.workers.items():
            if not worker.alive:
                self._bury(name)
                self._start(name)
            elif name in self._down and worker.is_ready():
                died_s, how = self._down.pop(name)
                self.recoveries_s.append((f"{name} {how}", time.monotonic() - died_s))

    def run(self, plan: Mapping[str, str], kills: int, span_s: float, over: Callable[[], bool]) -> None:
        """Kill at random moments of ``span_s``; then watch until ``over``.

        Parameters
        ----------
        plan
            Worker → step. Every worker is killed early; its next life ends by itself at the step, if one is named.
        kills
            From outside, beside those at steps.
        """
        first, began = self.rng.sample(list(plan), len(plan)), time.monotonic()
        early = sorted(self.rng.uniform(_LEAD_S, span_s / 3) for _ in first)
        rest = sorted(self.rng.uniform(_LEAD_S, span_s) for _ in range(kills - len(first)))
        moments = sorted([*zip(early, first, strict=True), *((at_s, "") for at_s in rest)])
        for at_s, name in moments:
            while time.monotonic() - began < at_s:
                self.watch()
                time.sleep(0.05)
            # Who is to die at a step is left alone until it has come there.
            free = [other for other in plan if other not in self._armed]
            if name:
                self.kill(name, plan[name])
            elif free:
                self.kill(self.rng.choice(free))
        while not over():
            self.watch()
            time.sleep(0.05)

    def settle(self, timeout_s: float = 120.0) -> None:
        """Wait until every worker has died where it was to die, and holds its partitions again."""
        deadline = time.monotonic() + timeout_s
        while self._down or self._armed:
            self.watch()
            in_time = time.monotonic() < deadline
            assert in_time, f"not ready again: {self._down}; never came to their step: {self._armed}"
            time.sleep(0.05)

    def report(self) -> str:
        """Kills and recoveries, for people."""
        times = sorted(seconds for _, seconds in self.recoveries_s)
        spread = f"{times[0]:.1f} … {times[len(times) // 2]:.1f} … {times[-1]:.1f} s" if times else "none"
        kills = f"{sum(self.kills.values())} kills {dict(self.kills)}, at steps: {self.at_steps}"
        return f"{kills}; ready again after {spread}"

    def _start(self, name: str, step: str = "", nth: int = 1) -> None:
        self.workers[name].start(step, nth)
        if step:
            self._armed[name] = step

    def _bury(self, name: str) -> None:
        """Only who was to die at a step may be found dead."""
        worker, step = self.workers[name], self._armed.pop(name, "")
        as_planned = step and worker.was_killed
        assert as_planned, f"{name} has ended by itself:\n{worker.log_tail()}"
        self.at_steps.append(step)
        self._count(name, step)

    def _count(self, name: str, how: str) -> None:
        self.kills[name] += 1
        self._down[name] = (time.monotonic(), how)
        if how == "at random":
            self._armed.pop(name, None)
