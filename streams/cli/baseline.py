"""``halcyon baseline``: build what models are compared with, publish it, and see what is in force."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from streams.cli.context import out, settings_of

if TYPE_CHECKING:
    from schemas.baselines import Baseline
    from schemas.scopes import Scope
    from streams.config import Settings

_STORED = "clickhouse"

app = typer.Typer(no_args_is_help=True, help="Build, list and publish baselines.", pretty_exceptions_enable=False)


@app.command()
def build(
    ctx: typer.Context,
    *,
    source: Annotated[
        Path,
        typer.Option(
            "--from", show_default=False, help="Training data: Parquet, CSV or CSV.gz; or 'clickhouse': stored windows."
        ),
    ],
    model: Annotated[str, typer.Option(help="The model it is for.")],
    model_version: Annotated[str, typer.Option(help="Its version.")] = "",
    column: Annotated[list[str] | None, typer.Option(help="Only this column of a table; once per column.")] = None,
    since: Annotated[str, typer.Option(help="With 'clickhouse': ISO time of the first hour.")] = "",
    until: Annotated[str, typer.Option(help="The hour it ends at; by default the last full one.")] = "",
    effective: Annotated[str, typer.Option(help="ISO time of the first pane; by default a little from now.")] = "",
    file: Annotated[Path | None, typer.Option("--out", help="Write it here.")] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Let it take effect.")] = False,
) -> None:
    """Build a baseline from training data, or from a span of what ClickHouse has stored.

    Columns named score, latency_ms, status and decision are fields of the event; all others are features.
    """
    from schemas.scopes import Family, Scope
    from streams.baseline_files import from_file, save

    settings = settings_of(ctx)
    scope = Scope(Family.PREDICTION, model, model_version)
    at = _effective_ms(effective, settings)
    if str(source) == _STORED:
        baseline = _from_windows(settings, scope, (since, until), at)
    else:
        baseline = from_file(source, scope, at, column or ())
    if file is not None:
        save(baseline, file)
    if publish:
        _publish(settings, baseline)
    _tell(baseline, file, published=publish)


@app.command()
def publish(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="Made with 'halcyon baseline build --out'.", show_default=False)],
    effective: Annotated[str, typer.Option(help="ISO time of the first pane; by default a little from now.")] = "",
) -> None:
    """Let a baseline from a file take effect."""
    from msgspec.structs import replace

    from detectors.baseline import identified
    from streams.baseline_files import load

    settings = settings_of(ctx)
    # What somebody publishes stays until somebody publishes another; and where it comes to, its edges have no name yet.
    given = replace(load(file), layout="", learned_days=-1)
    baseline = identified(replace(given, effective_from_ms=_effective_ms(effective, settings)))
    _publish(settings, baseline)
    _tell(baseline, None, published=True)


@app.command("list")
def list_all(ctx: typer.Context, model: Annotated[str, typer.Option(help="Only this model.")] = "") -> None:
    """Show all baselines, the one in force last."""
    found = _known(settings_of(ctx))
    table = Table("id", "model", "version", "segment", "effective from", "quantities", "rows", "from", box=None)
    for b in sorted(found, key=lambda b: (b.scope, b.effective_from_ms)):
        if not model or b.scope.model == model:
            quantities = str(len(b.numeric) + len(b.categories))
            since = f"{_utc(b.effective_from_ms):%Y-%m-%d %H:%M:%S}"
            scope = b.scope
            table.add_row(
                b.id, scope.model, scope.model_version, scope.segment, since, quantities, f"{b.rows:,}", b.built_from
            )
    out().print(table)


@app.command()
def export(
    ctx: typer.Context,
    baseline_id: Annotated[str, typer.Argument(help="Its id; see 'halcyon baseline list'.", show_default=False)],
    file: Annotated[Path, typer.Option("--out", help="Write it here.")],
) -> None:
    """Write a baseline to a file, learned ones too: publish it where it is to be used next."""
    from streams.baseline_files import save
    from streams.errors import HalcyonError

    baseline = next((b for b in _known(settings_of(ctx)) if b.id == baseline_id), None)
    if baseline is None:
        raise HalcyonError(f"There is no baseline {baseline_id}.", "", "See 'halcyon baseline list'.")
    save(baseline, file)
    _tell(baseline, file, published=False)


def _known(settings: "Settings") -> "list[Baseline]":
    """All baselines that the topic holds."""
    import asyncio

    from schemas.topics import TopicName
    from streams.baselines import BaselineFeed
    from streams.compacted import CompactedReader
    from streams.connections import client_config

    kafka = settings.kafka
    reader = CompactedReader(client_config(kafka), kafka.topic(TopicName.BASELINES), None, kafka.request_timeout_s)
    feed = BaselineFeed(reader, lambda _: True)
    try:
        return list(asyncio.run(feed.read_all()))
    finally:
        feed.close()


def _effective_ms(given: str, settings: "Settings") -> int:
    from streams.clock import SystemClock

    pane_ms = settings.time.pane_s * 1000
    if not given:
        return (SystemClock().now_ms() + settings.baseline.lead_s * 1000) // pane_ms * pane_ms + pane_ms
    return _moment_ms(given, "--effective") // pane_ms * pane_ms


def _moment_ms(given: str, option: str) -> int:
    from streams.errors import ConfigError

    try:
        moment = datetime.fromisoformat(given)
    except ValueError as error:
        raise ConfigError(f"{given!r} is not a time.", option, "Give it as 2026-03-01T12:00:00Z.") from error
    at = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(at.timestamp() * 1000)


def _from_windows(settings: "Settings", scope: "Scope", between: tuple[str, str], effective_ms: int) -> "Baseline":
    """The baseline of stored windows; its rows are those of the one in force."""
    from detectors.seasonal.expectation import HOUR_MS
    from streams.clock import SystemClock
    from streams.errors import ConfigError
    from streams.sinks.clickhouse import connect
    from streams.stored_baselines import Span, from_windows

    since, until = between
    if not since:
        raise ConfigError("Since when?", "--since", "Give it as 2026-03-01T00:00Z: whole days are best.")
    end = _moment_ms(until, "--until") if until else SystemClock().now_ms() // HOUR_MS * HOUR_MS
    span = Span(_moment_ms(since, "--since"), end)
    current = max((b for b in _known(settings) if b.scope == scope), key=lambda b: b.effective_from_ms, default=None)
    client = connect(settings.clickhouse)
    try:
        return from_windows(
            client, scope, span, effective_from_ms=effective_ms, pane_ms=settings.time.pane_s * 1000, current=current
        )
    finally:
        client.close()


def _publish(settings: "Settings", baseline: "Baseline") -> None:
    import asyncio

    from schemas import rows
    from schemas.topics import TopicName
    from streams.analyse.rows import baseline_rows
    from streams.baselines import message
    from streams.connections import client_security
    from streams.producer import Producer

    async def send() -> None:
        producer = Producer(
            settings.kafka.bootstrap_servers, max_message_bytes=14 << 20, security=client_security(settings.kafka)
        )
        kafka = settings.kafka
        try:
            key, value = message(baseline)
            producer.send(kafka.topic(TopicName.BASELINES), value, key=key)
            for batch in baseline_rows(baseline, 1):
                producer.send(kafka.topic(TopicName.ROWS), rows.encode(batch), key=batch.table.encode())
            await producer.barrier()
        finally:
            await producer.close()

    asyncio.run(send())


def _tell(baseline: "Baseline", file: Path | None, *, published: bool) -> None:
    console: Any = out()
    scope, numeric = baseline.scope, len(baseline.numeric)
    who = " ".join(part for part in (scope.model, scope.model_version) if part)
    console.print(
        f"[bold]{baseline.id}[/] of {who}: {baseline.rows:,} rows, {numeric} numeric and "
        f"{len(baseline.categories)} categorical quantities, "
        f"from {_utc(baseline.effective_from_ms):%Y-%m-%d %H:%M:%S} UTC",
        highlight=False,
    )
    if file is not None:
        console.print(f"written to {file}", highlight=False)
    if published:
        console.print("[green]published[/]: it takes effect at that pane", highlight=False)


def _utc(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
