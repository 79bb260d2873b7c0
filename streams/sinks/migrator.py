"""Brings a ClickHouse database to the schema of this release, forward only.

Two migrators at once do no harm: ClickHouse has neither locks nor transactional DDL to keep them apart, so every
statement is one that can be repeated, in any interleaving, with the same end, and the record of a migration is a row
that both may write. One that dies in the middle of a file has not recorded it: the next one runs the whole file again.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from schemas.clickhouse import PLACEHOLDER, Migration
from streams.errors import HalcyonError
from streams.sinks.clickhouse import Answer, quoted
from streams.sinks.errors import ClickHouseRefusedError
from streams.sinks.statements import split_statements

TABLE: Final = "schema_migrations"
_UNKNOWN_DATABASE: Final = 81
_UNKNOWN_TABLE: Final = 60
# What a CREATE OR REPLACE can meet while another one runs: TABLE_ALREADY_EXISTS, DEADLOCK_AVOIDED, ABORTED,
# FUNCTION_ALREADY_EXISTS, DDL_GUARD_IS_ACTIVE … and UNKNOWN_TABLE in between of its two renames.
_COLLISIONS: Final = frozenset({57, 60, 236, 473, 609, 741})
_TRIES: Final = 5


class Server(Protocol):
    """What the migrator asks of a client."""

    def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> Answer:
        """Run a query."""
        ...

    def command(self, sql: str, parameters: Mapping[str, object] | None = None) -> None:
        """Run a statement."""
        ...


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration as the database remembers it."""

    version: int
    name: str
    checksum: str


def pending(known: Sequence[Migration], applied: Sequence[Applied], database: str) -> list[Migration]:
    """The migrations that are still to be run, in order.

    Raises
    ------
    HalcyonError
        If an applied file has changed since, or the database is newer than this release.
    """
    by_version = {one.version: one for one in applied}
    newest = known[-1].version if known else 0
    newer = [one for one in applied if one.version > newest]
    if newer:
        raise HalcyonError(
            f"The database is at schema version {newer[-1].version}, this release knows {newest}.",
            f"database {database}",
            "Install the release that migrated it, or a later one.",
        )
    for migration in known:
        found = by_version.get(migration.version)
        if found is not None and found.checksum != migration.checksum:
            raise HalcyonError(
                f"Migration {migration.file} has changed since it was applied as {found.name}.",
                f"database {database}",
                "Undo the change and put it into a new migration; for a database without value: drop it.",
            )
    return [migration for migration in known if migration.version not in by_version]


class Migrator:
    """Applies migrations to one database.

    Parameters
    ----------
    server
        A client whose default database need not exist.
    database
        Its name; created when it is missing.
    known
        All migrations of this release, in order.
    """

    def __init__(self, server: Server, database: str, known: Sequence[Migration]) -> None:
        self._server = server
        self._database = database
        self._known = known

    def plan(self) -> list[Migration]:
        """What :meth:`apply` would do. Changes nothing; raises as :func:`pending`."""
        return pending(self._known, self._applied(), self._database)

    def apply(self) -> list[Migration]:
        """Run what is pending and return it.

        Raises
        ------
        HalcyonError
            As :func:`pending`; or a statement failed, what was recorded before it stands.
        """
        planned = self.plan()
        if not planned:
            return []
        database = quoted(self._database)
        self._run(f"CREATE DATABASE IF NOT EXISTS {database}")
        self._run(
            f"CREATE TABLE IF NOT EXISTS {database}.{TABLE} (version UInt32, name String, checksum String, "
            "applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')) ENGINE = ReplacingMergeTree ORDER BY version "
            "COMMENT 'which schema migrations were applied'"
        )
        for migration in planned:
            self._apply(migration, database)
        return planned

    def _apply(self, migration: Migration, database: str) -> None:
        statements, rest = split_statements(migration.sql)
        if rest:
            raise HalcyonError(f"{migration.file} does not end with a semicolon.", "", "Close its last statement.")
        for number, statement in enumerate(statements, 1):
            try:
                self._run(statement.replace(PLACEHOLDER, database))
            except ClickHouseRefusedError as error:
                where = f"statement {number} of {migration.file}"
                raise HalcyonError(error.what, where, "The files before it were applied; run it again.") from error
        self._run(
            f"INSERT INTO {database}.{TABLE} (version, name, checksum) "  # noqa: S608 - no parameter can name a table
            "VALUES ({version:UInt32}, {name:String}, {checksum:String})",
            {"version": migration.version, "name": migration.name, "checksum": migration.checksum},
        )

    def _run(self, statement: str, parameters: Mapping[str, object] | None = None) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                self._server.command(statement, parameters)
                return
            except ClickHouseRefusedError as error:
                if error.code not in _COLLISIONS or attempt == _TRIES:
                    raise
                time.sleep(0.1 * attempt)

    def _applied(self) -> list[Applied]:
        table = f"{quoted(self._database)}.{TABLE}"
        sql = f"SELECT version, name, checksum FROM {table} FINAL ORDER BY version"  # noqa: S608 - likewise
        try:
            return [Applied(*row) for row in self._server.query(sql).rows]
        except ClickHouseRefusedError as error:
            if error.code in (_UNKNOWN_DATABASE, _UNKNOWN_TABLE):
                return []
            raise
