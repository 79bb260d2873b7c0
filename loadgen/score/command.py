"""``halcyon-loadgen score``: truths against alerts."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

_GRACE_S = 300


def command(
    truth: Annotated[Path, typer.Option(help="What was injected: one JSON object a line.", show_default=False)],
    alerts: Annotated[
        Path, typer.Option(help="What was said: alert events, one JSON object a line.", show_default=False)
    ],
    grace_s: Annotated[
        int, typer.Option(min=0, help="How long after an injection's end an alert may belong to it.")
    ] = _GRACE_S,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the account here too.")] = None,
) -> None:
    """Score alerts against the truth."""
    from loadgen.score.reading import read_alerts, read_truths
    from loadgen.score.scorecard import score, table, to_json, verdict

    card = score(read_truths(truth), read_alerts(alerts), grace_s * 1000)
    console = Console()
    console.print(table(card))
    console.print(verdict(card), highlight=False)
    if json_file is not None:
        json_file.write_bytes(to_json(card))
