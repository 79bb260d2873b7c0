"""Splitting SQL, the rules migrations keep, and what is pending."""

import re
from dataclasses import replace

import pytest

from schemas.clickhouse import Migration, migrations
from streams.errors import HalcyonError
from streams.sinks.migrator import Applied, pending
from streams.sinks.statements import split_statements

# What can be run twice, and by two at once.
REPEATABLE = re.compile(
    r"(CREATE (TABLE|DATABASE|VIEW|FUNCTION) IF NOT EXISTS|CREATE OR REPLACE (VIEW|FUNCTION|TABLE)|DROP \w+ IF EXISTS"
    r"|ALTER TABLE \S+ (ADD|DROP) (COLUMN|INDEX) IF (NOT )?EXISTS|ALTER TABLE \S+ MODIFY|INSERT INTO)\b"
)


@pytest.mark.parametrize(
    ("text", "statements", "rest"),
    [
        ("", [], ""),
        (" ; ;; ", [], ""),
        ("SELECT 1", [], "SELECT 1"),
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"], ""),
        ("SELECT ';', `;`, \";\" ; x", ["SELECT ';', `;`, \";\""], "x"),
        (r"SELECT 'it\'s; fine', 'it''s; too';", [r"SELECT 'it\'s; fine', 'it''s; too'"], ""),
        ("SELECT 1 -- a; comment's quote\n + 2;", ["SELECT 1  \n + 2"], ""),
        ("/* ; ' */ SELECT 1 /* ; */;", ["SELECT 1"], ""),
        ("# a; comment\nSELECT 1;", ["SELECT 1"], ""),
        ("SELECT 1; SELECT 'open;", ["SELECT 1"], "SELECT 'open;"),
        ("SELECT 1; SELECT 2 /* open;", ["SELECT 1"], "SELECT 2 /* open;"),
        ("SELECT 5 - -1;", ["SELECT 5 - -1"], ""),
    ],
)
def test_statements_end_at_semicolons_outside_quotes_and_comments(text: str, statements: list[str], rest: str) -> None:
    assert split_statements(text) == (statements, rest)


def test_migrations_are_numbered_without_holes() -> None:
    assert [one.version for one in migrations()] == list(range(1, len(migrations()) + 1))
    assert migrations()[0].file == "0001_tables.sql"


@pytest.mark.parametrize("migration", migrations(), ids=lambda one: one.file)
def test_every_statement_of_a_migration_can_be_repeated(migration: Migration) -> None:
    statements, rest = split_statements(migration.sql)
    assert rest == ""
    for statement in statements:
        assert REPEATABLE.match(statement), statement[:80]
        # SQL functions are the server's, everything else is the database's.
        if "FUNCTION" in statement.split("AS")[0]:
            assert re.match(r"CREATE OR REPLACE FUNCTION halcyon_\w+ AS", statement), statement[:80]
        else:
            assert "{database}." in statement, statement[:80]


def test_what_is_not_applied_is_pending() -> None:
    known = migrations()
    applied = [Applied(one.version, one.name, one.checksum) for one in known]
    assert pending(known, [], "d") == known
    assert pending(known, applied[:1], "d") == known[1:]
    assert pending(known, applied, "d") == []


def test_a_changed_or_newer_schema_is_refused() -> None:
    known = migrations()
    applied = [Applied(one.version, one.name, one.checksum) for one in known]
    with pytest.raises(HalcyonError, match="has changed since"):
        pending([replace(known[0], checksum="x"), *known[1:]], applied, "d")
    with pytest.raises(HalcyonError, match="this release knows 2"):
        pending(known[:2], applied, "d")
