"""The ClickHouse schema: numbered migrations, applied in order and never changed once released.

``{database}`` in a file stands for the quoted name of the database. Every statement can be run twice and by two at once
(``IF NOT EXISTS``, ``OR REPLACE``): ClickHouse has no transaction around a file.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Final

PLACEHOLDER: Final = "{database}"
_NAME = re.compile(r"(?P<version>\d{4})_(?P<name>\w+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: ``version`` counts from 1 without holes, ``checksum`` is of its bytes."""

    version: int
    name: str
    sql: str
    checksum: str

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.version:04d}_{self.name}.sql"


def migrations() -> list[Migration]:
    """All migrations, in order.

    Raises
    ------
    ValueError
        If versions are not 1, 2, 3 …: two branches took the same number, or a file is missing.
    """
    found = []
    for entry in files(__name__).iterdir():
        matched = _NAME.fullmatch(entry.name)
        if matched:
            raw = entry.read_bytes()
            found.append(Migration(int(matched["version"]), matched["name"], raw.decode(), sha256(raw).hexdigest()))
    found.sort(key=lambda migration: (migration.version, migration.name))
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations must be numbered 1, 2, 3, …: {', '.join(one.file for one in found)}")
    return found


def literal(text: str) -> str:
    r"""A ClickHouse string literal, for queries that people are shown and may run.

    Names come from events, and an event must not be able to write SQL. What this program runs itself has parameters.

    Examples
    --------
    >>> print(literal("it's \\ here"))
    'it\'s \\ here'
    """
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
