"""``halcyon replay``: a CSV or Parquet file into a topic."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from streams.cli.context import err, out, settings_of
from streams.errors import ConfigError, HalcyonError

if TYPE_CHECKING:
    from loadgen.producer import Message, Player
    from loadgen.replay.events import Replay

_SHOWN = 3


def command(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV (also .gz) or Parquet.", show_default=False)],
    family: Annotated[
        str, typer.Option("--as", help="predictions, features, gpu-telemetry or labels.")
    ] = "predictions",
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", help="FIELD=COLUMN, FIELD=COLUMN:UNIT or FIELD=const:VALUE; once per field."),
    ] = None,
    anchor: Annotated[
        str, typer.Option(help="Move events in time: now, start=TIME or end=TIME; left where they are by default.")
    ] = "",
    speed: Annotated[
        float, typer.Option(min=0, help="So many times as fast as it happened; 0: as fast as possible.")
    ] = 0.0,
    rate: Annotated[float, typer.Option(min=0, help="Events a second instead; 0: by --speed.")] = 0.0,
    sort: Annotated[bool, typer.Option("--sort", help="Order by event time first; holds the file in memory.")] = False,
    late: Annotated[
        bool, typer.Option("--late", help="Play a file that is out of order: what comes too late counts as late.")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="Only the first rows; 0: all.")] = 0,
    topic: Annotated[str, typer.Option(help="Another topic than the family's own.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the first messages, send nothing.")] = False,
) -> None:
    """Play a file of past events into a topic.

    [bold]halcyon replay conv.csv.gz --map ts_ms=TIMESTAMP --map model=const:chat --map gen_ai.input_tokens=ContextTokens[/]

    Times may be ISO 8601 texts (UTC unless they say otherwise), timestamps, or numbers since 1970. Events keep their order.
    """
    if speed and rate:
        raise ConfigError("--speed and --rate contradict each other.", todo="Give one of them.")
    with load_errors():
        replay = _prepare(ctx, file, family, maps or [], anchor, speed, sort, late, limit)
        if dry_run:
            _show(replay)
            return
        _play(ctx, replay, topic or family, speed, rate)


@contextmanager
def load_errors() -> Iterator[None]:
    """Tell the load generator's errors as the command line's."""
    from loadgen.producer import LoadError

    try:
        yield
    except LoadError as error:
        raise HalcyonError(str(error)) from error


def _prepare(
    ctx: typer.Context,
    file: Path,
    family: str,
    maps: list[str],
    anchor: str,
    speed: float,
    sort: bool,
    late: bool,
    limit: int,
) -> "Replay":
    from dataclasses import replace

    from loadgen.replay.events import FUTURE_MS, prepare, shift_to
    from streams.clock import SystemClock

    bound_ms = round(settings_of(ctx).time.out_of_orderness_s * 1000)
    replay = prepare(file, family, maps, sort=sort, limit=limit or None)
    seen = replay.scan
    if seen.disorder_ms > bound_ms and not (sort or late):
        raise HalcyonError(
            f"The file is out of order: row {seen.disorder_row} is {seen.disorder_ms / 1000:g} s older than a row before "
            f"it, and what is more than {bound_ms / 1000:g} s late is not counted in its own time.",
            str(file),
            "Give --sort to order it first, or --late to play it as it is.",
        )
    now_ms = SystemClock().now_ms()
    if anchor:
        replay = replace(replay, shift_ms=shift_to(seen, anchor, now_ms, speed))
    if replay.last_ms > now_ms + FUTURE_MS and not speed:
        raise HalcyonError(
            f"The last event would be {(replay.last_ms - now_ms) / 1000:.0f} s in the future, where it counts as a wrong clock.",
            str(file),
            "Give --anchor now, or an earlier anchor.",
        )
    return replay


def _show(replay: "Replay") -> None:
    from itertools import islice

    err().print(f"{_summary(replay)}; nothing is sent", highlight=False)
    for message in islice(replay.messages(), _SHOWN):
        out().print(message.value.decode(), markup=False, highlight=False, soft_wrap=True)


def _play(ctx: typer.Context, replay: "Replay", topic: str, speed: float, rate: float) -> None:
    from loadgen.producer import EventTimePace, KafkaSink, Player, RatePace

    kafka = settings_of(ctx).kafka
    name = kafka.topic_prefix + topic
    pace = EventTimePace(replay.first_ms, speed) if speed else RatePace(rate or float("inf"))
    sink = KafkaSink({"bootstrap.servers": kafka.bootstrap_servers}, name, spread=replay.family == "predictions")
    err().print(f"{_summary(replay)} → topic {escape(name)}", highlight=False)
    player = Player(sink, pace)
    _with_progress(player, replay)
    done = player.progress
    out().print(f"{done.events:,} events sent to {escape(name)}", highlight=False)
    if (speed or rate) and done.fell_behind:
        err().print(
            f"[yellow]The generator fell behind[/] by up to {done.worst_behind_s:.1f} s: a lower --speed or --rate is honest."
        )


def _with_progress(player: "Player", replay: "Replay") -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=err(), transient=True) as bar:
        task = bar.add_task("replay", total=replay.scan.rows, rate="")

        def counted() -> "Iterator[Message]":
            for count, message in enumerate(replay.messages(), start=1):
                if count % 1000 == 0:
                    speed = bar.tasks[0].speed
                    bar.update(task, completed=count, rate=f"{speed:,.0f}/s" if speed else "")
                yield message

        player.play(counted())


def _summary(replay: "Replay") -> str:
    from schemas.alerts import rfc3339

    first, last = rfc3339(replay.first_ms), rfc3339(replay.last_ms)
    return f"{replay.scan.rows:,} rows of {escape(replay.source.path.name)}, {first} to {last}"
