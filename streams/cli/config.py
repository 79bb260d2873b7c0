"""``halcyon config``: check, show and explain the settings."""

import typer
from rich.markup import escape

from streams.cli.context import out, settings_of

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Check, show and explain the settings.")


@app.command()
def check(ctx: typer.Context) -> None:
    """Say whether the settings can be used; every mistake is named with its source. Exit code 2 if not."""
    settings = settings_of(ctx)
    out().print(
        f"[green]ok[/] Kafka {escape(settings.kafka.bootstrap_servers)}, ClickHouse {escape(settings.clickhouse.url)}"
    )


@app.command()
def show(ctx: typer.Context) -> None:
    """Print the settings in force as YAML, defaults included. Secrets are masked."""
    from streams.config.reference import as_yaml

    typer.echo(as_yaml(settings_of(ctx)), nl=False)


@app.command()
def reference() -> None:
    """Print the reference of all knobs as Markdown."""
    from streams.config.reference import as_markdown

    typer.echo(as_markdown(), nl=False)
