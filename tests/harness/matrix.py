"""``make faults``: every cell of the matrix of faults, as often as asked, each time with a fresh seed.

``python -m tests.harness.matrix --runs 5 --cells offsets --jobs 2``. Cells are the tests of ``tests/faults``. Each job
is a pytest of its own, with a broker and a ClickHouse of its own. Nothing stops it; the exit code is 1 when any cell
has failed. What a cell records under ``recovery_s`` stands beside it in the table.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from tests.harness.telling import tell

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = "tests/faults"
LOGS: Final = ROOT / ".cache" / "faults"
_NOTHING_COLLECTED: Final = 5
_TOGETHER: Final = "test_brokers_three.py"
"""Its cells have brokers of their own, three of them: one hand starts them once."""
_UNKNOWN_S: Final = 40.0


@dataclass(frozen=True)
class Outcome:
    """How a cell fared in one run."""

    passed: bool
    took_s: float
    recovery_s: str = ""

    def __str__(self) -> str:
        recovery = f" {self.recovery_s} s" if self.recovery_s else ""
        return ("ok" if self.passed else "FAILED") + recovery


Outcomes = dict[str, Outcome]


def select(cells: str) -> list[str]:
    """The ids of the cells that are meant: all, those of a mark, or those with these words in their names.

    Raises
    ------
    SystemExit
        If there are none, or pytest cannot collect them.
    """
    which = ["-m", "faults"]
    if cells in ("offsets", "matrix"):
        which = ["-m", f"faults and {cells}"]
    elif cells:
        which = ["-k", cells]
    command = [sys.executable, "-m", "pytest", FOLDER, "--collect-only", "-q", *which]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if answer.returncode not in (0, _NOTHING_COLLECTED):
        raise SystemExit(f"the cells cannot be collected:\n{answer.stdout}{answer.stderr}")
    found = [line.strip() for line in answer.stdout.splitlines() if "::" in line]
    if not found:
        raise SystemExit(f"no cell is called {cells!r}; a mark (offsets), or words as for pytest -k")
    return found


def dealt(cells: Sequence[str], jobs: int, last: Outcomes) -> list[list[str]]:
    """The cells in as many hands, each with about the same time to take, by what they took last."""
    lumps = [[cell] for cell in cells if _TOGETHER not in cell]
    lumps += [together] if (together := [cell for cell in cells if _TOGETHER in cell]) else []

    def takes_s(lump: Sequence[str]) -> float:
        return sum(last[cell].took_s if cell in last else _UNKNOWN_S for cell in lump)

    hands: list[list[str]] = [[] for _ in range(max(1, min(jobs, len(lumps))))]
    for lump in sorted(lumps, key=takes_s, reverse=True):
        min(hands, key=takes_s).extend(lump)
    return hands


def run_once(cells: Sequence[str], seed: int, jobs: int, folder: Path, last: Outcomes) -> Outcomes:
    """All cells once; logs and reports go to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "FAULTS_SEED": str(seed), "PYTHONUNBUFFERED": "1"}
    running = []
    for job, hand in enumerate(dealt(cells, jobs, last)):
        report = folder / f"job-{job}.xml"
        report.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-s",
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
            "-o",
            "junit_family=xunit1",
            *hand,
        ]
        with (folder / f"job-{job}.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
        running.append((process, report))
    outcomes: Outcomes = {}
    for process, report in running:
        process.wait()
        if report.exists():
            outcomes |= read_report(report)
    return {cell: outcomes.get(cell, Outcome(passed=False, took_s=0.0)) for cell in cells}


def read_report(report: Path) -> Outcomes:
    """Cell → how it fared, out of pytest's JUnit report."""
    outcomes: Outcomes = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest has just written it
        properties = {p.get("name"): p.get("value") or "" for p in case.iter("property")}
        passed = case.find("failure") is None and case.find("error") is None
        cell = f"{(case.get('classname') or '').replace('.', '/')}.py::{case.get('name')}"
        outcomes[cell] = Outcome(passed, float(case.get("time") or 0), properties.get("recovery_s", ""))
    return outcomes


def remembered() -> Outcomes:
    """What cells took in earlier runs on this machine, as far as their reports are still there."""
    outcomes: Outcomes = {}
    for report in sorted(LOGS.glob("run-*/job-*.xml")):
        outcomes |= read_report(report)
    return outcomes


def table(cells: Sequence[str], runs: Sequence[tuple[int, Outcomes]]) -> str:
    """One line per cell, one column per run."""
    width = max(len(name(cell)) for cell in cells)
    lines = ["  ".join([" " * width, *(f"{f'seed {seed}':>14}" for seed, _ in runs)])]
    rows = ([f"{name(cell):<{width}}", *(f"{outcomes[cell]!s:>14}" for _, outcomes in runs)] for cell in cells)
    return "\n".join([*lines, *map("  ".join, rows)])


def name(cell: str) -> str:
    """A cell's id without the folder all share."""
    return cell.removeprefix(f"{FOLDER}/")


def main(argv: Sequence[str]) -> int:
    """Run, and say how it went; 1 if any cell failed."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--cells", default="", help="a mark (offsets), or words of names as for pytest -k")
    parser.add_argument("--jobs", type=int, default=2, help="how many cells at a time")
    wanted = parser.parse_args(argv)
    cells = select(wanted.cells)
    runs: list[tuple[int, Outcomes]] = []
    last = remembered()
    for number in range(1, wanted.runs + 1):
        seed, began = random.SystemRandom().randrange(10_000), time.monotonic()
        folder = LOGS / f"run-{number}"
        outcomes = run_once(cells, seed, wanted.jobs, folder, last)
        last = outcomes
        runs.append((seed, outcomes))
        failed = [name(cell) for cell, outcome in outcomes.items() if not outcome.passed]
        took = f"{time.monotonic() - began:.0f} s"
        tell(f"run {number} of {wanted.runs}, seed {seed}: {len(cells) - len(failed)} of {len(cells)} ok, {took}")
        for cell in failed:
            tell(f"  failed: {cell} (logs: {folder.relative_to(ROOT)})")
    tell(table(cells, runs))
    return int(any(not outcome.passed for _, outcomes in runs for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
