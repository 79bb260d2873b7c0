"""What every command shares: the options before its name, the settings they lead to, and the two consoles."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from streams.config import Settings


@dataclass(frozen=True, slots=True)
class Invocation:
    """The options given before the command's name."""

    config: Path | None = None
    debug: bool = False


def settings_of(ctx: typer.Context, overrides: Mapping[str, Any] | None = None) -> "Settings":
    """Load the settings for a command; ``overrides`` are those of its own options, nested as in the file.

    Raises
    ------
    ConfigError
        When they cannot be used.
    """
    from streams.config import load_settings

    return load_settings(ctx.find_root().obj.config, overrides=overrides)


@cache
def out() -> Console:
    """Console for what was asked for: standard output."""
    return Console()


@cache
def err() -> Console:
    """Console for everything else: standard error."""
    return Console(stderr=True)
