"""The command line, ``halcyon``. One file per command or group of commands, imported when it runs."""

from streams.cli.app import main

__all__ = ["main"]
