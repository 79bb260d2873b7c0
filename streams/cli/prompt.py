"""The prompt of ``halcyon sql``: statements over several lines, a history, and two commands."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rich.markup import escape

from schemas.clickhouse import literal
from streams.cli.context import err, out
from streams.errors import HalcyonError
from streams.sinks.statements import split_statements

HISTORY = Path("~/.local/state/halcyon/sql_history")
_HISTORY_LINES = 1_000
_TABLES = (
    "SELECT name, if(engine = 'View', 'view', 'table') AS kind, comment FROM system.tables "
    "WHERE database = currentDatabase() AND NOT startsWith(name, '.') ORDER BY kind DESC, name"
)
_COLUMNS = (
    "SELECT name, type, comment FROM system.columns WHERE database = currentDatabase() AND table = {name} "
    "ORDER BY position"
)
HELP = r"""End a statement with ; and it runs, over as many lines as you like.
\d       views and tables        \d NAME  columns of one
\?       this                    \q       leave (or Ctrl-D); Ctrl-C forgets what was typed"""


class Prompt:
    """Reads statements until end of file.

    Parameters
    ----------
    run
        Runs SQL and prints the answer.
    where
        The server, for the greeting.
    read
        Shows a prompt and returns a line; EOFError at the end.
    history
        File of earlier lines; made when missing.
    """

    def __init__(
        self,
        run: Callable[[str], None],
        where: str,
        read: Callable[[str], str] = input,
        history: Path | None = HISTORY,
    ) -> None:
        self._run = run
        self._where = where
        self._read = read
        self._history = history.expanduser() if history else None

    def loop(self) -> None:
        """Read and run until the end; an error is printed and forgotten."""
        self._load_history()
        out().print(f"[dim]{escape(self._where)} — \\? for help[/]", highlight=False)
        pending = ""
        try:
            while True:
                try:
                    line = self._read("      -> " if pending else "halcyon> ")
                except KeyboardInterrupt:
                    out().print()
                    pending = ""
                    continue
                except EOFError:
                    break
                if not pending and line.strip().startswith("\\"):
                    if not self._obey(line.strip()):
                        break
                    continue
                pending = self._take(f"{pending}\n{line}" if pending else line)
        finally:
            self._save_history()

    def _take(self, text: str) -> str:
        """Run what is complete and return the rest."""
        statements, rest = split_statements(text)
        if statements:
            self._guarded(";".join(statements))
        return rest

    def _obey(self, line: str) -> bool:
        """Do a command; False to leave."""
        name, _, argument = line.partition(" ")
        if name in (r"\q", r"\quit", r"\exit"):
            return False
        if name == r"\d":
            wanted = argument.strip().rstrip(";")
            self._guarded(_COLUMNS.format(name=literal(wanted)) if wanted else _TABLES)
        else:
            out().print(escape(HELP), highlight=False)
        return True

    def _guarded(self, sql: str) -> None:
        try:
            self._run(sql)
        except HalcyonError as error:
            err().print(f"[bold red]error:[/] {escape(error.what)}", highlight=False, soft_wrap=True)
            if error.todo:
                err().print(f"[dim]to do:[/] {escape(error.todo)}", highlight=False, soft_wrap=True)
        except KeyboardInterrupt:
            err().print("[dim]interrupted[/]")

    def _load_history(self) -> None:
        if self._history is None:
            return
        # Without readline (some builds have none) there is a prompt, and no history.
        with suppress(ImportError, OSError):
            import readline

            readline.set_history_length(_HISTORY_LINES)
            readline.read_history_file(self._history)

    def _save_history(self) -> None:
        if self._history is None:
            return
        with suppress(ImportError, OSError):
            import readline

            self._history.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(self._history)
