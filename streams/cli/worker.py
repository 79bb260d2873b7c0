"""``halcyon worker``: run one stage, or several, in this process."""

from typing import Annotated

import typer

from streams.cli.context import settings_of


def command(
    ctx: typer.Context,
    stage: Annotated[
        list[str], typer.Option("--stage", help="ingest, analyse, alert or write; give it again for several.")
    ],
) -> None:
    """Run one stage, or several side by side, until it is told to stop. More workers share a stage's partitions."""
    from streams.worker import run_worker

    raise typer.Exit(run_worker(settings_of(ctx), stage))
