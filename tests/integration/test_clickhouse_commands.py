"""``halcyon migrate`` and ``halcyon sql`` as they are typed."""

import json
from collections.abc import Iterator

import pytest

from deploy.local.clickhouse import LocalClickHouse
from streams.cli.app import run
from streams.cli.context import err, out


@pytest.fixture(autouse=True)
def _settings(clickhouse: LocalClickHouse, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HALCYON_CLICKHOUSE__URL", clickhouse.url)
    monkeypatch.setenv("HALCYON_CLICKHOUSE__DATABASE", database)
    # The consoles remember the streams that pytest puts in place for each test.
    out.cache_clear()
    err.cache_clear()
    yield
    out.cache_clear()
    err.cache_clear()


def test_migrating_shows_what_it_did_and_a_dry_run_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["migrate", "--dry-run"]) == 0
    assert "would apply 0001_tables.sql" in capsys.readouterr().out
    assert run(["migrate"]) == 0
    assert "applied 0001_tables.sql" in capsys.readouterr().out
    assert run(["migrate"]) == 0
    assert "is up to date" in capsys.readouterr().out


def test_answers_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT number AS n, 'a,b' AS t FROM numbers(2)"
    assert run(["sql", query, "--format", "json"]) == 0
    assert [json.loads(line)["t"] for line in capsys.readouterr().out.splitlines()] == ["a,b", "a,b"]
    assert run(["sql", query, "--format", "csv"]) == 0
    assert capsys.readouterr().out == '"n","t"\n0,"a,b"\n1,"a,b"\n'
    assert run(["sql", query, "--format", "tsv"]) == 0
    assert capsys.readouterr().out == "n\tt\n0\ta,b\n1\ta,b\n"
    assert run(["sql", query]) == 0
    assert "2 rows" in capsys.readouterr().out


def test_statements_run_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    script = "CREATE TABLE t (a Int32) ENGINE = Memory; INSERT INTO t VALUES (1), (2); SELECT sum(a) AS s FROM t"
    assert run(["sql", script, "-f", "tsv"]) == 0
    assert capsys.readouterr().out == "s\n3\n"


def test_a_wide_table_is_not_cut_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sql", f"SELECT '{'x' * 300}' AS wide"]) == 0
    assert "x" * 300 in capsys.readouterr().out


def test_a_wrong_query_gives_clickhouses_words_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sql", "SELECT nope FROM numbers(1)"]) == 1
    told = capsys.readouterr().err
    assert "nope" in told
    assert "UNKNOWN_IDENTIFIER" in told
    assert "Traceback" not in told


def test_a_server_that_is_away_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALCYON_CLICKHOUSE__URL", "http://127.0.0.1:9")
    for command in (["sql", "SELECT 1"], ["migrate"]):
        assert run(command) == 1
        told = capsys.readouterr().err
        assert "Connection refused" in told
        assert "halcyon up" in told


def test_a_database_that_is_missing_says_to_migrate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALCYON_CLICKHOUSE__DATABASE", "never_made")
    assert run(["sql", "SELECT 1"]) == 1
    assert "halcyon migrate" in capsys.readouterr().err
