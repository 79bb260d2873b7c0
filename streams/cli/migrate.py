"""``halcyon migrate``: bring the ClickHouse schema up to date."""

from typing import Annotated

import typer
from rich.markup import escape

from streams.cli.context import out, settings_of


def command(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be applied; change nothing.")] = False,
) -> None:
    """Create the database if it is missing and apply the migrations it does not have yet. Safe to repeat."""
    from schemas.clickhouse import migrations
    from streams.sinks.clickhouse import connect
    from streams.sinks.migrator import Migrator

    settings = settings_of(ctx).clickhouse
    client = connect(settings, database=None)
    try:
        migrator = Migrator(client, settings.database, migrations())
        done = migrator.plan() if dry_run else migrator.apply()
    finally:
        client.close()
    console, where = out(), escape(f"{settings.database} at {settings.url}")
    for migration in done:
        console.print(f"{'would apply' if dry_run else 'applied'} {escape(migration.file)}", highlight=False)
    if not done:
        console.print(f"[green]ok[/] {where} is up to date", highlight=False)
    elif not dry_run:
        console.print(f"[green]ok[/] {where}: {len(done)} migrations applied", highlight=False)
