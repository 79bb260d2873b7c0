"""Series with labelled anomalies: what they are, and how they are read."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.errors import ConfigError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TIMES: Final = ("timestamp", "time", "ts", "ts_ms")
_NAB_TODO: Final = "Give the folder of the benchmark: data/<group>/<file>.csv and labels/combined_windows.json in it."


@dataclass(frozen=True, slots=True)
class LabelledSeries:
    """One series: ``ts_ms`` int64[n] ascending, ``value`` float64[n]; ``windows`` int64[w, 2], first and last rows.

    The rows of the windows, both included, are those in which an alarm is right; ascending, they do not overlap.
    """

    name: str
    ts_ms: Ints
    value: Floats
    windows: Ints


def read_csv(path: Path, windows: Sequence[tuple[str, str]] = (), name: str = "") -> LabelledSeries:
    """A series from a CSV file with the columns ``timestamp`` and ``value``, and perhaps ``label`` (not 0: anomalous).

    Parameters
    ----------
    path
        The file. Times are ISO 8601 (UTC unless they say otherwise) or ms since the epoch; rows ascend in time.
    windows
        (first, last) times of the anomalies, in the place of labels.
    name
        Of the series; the file's when empty.

    Raises
    ------
    ConfigError
        If the file cannot be read, lacks a column, or has a row that is no time and number.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"The series cannot be read: {error}", str(path), "Give a CSV file.") from error
    columns = set(rows[0]) if rows else set()
    time = next((column for column in _TIMES if column in columns), None)
    if time is None or "value" not in columns:
        raise ConfigError(
            "It has no rows with a timestamp and a value.", str(path), "Name its columns timestamp,value."
        )
    ts_ms = np.array([_ms(row[time], path, line) for line, row in enumerate(rows, 2)], np.int64)
    value = np.array([_number(row["value"], path, line) for line, row in enumerate(rows, 2)], np.float64)
    if (np.diff(ts_ms) < 0).any():
        line = int(np.flatnonzero(np.diff(ts_ms) < 0)[0]) + 3
        raise ConfigError("Its times go back.", f"{path}, line {line}", "Sort the rows by time.")
    if windows:
        return LabelledSeries(name or path.name, ts_ms, value, _windows(ts_ms, windows, path))
    labels = [_number(row.get("label") or "0", path, line) != 0 for line, row in enumerate(rows, 2)]
    return LabelledSeries(name or path.name, ts_ms, value, runs(np.array(labels)))


def read_nab(folder: Path) -> list[LabelledSeries]:
    """The files of the Numenta Anomaly Benchmark that are there, by name.

    Parameters
    ----------
    folder
        The benchmark's own: ``data/<group>/<file>.csv``, and ``labels/combined_windows.json`` or ``windows.json``.

    Raises
    ------
    ConfigError
        If there are no windows or no file that they name.
    """
    known = [folder / "labels" / "combined_windows.json", folder / "windows.json"]
    labels = next((path for path in known if path.is_file()), None)
    if labels is None:
        raise ConfigError("The benchmark's windows are not there.", str(folder), _NAB_TODO)
    try:
        windows = msgspec.json.decode(labels.read_bytes(), type=dict[str, list[tuple[str, str]]])
    except msgspec.DecodeError as error:
        raise ConfigError(f"The windows cannot be read: {error}", str(labels), _NAB_TODO) from error
    paths = {name: folder / "data" / name for name in sorted(windows)}
    found = [read_csv(path, windows[name], name) for name, path in paths.items() if path.is_file()]
    if not found:
        raise ConfigError("None of the files that have windows is there.", str(folder / "data"), _NAB_TODO)
    return found


def runs(flags: NDArray[np.bool_]) -> Ints:
    """First and last places of the runs of True in bool[n]: int64[w, 2]."""
    edges = np.diff(np.concatenate(([False], flags, [False])).astype(np.int8))
    return np.column_stack((np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1)).astype(np.int64)


def _windows(ts_ms: Ints, windows: Sequence[tuple[str, str]], path: Path) -> Ints:
    times = sorted((_ms(first, path, 0), _ms(last, path, 0)) for first, last in windows)
    places = [(np.searchsorted(ts_ms, a), np.searchsorted(ts_ms, b, "right") - 1) for a, b in times]
    return np.array([place for place in places if place[0] <= place[1]], np.int64).reshape(-1, 2)


def _ms(text: Any, path: Path, line: int) -> int:  # noqa: ANN401 - a row that is too short has None
    try:
        if text.lstrip("-").isdigit():
            return int(text)
        time = datetime.fromisoformat(text)
    except (AttributeError, ValueError) as error:
        todo = "Give ISO 8601 or ms since the epoch."
        raise ConfigError(f"{text!r} is no time.", f"{path}, line {line}" if line else str(path), todo) from error
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def _number(text: Any, path: Path, line: int) -> float:  # noqa: ANN401 - likewise
    try:
        return float(text) if text else float("nan")
    except ValueError as error:
        todo = "Give a number, or nothing for a missing one."
        raise ConfigError(f"{text!r} is no number.", f"{path}, line {line}", todo) from error
