"""Which commands there are, and where each is implemented.

A command is listed when its module exists. The module is imported when the command runs, never before, so that
``halcyon --help`` stays quick. A module gives either ``app``, a :class:`typer.Typer` with commands of its own, or
``command``, a function whose parameters are the options.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

_RUN = "Run"
_LOOK = "Look"
_SET_UP = "Set up"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is implemented, and what the list of commands says of it."""

    module: str
    help: str
    panel: str

    def exists(self) -> bool:
        """Whether its module is there. Does not import it."""
        return find_spec(self.module) is not None

    def load(self, name: str) -> Any:  # noqa: ANN401 - Typer's commands have no public common type
        """Import the module and make its command."""
        module = import_module(self.module)
        app = getattr(module, "app", None)
        if app is None:
            app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            app.command(name, help=self.help if module.command.__doc__ is None else None)(module.command)
        command = get_command(app)
        command.name = name
        return command


COMMANDS: Mapping[str, Entry] = {
    "up": Entry("streams.cli.up", "Start everything on this machine and show how it does.", _RUN),
    "demo": Entry("streams.cli.demo", "Two minutes: start everything, inject faults, score the alerts.", _RUN),
    "worker": Entry("streams.cli.worker", "Run one stage, or several, in this process.", _RUN),
    "gpu-agent": Entry("streams.cli.gpu_agent", "Send this host's GPU telemetry to Kafka.", _RUN),
    "replay": Entry("streams.cli.replay", "Play a CSV or Parquet file into a topic.", _RUN),
    "alerts": Entry("streams.cli.alerts", "Follow the alerts.", _LOOK),
    "sql": Entry("streams.cli.sql", "Ask ClickHouse: one query, or a prompt.", _LOOK),
    "evaluate": Entry("streams.cli.evaluate", "Hold detectors against anomalies that are known.", _LOOK),
    "config": Entry("streams.cli.config", "Check, show and explain the settings.", _SET_UP),
    "topics": Entry("streams.cli.topics", "Create and describe the Kafka topics.", _SET_UP),
    "migrate": Entry("streams.cli.migrate", "Bring the ClickHouse schema up to date.", _SET_UP),
    "rewind": Entry("streams.cli.rewind", "Let a stage read again from an earlier place.", _SET_UP),
    "baseline": Entry("streams.cli.baseline", "Build, list and publish baselines.", _SET_UP),
}


class LazyGroup(TyperGroup):
    """A group that knows its commands by the table and imports the one that is called."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - passed through to Typer
        super().__init__(**attributes)
        for name, entry in COMMANDS.items():
            if entry.exists():
                self.add_command(TyperCommand(name, help=entry.help, rich_help_panel=entry.panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - Typer's context has no public name here
        """Put the real command in the place of its entry, then let Typer go on."""
        name = args[0] if args else ""
        if name in COMMANDS and COMMANDS[name].exists():
            self.add_command(COMMANDS[name].load(name), name)
        return super().resolve_command(ctx, args)
