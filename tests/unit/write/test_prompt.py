"""The prompt of ``halcyon sql`` and how values are shown."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streams.cli.prompt import Prompt
from streams.cli.sql import shown
from streams.errors import HalcyonError


def typed(*lines: str | type[BaseException]) -> Callable[[str], str]:
    waiting = iter(lines)

    def read(_prompt: str) -> str:
        line = next(waiting, EOFError)
        if isinstance(line, str):
            return line
        raise line

    return read


def ran(*lines: str | type[BaseException], history: Path | None = None) -> list[str]:
    statements: list[str] = []
    Prompt(statements.append, "http://test", typed(*lines), history).loop()
    return statements


def test_a_statement_runs_at_its_semicolon_over_any_number_of_lines() -> None:
    assert ran("SELECT 1", "  + 2", "; SELECT 3; SELECT", "4;") == ["SELECT 1\n  + 2;SELECT 3", "SELECT\n4"]


def test_what_is_not_finished_at_the_end_is_not_run() -> None:
    assert ran("SELECT 1") == []


def test_interrupting_forgets_what_was_typed() -> None:
    assert ran("SELECT 1,", KeyboardInterrupt, "SELECT 2;") == ["SELECT 2"]


def test_commands() -> None:
    tables, columns = ran(r"\d", r"\d windows;", r"\?", r"\q", "SELECT 'never';")
    assert "system.tables" in tables
    assert "table = 'windows'" in columns


def test_a_failing_statement_is_told_and_the_prompt_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[str] = []

    def run(sql: str) -> None:
        seen.append(sql)
        if sql == "bad":
            raise HalcyonError("Unknown [table] x.", "", "Create it.")

    Prompt(run, "http://test", typed("bad;", "good;"), None).loop()
    assert seen == ["bad", "good"]
    told = capsys.readouterr().err
    assert "Unknown [table] x." in told
    assert "Create it." in told


def test_the_history_is_kept_in_a_folder_made_for_it(tmp_path: Path) -> None:
    ran("SELECT 1;", history=tmp_path / "new" / "history")
    assert (tmp_path / "new" / "history").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "·"),
        (1234567.5, "1234567.5"),
        (0.000123456789, "0.000123457"),
        (math.nan, "nan"),
        (list(range(20)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, … 20]"),
        (datetime(2024, 5, 6, 7, 8, 10, tzinfo=UTC), "2024-05-06 07:08:10+00:00"),
        (b"ab\xff", r"ab\xff"),
    ],
)
def test_values_are_shown_as_people_read_them(value: object, text: str) -> None:
    assert shown(value) == text
