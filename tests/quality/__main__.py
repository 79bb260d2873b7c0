"""The default scenario suite: ``python -m tests.quality [SCENARIO …] [--seeds 1 2 3] [--processes N] [--update]``.

Prints the account by kind of injection, and how it compares with the committed baseline. ``--update`` makes what it
found the baseline and writes what is missed into docs/loadgen.md. Exits 1 when something has become worse.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from loadgen.score.run import Run
from loadgen.score.text import console, render, to_json
from loadgen.score.timeline import svg
from loadgen.score.totals import account
from streams.cli.suite import SEEDS, Job, fast, play_all, suite
from tests.quality import docs
from tests.quality.standing import Baseline, better, read, standing, worse, write

out: Final = console()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code."""
    asked = _arguments(arguments)
    jobs = fast() if asked.fast else [Job(name, seed) for name in asked.scenarios for seed in asked.seeds]
    runs = _played(jobs, asked.processes)
    out.print(render(account(runs)))
    if asked.json is not None:
        asked.json.write_bytes(to_json(account(runs)))
    if asked.pictures is not None:
        _draw(runs, asked.pictures)
    if asked.update:
        write(Baseline(standing(runs), standing(_played(fast(), asked.processes))))
        docs.write(runs)
        out.print("the baseline is what was found now")
        return 0
    return _compare(runs, is_fast=asked.fast)


def _played(jobs: Sequence[Job], processes: int) -> list[Run]:
    runs = []
    for run in play_all(jobs, processes):
        runs.append(run)
        out.print(f"[dim]{run.scenario}, seed {run.seed}: {len(run.card.alerts)} alerts[/]")
    return runs


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.quality", description=__doc__)
    parser.add_argument("scenarios", nargs="*", default=list(suite()), help="names or files; default: all that ship")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--fast", action="store_true", help="the subset that every change is compared with")
    parser.add_argument("--json", type=Path, help="write the account here")
    parser.add_argument("--pictures", type=Path, help="draw each run into this folder")
    parser.add_argument("--update", action="store_true", help="make this the baseline; the whole suite only")
    asked = parser.parse_args(arguments)
    whole = not asked.fast and set(asked.scenarios) == set(suite()) and set(asked.seeds) == set(SEEDS)
    if asked.update and not whole:
        parser.error("--update takes the whole suite: leave out scenarios, --seeds and --fast")
    return asked


def _draw(runs: Sequence[Run], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for run in runs:
        (folder / f"{run.scenario}-{run.seed}.svg").write_text(svg(run), encoding="utf-8")


def _compare(runs: Sequence[Run], *, is_fast: bool) -> int:
    """Tell what has changed, where the same was played."""
    committed = read()
    before, now = committed.fast if is_fast else committed.whole, standing(runs)
    if (now.scenarios, now.seeds) != (before.scenarios, before.seeds):
        out.print("not what the baseline was made of: not compared")
        return 0
    found = worse(now, before)
    for line in found:
        out.print(f"[red]worse[/] {line}")
    for line in better(now, before):
        out.print(f"[green]better[/] {line}: raise the baseline with --update")
    if not found:
        out.print("not worse than the baseline")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
