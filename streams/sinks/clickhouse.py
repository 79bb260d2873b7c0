"""ClickHouse over HTTP: queries, statements and inserts, with errors that say whether waiting helps."""

import logging
import math
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver import exceptions
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.insert import InsertContext

from schemas.rows import TABLES
from streams.config.sections import ClickHouseSettings
from streams.connections import database_password, database_tls
from streams.sinks.errors import REASONS, ClickHouseRefusedError, ClickHouseUnavailableError, Reason, insert_error

_CONNECT_TIMEOUT_S: Final = 10
_UNKNOWN_DATABASE: Final = 81
# What clickhouse-connect lets through when a Python value does not fit its column.
_UNFIT: Final = (TypeError, ValueError, OverflowError, AttributeError, struct.error)
_INSERT: Final[Mapping[str, Any]] = {
    "async_insert": 0,
    # Rows of a replay can span years, one partition a month: no reason to refuse them.
    "max_partitions_per_insert_block": 0,
}
_BUSY: Final = frozenset({Reason.OVERLOADED, Reason.MEMORY, Reason.DISK_FULL})
_TODO: Final[Mapping[Reason, str]] = {
    Reason.ACCESS: "Check clickhouse.user and clickhouse.password in the settings, and the user's grants.",
}


def physical_table(table: str) -> str:
    """The table that holds the rows of a logical table of :data:`schemas.rows.TABLES`."""
    return f"{table}_raw"


def quoted(identifier: str) -> str:
    """An identifier as SQL takes it whatever it contains."""
    escaped = identifier.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a query, with the names and ClickHouse types of their columns."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Sequence[Sequence[Any]]


