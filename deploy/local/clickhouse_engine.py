"""ClickHouse's own engine in this process (chDB), asked one request at a time per connection."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chdb

from deploy.local.clickhouse_sql import DEFAULT_FORMAT, Insert, quote_name, quote_text, result_format, split_insert

DEFAULT_DATABASE = "default"
UNKNOWN_EXCEPTION = 1002
_CODE = re.compile(r"Code: (\d+)\.")
_SETTING_NAME = re.compile(r"[A-Za-z_]\w*\Z")


class QueryError(Exception):
    """ClickHouse refused a statement.

    Parameters
    ----------
    code
        ClickHouse's number of the error, such as 60 for an unknown table.
    message
        Text as ClickHouse writes it, ``Code: 60. DB::Exception: …``.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Request:
    """A statement and what applies to it alone; `parameters` are values of ``{name:Type}``, escaped as in HTTP."""

    text: bytes
    database: str = DEFAULT_DATABASE
    default_format: str = DEFAULT_FORMAT
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave: its result's bytes, their format (None without a result set), and counts."""

    body: bytes
    format: str | None
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0


class Engine:
    """The engine over one folder.

    Each request gets a connection of its own, which costs half a millisecond: the engine runs connections side by
    side, while a shared one would queue its callers, keep one request's settings and database for the next, and
    hand what a failed query had already written to whoever asks next.

    Parameters
    ----------
    data_dir
        Folder of the databases; made when missing. One process at a time may have it open.

    Raises
    ------
    OSError
        When the folder cannot be made or opened.
    """

    def __init__(self, data_dir: Path) -> None:
        if "?" in str(data_dir):
            raise ValueError(f"{data_dir}: the engine reads '?' as the start of options; name another folder")
        data_dir.mkdir(parents=True, exist_ok=True)
        self._path = str(data_dir)
        # The engine shuts down with its last connection; this one keeps it.
        try:
            self._anchor = chdb.connect(self._path)
        except RuntimeError as error:
            raise OSError(f"the engine cannot open {data_dir}; another process may have it open: {error}") from error
        self._in_flight = 0
        self._closed = False
        self._changed = threading.Condition()
        version, timezone = self._anchor.query("SELECT version(), timezone()", "TSV").bytes().decode().split()
        self.version: str = version
        self.timezone: str = timezone

    def execute(self, request: Request) -> Answer:
        """Run one statement.

        Raises
        ------
        QueryError
            When ClickHouse refuses it, or the engine is closed.
        """
        with self._changed:
            if self._closed:
                raise QueryError(UNKNOWN_EXCEPTION, f"Code: {UNKNOWN_EXCEPTION}. DB::Exception: The server stops.")
            self._in_flight += 1
        try:
            connection = chdb.connect(self._path)
            try:
                return _execute(connection, request)
            finally:
                connection.close()
        except RuntimeError as error:
            raise self._as_query_error(error) from error
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def close(self, timeout_s: float = 10.0) -> bool:
        """Take no more requests, wait for those that run, and shut down; False when some still ran."""
        with self._changed:
            self._closed = True
            idle = self._changed.wait_for(lambda: self._in_flight == 0, timeout_s)
        if idle:
            self._anchor.close()
        return idle

    def _as_query_error(self, error: RuntimeError) -> QueryError:
        text = str(error)
        code = _CODE.search(text)
        if code is None:
            return QueryError(UNKNOWN_EXCEPTION, f"Code: {UNKNOWN_EXCEPTION}. DB::Exception: {text}")
        message = text[code.start() :].rstrip()
        if "(version " not in message:
            message += f" (version {self.version})"
        return QueryError(int(code[1]), message)


def _execute(connection: Any, request: Request) -> Answer:  # noqa: ANN401 - chDB ships no types
    if request.database != DEFAULT_DATABASE:
        connection.query(f"USE {quote_name(request.database)}", "Null")
    insert = split_insert(request.text)
    settings = dict(request.settings)
    if insert is not None:
        # A streamed insert takes no parameters; as settings they reach it.
        settings |= {f"param_{name}": value for name, value in request.parameters.items()}
    if settings:
        _apply(connection, settings)
    return _insert(connection, insert) if insert is not None else _query(connection, request)


def _apply(connection: Any, settings: Mapping[str, str]) -> None:  # noqa: ANN401
    for name in settings:
        if not _SETTING_NAME.match(name):
            raise QueryError(115, f"Code: 115. DB::Exception: Unknown setting {name!r}. (UNKNOWN_SETTING)")
    # Quoted even where the setting is a number: ClickHouse converts, and refuses what is none.
    pairs = ", ".join(f"{name} = {quote_text(value)}" for name, value in settings.items())
    connection.query(f"SET {pairs}", "Null")


def _query(connection: Any, request: Request) -> Answer:  # noqa: ANN401
    # Bytes, not text: a statement may hold any bytes in its literals.
    result = connection.query(request.text, request.default_format, params=dict(request.parameters))
    return Answer(
        body=result.bytes(),
        format=result_format(request.text, request.default_format),
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
    )


def _insert(connection: Any, insert: Insert) -> Answer:  # noqa: ANN401
    with connection.send_insert(insert.statement, insert.format) as inserter:
        inserter.append(insert.rows)
        result = inserter.finish()
    return Answer(body=b"", format=None, written_rows=result.rows_written, written_bytes=result.bytes_written)
