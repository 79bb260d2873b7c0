"""``halcyon evaluate``: any detector on anomalies that are known."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.context import err, out
from streams.errors import ConfigError

if TYPE_CHECKING:
    from streams.evaluate.contenders import Contender
    from streams.evaluate.running import Scored
    from streams.evaluate.series import LabelledSeries

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

Detectors = Annotated[
    list[str] | None, typer.Option("--detector", "-d", help="Which, once for each; what anyone would try is added.")
]
Json = Annotated[Path | None, typer.Option("--json", help="Write the numbers here, too.")]
Pictures = Annotated[Path | None, typer.Option("--pictures", help="Draw scores against series into this folder.")]
Cached = Annotated[bool, typer.Option("--cache/--no-cache", help="Keep scores under .cache/evaluate for next time.")]
WindowRows = Annotated[int, typer.Option(min=1, help="Rows of a window, for registered detectors.")]

_SCORE = "score"


@app.callback()
def _frame() -> None:
    """Hold detectors against anomalies that are known, beside what anyone would try first."""


@app.command()
def suite(
    detectors: Detectors = None,
    scenarios: Annotated[list[str] | None, typer.Option("--scenario", help="Which; all that ship when none.")] = None,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Which; 1 when none.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="How many at a time.")] = 1,
    until_s: Annotated[int, typer.Option(min=0, help="Seconds of each scenario; 0: all.")] = 0,
    json: Json = None,
) -> None:
    """The scenarios that ship, through all stages: what of what was injected is found, how soon, at what price.

    Of some detectors alone: the alerts that would have followed had the others found nothing.
    """
    from loadgen.score.text import render, to_json
    from loadgen.score.totals import account
    from streams.cli.suite import Job, play_all
    from streams.cli.suite import suite as all_scenarios

    names = tuple(detectors or ())
    _check_registered(names)
    jobs = [Job(one, seed, until_s, names) for one in scenarios or all_scenarios() for seed in seeds or (1,)]
    runs = []
    with _telling() as told:
        for job, run in zip(jobs, play_all(jobs, processes), strict=True):
            told(f"{job.scenario}, seed {job.seed}")
            runs.append(run)
    out().print(render(account(runs)))
    if json is not None:
        json.write_bytes(to_json(account(runs)))


@app.command()
def nab(
    folder: Annotated[Path, typer.Argument(help="The benchmark's folder: data/ and its windows.", show_default=False)],
    detectors: Detectors = None,
    window_rows: WindowRows = 12,
    cache: Cached = True,
    json: Json = None,
    pictures: Pictures = None,
) -> None:
    """The Numenta Anomaly Benchmark, by its own score; of the files that are there."""
    from streams.evaluate.account import on_nab
    from streams.evaluate.contenders import chosen, of_series
    from streams.evaluate.report import of_nab
    from streams.evaluate.running import CACHE, run_all
    from streams.evaluate.series import read_nab

    contenders = chosen(detectors or [], of_series())
    files = read_nab(folder)
    scores, scored = [], {}
    with _telling() as told:
        for contender in contenders:
            rows = _rows_of(contender, window_rows)
            scored[contender.name] = run_all(contender, files, rows, CACHE if cache else None, told)
            scores.append(on_nab(contender, files, scored[contender.name]))
    out().print(f"{len(files)} files, {sum(len(file.windows) for file in files)} anomalies")
    out().print(*of_nab(scores), sep="\n\n")
    _write(json, {"files": [file.name for file in files], "scores": scores})
    _draw(pictures, contenders[:1], files, scored)


@app.command()
def series(
    file: Annotated[Path, typer.Argument(help="CSV with timestamp,value and perhaps label.", show_default=False)],
    detectors: Detectors = None,
    window_rows: WindowRows = 12,
    first: Annotated[int, typer.Option(min=0, help="Rows at the beginning that do not count.")] = 0,
    json: Json = None,
    pictures: Pictures = None,
) -> None:
    """Any series from a file: the alarms of each detector, held against its labels if it has some."""
    from streams.evaluate.account import on_series
    from streams.evaluate.contenders import chosen, of_series
    from streams.evaluate.report import of_outcomes
    from streams.evaluate.running import run
    from streams.evaluate.series import read_csv

    read = read_csv(file)
    outcomes, scored, alarms = [], {}, {}
    contenders = chosen(detectors or [], of_series())
    with _telling() as told:
        for contender in contenders:
            told(contender.name)
            scored[contender.name] = [run(contender, read, _rows_of(contender, window_rows))]
            outcome, raised = on_series(contender, read, scored[contender.name][0], first)
            outcomes.append(outcome)
            alarms[contender.name] = [_time(int(at)) for at in read.ts_ms[raised]]
    out().print(of_outcomes(f"{read.name}: {len(read.value)} rows, {len(read.windows)} anomalies", outcomes))
    name = contenders[0].name
    out().print(f"\nalarms of {name}: {', '.join(alarms[name]) or 'none'}", highlight=False)
    _write(json, {"outcomes": outcomes, "alarms": alarms})
    _draw(pictures, contenders[:1], [read], scored)


@app.command()
def drift(
    detectors: Detectors = None,
    streams: Annotated[list[str] | None, typer.Option("--stream", help="Which of River's; all when none.")] = None,
    rows: Annotated[int, typer.Option(min=1_000, help="Rows of a stream.")] = 120_000,
    window_rows: WindowRows = 200,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Which; 1, 2 and 3 when none.")] = None,
    json: Json = None,
) -> None:
    """Streams with known drift, and without: the error of a model that no longer learns, in windows."""
    from streams.evaluate.contenders import chosen, of_windows
    from streams.evaluate.drifting import Plan, compare, known
    from streams.evaluate.report import of_outcomes

    contenders = chosen(detectors or [], of_windows())
    plan = Plan(known(streams or []), rows, window_rows, tuple(seeds or (1, 2, 3)))
    with _telling() as told:
        outcomes = compare(contenders, plan, told)
    for kind, own in outcomes.items():
        out().print(of_outcomes(f"{kind}: {len(plan.seeds)} streams of {rows // window_rows} windows", own), "")
    _write(json, outcomes)


@app.command()
def noise(
    detector: Annotated[str, typer.Option("--detector", "-d", help="Which.")] = "series_surprise",
    thresholds: Annotated[list[float] | None, typer.Option("--threshold", help="Its own when none.")] = None,
    rows: Annotated[int, typer.Option(min=1_000, help="Rows of a series.")] = 8_000,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Which; 1, 2 and 3 when none.")] = None,
    json: Json = None,
) -> None:
    """Series in which nothing happens: false alarms per 10,000 rows, by kind of noise and threshold."""
    from streams.evaluate.contenders import chosen
    from streams.evaluate.report import of_noise
    from streams.evaluate.running import run
    from streams.evaluate.stationary import KINDS, false_alarms, stationary
    from streams.evaluate.tally import total

    contender = chosen([detector], [])[0]
    usual = contender.threshold
    levels = thresholds or ([] if usual is None else [usual])
    if not levels:
        raise ConfigError(f"{detector} has no threshold of its own.", todo="Give --threshold.")
    told: dict[str, dict[str, float]] = {}
    sums = {level: total(()) for level in levels}
    with _telling() as tell:
        for kind in KINDS:
            tell(kind)
            made = list(stationary(kind, rows, seeds or (1, 2, 3)))
            scores = [run(contender, one, _rows_of(contender, 12)).score for one in made]
            own = {level: total(false_alarms(score, level) for score in scores) for level in levels}
            told[kind] = {f"{level:g}": counted.false_per_10000 for level, counted in own.items()}
            sums = {level: sums[level] + own[level] for level in levels}
    told["all"] = {f"{level:g}": counted.false_per_10000 for level, counted in sums.items()}
    out().print(of_noise(detector, told))
    _write(json, told)


def _rows_of(contender: "Contender", window_rows: int) -> int:
    from detectors.registry import REGISTRY

    return window_rows if contender.name in REGISTRY else 1


def _check_registered(names: Sequence[str]) -> None:
    from detectors.registry import REGISTRY

    unknown = [name for name in names if name not in REGISTRY]
    if unknown:
        todo = f"Give some of {', '.join(REGISTRY)}."
        raise ConfigError(f"No detector {', '.join(unknown)} is registered.", todo=todo)


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    with err().status("") as status:
        yield lambda text: status.update(f"[dim]{text}[/]")


def _time(ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")


def _write(path: Path | None, told: Mapping[str, Any]) -> None:
    from streams.evaluate.report import to_json

    if path is not None:
        path.write_bytes(to_json(told))


def _draw(
    folder: Path | None,
    contenders: "Sequence[Contender]",
    files: "Sequence[LabelledSeries]",
    scored: "Mapping[str, Sequence[Scored]]",
) -> None:
    """One picture for each series and detector: the series, its anomalies shaded, and the score beneath."""
    if folder is None:
        return
    from loadgen.plots import Span, panels

    folder.mkdir(parents=True, exist_ok=True)
    for contender in contenders:
        for file, one in zip(files, scored[contender.name], strict=True):
            days = (file.ts_ms - file.ts_ms[0]) / 86_400_000
            spans = [Span(float(days[a]), float(days[b])) for a, b in file.windows.tolist()]
            bounds = {} if contender.threshold is None else {_SCORE: contender.threshold}
            drawn = panels(days, {"value": file.value, _SCORE: one.score}, x_label="days", spans=spans, bounds=bounds)
            name = f"{Path(file.name).stem}-{contender.name}.svg"
            (folder / name).write_text(drawn, encoding="utf-8")
