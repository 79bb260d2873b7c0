"""The load generator's command line, ``halcyon-loadgen``: one module per command, imported when it is called.

A module gives ``command``, a function whose parameters are the options. To add one, name it in :data:`COMMANDS`.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

import typer
from rich.console import Console
from rich.markup import escape

from loadgen.producer import LoadError

COMMANDS: Final[Mapping[str, str]] = {
    "run": "loadgen.run",
    "score": "loadgen.score.command",
    "soak": "loadgen.soak.command",
}
"""Command → the module that implements it."""


def application(arguments: Sequence[str]) -> typer.Typer:
    """The commands that a call needs: the one it names, or all of them when it names none (``--help``)."""
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_frame)
    called = arguments[0] if arguments else ""
    for name in [called] if called in COMMANDS else COMMANDS:
        app.command(name)(import_module(COMMANDS[name]).command)
    return app


def _frame() -> None:
    """Load with a known truth, and scores of what was said about it."""


def main() -> None:
    """Run the command line and exit the process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 the call cannot be used, 130 interrupted."""
    try:
        application(arguments)(list(arguments), prog_name="halcyon-loadgen")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except LoadError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    main()
