"""The little that the local endpoint must see in a statement: where an INSERT's data begins, which format answers."""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_FORMAT = "TabSeparated"
_TOKEN = re.compile(
    rb"""(?P<skip>\s+|--[^\n]*|\#[ !][^\n]*|/\*.*?\*/)
       | '(?:[^'\\]|\\.)*' | `(?:[^`\\]|\\.)*` | "(?:[^"\\]|\\.)*"
       | (?P<word>\w+)
       | .""",
    re.DOTALL | re.VERBOSE,
)
# After these a word is the name of a table, even one called `format`.
_BEFORE_NAME = frozenset({b"INTO", b"TABLE", b"FUNCTION", b"."})
# After these the rows stand in the statement itself or come from elsewhere.
_NO_DATA = frozenset({b"VALUES", b"SELECT", b"WITH", b"WATCH", b"FROM"})
_WITH_RESULT = frozenset({b"SELECT", b"WITH", b"SHOW", b"DESCRIBE", b"DESC", b"EXISTS", b"EXPLAIN", b"CHECK", b"("})
# ClickHouse ends its look at the separator here: blanks, then one line break; what follows is data.
_SEPARATOR = re.compile(rb"[ \t\f]*\r?\n?")
_TRAILING_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*(?:SETTINGS\b[^;]*)?;?\s*\Z", re.IGNORECASE)
_TRAILING_WINDOW_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Insert:
    """An INSERT whose rows follow it: the statement up to FORMAT, the format's name, and the rows."""

    statement: bytes
    format: str
    rows: memoryview


def split_insert(text: bytes) -> Insert | None:
    """Split an ``INSERT … FORMAT f`` from the rows behind it; None for every other statement.

    Parameters
    ----------
    text
        The whole request: a statement, possibly with rows in any format behind it, which are not looked at.
    """
    depth, before = 0, b""
    for token in _TOKEN.finditer(text):
        if token["skip"] is not None:
            continue
        word = token[0].upper()
        if before == b"" and word != b"INSERT":
            return None
        if depth == 0 and before not in _BEFORE_NAME:
            if word in _NO_DATA:
                return None
            if word == b"FORMAT":
                return _split_at(text, token.start(), token.end())
        depth += (word == b"(") - (word == b")")
        before = word
    return None


def _split_at(text: bytes, format_start: int, format_end: int) -> Insert | None:
    name = re.compile(rb"\s+(\w+)").match(text, format_end)
    if name is None:
        return None
    separator = _SEPARATOR.match(text, name.end())
    rows_start = separator.end() if separator else name.end()
    return Insert(text[:format_start].rstrip(), name[1].decode(), memoryview(text)[rows_start:])


def result_format(text: bytes, default: str) -> str | None:
    """Return the format in which a statement answers, or None when it gives no result set."""
    first = next((token[0].upper() for token in _TOKEN.finditer(text) if token["skip"] is None), b"")
    if first not in _WITH_RESULT:
        return None
    named = _TRAILING_FORMAT.search(text[-_TRAILING_WINDOW_BYTES:])
    return named[1].decode() if named else default


def quote_text(value: str) -> str:
    """Write a value as a ClickHouse string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_name(name: str) -> str:
    """Write a name as a ClickHouse identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