class ClickHouse:
    """A client of one server. Connects when first used; safe to use from several threads, one at a time.

    Parameters
    ----------
    settings
        Where and how.
    database
        What unqualified names in queries mean; the server's default for None. Inserts always go to the database of
        the settings.
    """

    def __init__(self, settings: ClickHouseSettings, database: str | None) -> None:
        # Its lines repeat, with a traceback, what the exceptions say.
        logging.getLogger("clickhouse_connect.driver").setLevel(logging.CRITICAL)
        self.where = settings.url
        self._settings = settings
        self._database = database
        self._client: Client | None = None
        self._contexts: dict[str, InsertContext] = {}
        self._lock = threading.Lock()

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Answer:
        """Run one query; ``{name:Type}`` in ``sql`` stands for ``parameters[name]``.

        Raises
        ------
        ClickHouseUnavailableError, ClickHouseRefusedError
            As the class of the error says.
        """
        with self._speaking() as client:
            result = client.query(sql, parameters=dict(parameters or {}))
            return Answer(tuple(result.column_names), tuple(t.name for t in result.column_types), result.result_rows)

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run one statement that returns nothing. Otherwise as :meth:`query`."""
        with self._speaking() as client:
            client.command(sql, parameters=dict(parameters or {}))

    def formatted(self, sql: str, output_format: str, parameters: Mapping[str, Any] | None = None) -> bytes:
        """The answer in one of ClickHouse's own formats, such as ``JSONEachRow``. Otherwise as :meth:`query`."""
        with self._speaking() as client:
            return bytes(client.raw_query(sql, parameters=dict(parameters or {}), fmt=output_format))

    def insert(self, table: str, columns: Sequence[Sequence[Any]], token: str) -> None:
        """Insert rows of a logical table. When it returns, the server has acknowledged them.

        Parameters
        ----------
        table
            A key of :data:`schemas.rows.TABLES`.
        columns
            One sequence per column of the table, all of one length.
        token
            The server drops a repeated insert with a token it has seen, **whatever its rows**: equal rows only.

        Raises
        ------
        ClickHouseUnavailableError
            Nothing is known about the rows; inserting them again is harmless.
        ClickHouseRefusedError
            ``reason`` says whether the schema or the rows are wrong; some of the rows may be in.
        """
        name = physical_table(table)
        database = self._settings.database
        with self._lock:
            try:
                client = self._connected()
                context = self._context(client, table, name)
                context.settings = {**_INSERT, "insert_deduplication_token": token}
                context.data = columns
                client.data_insert(context)
            except (exceptions.DataError, *_UNFIT) as error:
                raise ClickHouseRefusedError(f"A row does not fit {name}: {error}", self.where, Reason.DATA) from error
            except exceptions.ProgrammingError as error:
                todo = "Run 'halcyon migrate', then start the stage again."
                raise ClickHouseRefusedError(_said(error), f"{database}.{name}", Reason.SCHEMA, todo=todo) from error
            except exceptions.Error as error:
                if error.code is None:
                    raise self._unreachable(error) from error
                raise insert_error(_said(error), f"{database}.{name} at {self.where}", error.code) from error
            finally:
                self._release(table)

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    @contextmanager
    def _speaking(self) -> Iterator[Client]:
        with self._lock:
            try:
                yield self._connected()
            except exceptions.ProgrammingError as error:
                raise ClickHouseRefusedError(_said(error), self.where, Reason.OTHER, error.code) from error
            except exceptions.Error as error:
                if error.code is None:
                    raise self._unreachable(error) from error
                reason = REASONS.get(error.code, Reason.OTHER)
                if reason in _BUSY:
                    raise ClickHouseUnavailableError(_said(error), self.where, reason, error.code) from error
                todo = (
                    "Run 'halcyon migrate' to create it." if error.code == _UNKNOWN_DATABASE else _TODO.get(reason, "")
                )
                raise ClickHouseRefusedError(_said(error), self.where, reason, error.code, todo) from error

    def _connected(self) -> Client:
        if self._client is None:
            address = urlsplit(self._settings.url)
            timeout_s = math.ceil(self._settings.timeout_s)
            cert_file, password = self._settings.ssl_cert_file, database_password(self._settings)
            database_tls(self._settings)  # says what is wrong with the files in words that the driver does not have
            self._client = clickhouse_connect.get_client(
                host=address.hostname,
                port=address.port or (443 if address.scheme == "https" else 8123),
                interface=address.scheme,
                username=self._settings.user,
                password=password,
                ca_cert=self._settings.ssl_ca_file or None,
                client_cert=cert_file or None,
                client_cert_key=self._settings.ssl_key_file or None,
                # Without a password the certificate says who the user is; with one it only opens the door.
                tls_mode="strict" if cert_file and password else None,
                database=self._database,
                compress="lz4",
                connect_timeout=min(_CONNECT_TIMEOUT_S, timeout_s),
                send_receive_timeout=timeout_s,
                query_retries=1,
                client_name="halcyon",
                autogenerate_session_id=False,  # sessions would serialise the clients of one server
                dedicated_pool=True,
            )
        return self._client

    def _context(self, client: Client, table: str, name: str) -> InsertContext:
        """What the driver needs to know of a table, asked once."""
        if table not in self._contexts:
            self._contexts[table] = client.create_insert_context(
                name, TABLES[table], database=self._settings.database, column_oriented=True
            )
        return self._contexts[table]

    def _release(self, table: str) -> None:
        """Let go of the rows: a context is a cycle, and would hold them until somebody looks for cycles."""
        if context := self._contexts.get(table):
            context.data = [()] * len(TABLES[table])

    def _unreachable(self, error: exceptions.Error) -> ClickHouseUnavailableError:
        text = str(error)
        if "timed out" in text:
            what = f"ClickHouse did not answer within {self._settings.timeout_s:g} s."
            return ClickHouseUnavailableError(what, self.where, Reason.TIMEOUT)
        what = f"ClickHouse cannot be reached: {_cause(text)}."
        return ClickHouseUnavailableError(what, self.where, Reason.UNREACHABLE)


def connect(settings: ClickHouseSettings, database: str | None = "") -> ClickHouse:
    """A client; nothing is sent before it is first used.

    Parameters
    ----------
    settings
        ``settings.clickhouse``.
    database
        What unqualified names mean; by default the database of the settings, the server's own default for None.
    """
    return ClickHouse(settings, settings.database if database == "" else database)


def _said(error: exceptions.Error) -> str:
    """ClickHouse's own message, without the driver's frame around it."""
    text = str(error)
    _, found, message = text.partition("DB::Exception: ")
    message = message if found else text
    return exceptions.scrub_error_details(message.partition(" (for url ")[0].strip())


def _cause(text: str) -> str:
    """The innermost cause in a message of urllib3's."""
    inner = text.rpartition("Caused by ")[2].partition(")) executing")[0] if "Caused by " in text else text
    return inner.rpartition(": ")[2].rstrip('").') or text
