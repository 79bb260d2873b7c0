"""The little SQL that has to be understood: where one statement ends and the next begins."""

import re

_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|\#[ !][^\n]*|/\*.*?\*/)
       |(?P<quoted>'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|"(?:[^"\\]|\\.)*")
       |(?P<open>'|`|"|/\*)
       |(?P<end>;)
       |.""",
    re.DOTALL | re.VERBOSE,
)


_FIRST_WORD = re.compile(r"[\s(]*(\w+)")
_WITH_RESULT = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN", "CHECK", "FROM"})


def returns_rows(statement: str) -> bool:
    """Whether a statement, without comments, answers with rows.

    Examples
    --------
    >>> returns_rows("(SELECT 1)"), returns_rows("show tables"), returns_rows("DROP TABLE t")
    (True, True, False)
    """
    first = _FIRST_WORD.match(statement)
    return first is not None and first[1].upper() in _WITH_RESULT


def split_statements(text: str) -> tuple[list[str], str]:
    r"""Split SQL at the semicolons that stand outside quotes and comments.

    Parameters
    ----------
    text
        Any number of statements. Comments are left out of the result.

    Returns
    -------
    (statements, rest)
        The complete statements without their semicolons, none of them blank, and what follows the last semicolon:
        blank, or a statement that goes on. A quote or comment that is never closed is part of the rest.

    Examples
    --------
    >>> split_statements("SELECT ';' -- not here; nor here\n; SELECT 2")
    (["SELECT ';'"], 'SELECT 2')
    """
    statements: list[str] = []
    current: list[str] = []
    for token in _TOKEN.finditer(text):
        if token["end"]:
            statements.append("".join(current).strip())
            current = []
        elif token["open"]:
            return [s for s in statements if s], ("".join(current) + text[token.start() :]).strip()
        else:
            current.append(" " if token["comment"] else token[0])
    return [s for s in statements if s], "".join(current).strip()
