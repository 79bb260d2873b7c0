"""The frame of the command line: options before the command, and one place where errors become text and exit codes.

Exit codes: 0 done; 1 something failed while running; 2 the call or the settings cannot be used; 130 interrupted.
"""

import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from streams.cli.commands import LazyGroup
from streams.cli.context import Invocation, err, out
from streams.errors import HalcyonError

DISTRIBUTION = "halcyon-sre"

app = typer.Typer(
    name="halcyon",
    cls=LazyGroup,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def program_version() -> str:
    """Return the installed version; ``unknown`` when run from sources that were never installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def _show_version(asked: bool) -> None:
    if asked:
        out().print(f"halcyon {program_version()}", highlight=False)
        raise typer.Exit


@app.callback()
def _frame(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Settings file (default: what HALCYON_CONFIG names, else halcyon.yaml)."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Watch machine-learning systems while they serve: drift, latency, fraud models, GPUs."""
    ctx.obj = Invocation(config, debug)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit the process."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code. Raises only under ``--debug``."""
    debug = "--debug" in arguments
    try:
        app(list(arguments), prog_name="halcyon")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except HalcyonError as error:
        _print_error(error.what, error.where, error.todo)
        if debug:
            raise
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        _print_error(
            f"{type(error).__name__}: {error}",
            "",
            "This was not foreseen: run again with --debug to see where it happened.",
        )
        if debug:
            raise
        return 1
    return 0


def _print_error(what: str, where: str, todo: str) -> None:
    console = err()
    console.print(f"[bold red]error:[/] {escape(what)}", highlight=False, soft_wrap=True)
    if where:
        console.print(f"  [dim]where:[/] {escape(where)}", highlight=False, soft_wrap=True)
    if todo:
        console.print(f"  [dim]to do:[/] {escape(todo)}", highlight=False, soft_wrap=True)
