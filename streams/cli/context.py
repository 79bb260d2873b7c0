"""What every command shares: the options before its name, the settings they lead to, and the two consoles."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

from streams.harmless import harmless

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


class Harmless:
    """Something to be printed whose texts come from others: what is no text in them is written out.

    Colours and links are styles of segments; whatever else steers a terminal can only have come with the texts.
    """

    def __init__(self, shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render it."""
        for segment in console.render(self._shown, options):
            text = segment.text if segment.control else harmless(segment.text, keep="\n")
            yield Segment(text, segment.style, segment.control)


@cache
def out() -> Console:
    """Console for what was asked for: standard output."""
    return Console()


@cache
def err() -> Console:
    """Console for everything else: standard error."""
    return Console(stderr=True)
