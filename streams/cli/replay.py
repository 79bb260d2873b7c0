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
    *,
    family: Annotated[
        str, typer.Option("--as", help="predictions, features, gpu-telemetry or labels.")
    ] = "predictions",
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", help="FIELD=COLUMN, FIELD=COLUMN:UNIT or FIELD=const:VALUE; once per field."),
    ] = None,
    anchor: Annotated[
        str, typer.Option(help="Move events in time: now, start=TIME, end=TIME or by=SECONDS; not moved by default.")
    ] = "",
    speed: Annotated[
        float, typer.Option(min=0, help="So many times as fast as it happened; 0: as fast as possible.")
    ] = 0.0,
    rate: Annotated[float, typer.Option(min=0, help="Events a second instead; 0: by --speed.")] = 0.0,
    sort: Annotated[bool, typer.Option("--sort", help="Order by event time first; holds the file in memory.")] = False,
    late: Annotated[
        bool, typer.Option("--late", help="Play what is out of order, or older than the topic: it counts as late.")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="Only the first rows; 0: all.")] = 0,
    topic: Annotated[str, typer.Option(help="Another topic than the family's own.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the first messages, send nothing.")] = False,
) -> None:
    """Play a file of past events into a topic.

    Example: halcyon replay conv.csv.gz --map ts_ms=TIMESTAMP --map model=const:chat --map features.context=Tokens

    Times may be ISO 8601 texts (UTC unless they say otherwise), timestamps, or numbers since 1970.
    """
    from loadgen.replay.events import prepare

    if speed and rate:
        raise ConfigError("--speed and --rate contradict each other.", todo="Give one of them.")
    with load_errors():
        replay = prepare(file, family, maps or [], sort=sort, limit=limit or None)
        if not (sort or late):
            _check_order(replay, settings_of(ctx).time.out_of_orderness_s)
        replay = _placed(replay, anchor, speed)
        if dry_run:
            _show(replay)
            return
        if not late:
            _check_newest(ctx, replay, topic or family)
        _play(ctx, replay, topic or family, speed, rate)


@contextmanager
def load_errors() -> Iterator[None]:
    """Tell the load generator's errors as the command line's."""
    from loadgen.producer import LoadError

    try:
        yield
    except LoadError as error:
        raise HalcyonError(str(error)) from error


def _check_order(replay: "Replay", bound_s: float) -> None:
    seen = replay.scan
    if seen.disorder_ms > bound_s * 1000:
        raise HalcyonError(
            f"It is out of order: row {seen.disorder_row} is {seen.disorder_ms / 1000:g} s older than an earlier one. "
            f"What is more than {bound_s:g} s late is not counted in its own time.",
            str(replay.source.path),
            "Give --sort to order it first, or --late to play it as it is.",
        )


def _check_newest(ctx: typer.Context, replay: "Replay", topic: str) -> None:
    """Refuse what would arrive late as a whole: events older than what the topic holds already."""
    from schemas.alerts import rfc3339
    from streams.cli.newest import newest_ms
    from streams.connections import client_config

    settings = settings_of(ctx)
    name = settings.kafka.source(topic)
    newest = newest_ms(client_config(settings.kafka), name)
    if newest is not None and replay.first_ms < newest - round(settings.time.out_of_orderness_s * 1000):
        raise HalcyonError(
            f"The topic has come to {rfc3339(newest)}, this file begins at {rfc3339(replay.first_ms)}: what is older "
            "than the topic arrives late and is not counted in its own time.",
            f"topic {name}",
            "Play older files first, move this one with --anchor now, or give --late to play it all the same.",
        )


def _placed(replay: "Replay", anchor: str, speed: float) -> "Replay":
    """The replay where its anchor wants it; refuses what would be in the future when it is played."""
    from dataclasses import replace

    from loadgen.replay.events import FUTURE_MS, shift_to
    from streams.clock import SystemClock

    now_ms = SystemClock().now_ms()
    if anchor:
        replay = replace(replay, shift_ms=shift_to(replay.scan, anchor, now_ms, speed))
    # At a speed the last event is sent when the whole span has been played.
    played_ms = now_ms + ((replay.last_ms - replay.first_ms) / speed if speed else 0)
    ahead_s = (replay.last_ms - played_ms) / 1000
    if ahead_s * 1000 > FUTURE_MS:
        raise HalcyonError(
            f"The last event would be {ahead_s:,.0f} s ahead of the clock, where it counts as a wrong clock.",
            str(replay.source.path),
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
    from streams.connections import client_config

    kafka = settings_of(ctx).kafka
    name = kafka.source(topic)
    pace = EventTimePace(replay.first_ms, speed) if speed else RatePace(rate or float("inf"))
    sink = KafkaSink(client_config(kafka), name, spread=replay.family == "predictions")
    err().print(f"{_summary(replay)} → topic {escape(name)}", highlight=False)
    player = Player(sink, pace)
    _with_progress(player, replay)
    done = player.progress
    out().print(f"{done.events:,} events sent to {escape(name)}", highlight=False)
    if (speed or rate) and done.fell_behind:
        late = f"{done.worst_behind_s:.1f} s"
        err().print(f"[yellow]The generator fell behind[/] by up to {late}: a lower --speed or --rate is honest.")


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
    moved = f", moved by {replay.shift_ms / 1000:.3f} s" if replay.shift_ms else ""
    return f"{replay.scan.rows:,} rows of {escape(replay.source.path.name)}, {first} to {last}{moved}"
