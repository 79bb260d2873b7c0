"""Truths and alerts out of files: one JSON object a line, as they stand on their topics."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from loadgen import truth
from loadgen.producer import LoadError
from loadgen.truth import Truth
from schemas import alerts
from schemas.alerts import Alert

T = TypeVar("T")


def read_truths(path: Path) -> list[Truth]:
    """The truths in a file, by onset.

    Raises
    ------
    LoadError
        If it cannot be read; names the file and the line.
    """
    return sorted(_read(path, truth.decode), key=lambda one: one.onset_ms)


def read_alerts(path: Path) -> list[Alert]:
    """The alert events in a file, in its order: what ``halcyon alerts tail --json`` prints.

    Raises
    ------
    LoadError
        If it cannot be read; names the file and the line.
    """
    return list(_read(path, alerts.decode))


def _read(path: Path, decode: Callable[[bytes], T]) -> Iterator[T]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _decoded(path, number, line, decode)
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror or error}. Give a file that exists.") from error


def _decoded(path: Path, number: int, line: bytes, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(line)
    except (ValueError, msgspec.DecodeError) as error:
        raise LoadError(
            f"{path}, line {number}, cannot be used: {error}. Each line is one JSON object, as on its topic."
        ) from error
