"""``halcyon config``: check, show and explain the settings."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from streams.cli.context import out, settings_of

if TYPE_CHECKING:
    from streams.config import Settings

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Check, show and explain the settings.")


@app.command()
def check(
    ctx: typer.Context,
    offline: Annotated[bool, typer.Option("--offline", help="Do not connect; look at the settings alone.")] = False,
) -> None:
    """Say whether the settings can be used; every mistake is named with its source. Exit code 2 if not.

    Then connect to Kafka and ClickHouse and say whether they let this client in. Exit code 1 where one refuses it; one
    that does not answer is only told of.
    """
    from streams.config.doubts import doubts

    settings = settings_of(ctx)
    out().print(
        f"[green]ok[/] Kafka {escape(settings.kafka.bootstrap_servers)}, ClickHouse {escape(settings.clickhouse.url)}",
        soft_wrap=True,
    )
    for doubt in doubts(settings):
        out().print(f"[yellow]note[/] {escape(doubt)}", highlight=False, soft_wrap=True)
    if not offline and not _let_in(settings):
        raise typer.Exit(1)


def _let_in(settings: "Settings") -> bool:
    """Ask both systems and print their answers; False where one refuses."""
    from concurrent.futures import ThreadPoolExecutor

    from streams.probe import Verdict, ask_clickhouse, ask_kafka

    colours = {Verdict.WELCOME: "green", Verdict.REFUSED: "red", Verdict.AWAY: "yellow"}
    with ThreadPoolExecutor(max_workers=2) as pool:
        asked = {
            "Kafka": pool.submit(ask_kafka, settings.kafka),
            "ClickHouse": pool.submit(ask_clickhouse, settings.clickhouse),
        }
        answers = {name: answer.result() for name, answer in asked.items()}
    for name, answer in answers.items():
        words = f": {answer.words}" if answer.words else ""
        line = f"[{colours[answer.verdict]}]{name}[/] {answer.verdict}{escape(words)}"
        out().print(line, highlight=False, soft_wrap=True)
    return all(answer.verdict is not Verdict.REFUSED for answer in answers.values())


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
