"""``halcyon sql``: one query, or a prompt."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.context import Harmless, out, settings_of

if TYPE_CHECKING:
    from streams.sinks.clickhouse import ClickHouse


class OutputFormat(StrEnum):
    """How the answer is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    TSV = "tsv"


_CLICKHOUSE_FORMATS = {
    OutputFormat.JSON: "JSONEachRow",
    OutputFormat.CSV: "CSVWithNames",
    OutputFormat.TSV: "TabSeparatedWithNames",
}


def command(
    ctx: typer.Context,
    query: Annotated[
        str, typer.Argument(help="SQL, statements separated by semicolons. Without it: a prompt, or what is piped in.")
    ] = "",
    output_format: Annotated[
        OutputFormat, typer.Option("--format", "-f", help="json: an object a line; csv and tsv: with a header.")
    ] = OutputFormat.TABLE,
) -> None:
    """Ask ClickHouse. The views are described in docs/sql.md; 'SHOW TABLES' lists them."""
    from streams.sinks.clickhouse import connect

    client = connect(settings_of(ctx).clickhouse)
    try:
        if query.strip() or not sys.stdin.isatty():
            run(client, query.strip() or sys.stdin.read(), output_format)
        else:
            from streams.cli.prompt import Prompt

            Prompt(lambda sql: run(client, sql, output_format), client.where).loop()
    finally:
        client.close()


def run(client: "ClickHouse", text: str, output_format: OutputFormat) -> None:
    """Run the statements in ``text`` in order and print each answer."""
    from streams.sinks.statements import returns_rows, split_statements

    statements, rest = split_statements(text)
    for statement in [*statements, rest] if rest else statements:
        if not returns_rows(statement):
            client.command(statement)
        elif output_format is OutputFormat.TABLE:
            _print_table(client, statement)
        else:
            typer.echo(client.formatted(statement, _CLICKHOUSE_FORMATS[output_format]), nl=False)


def _print_table(client: "ClickHouse", statement: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    answer = client.query(statement)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, kind in zip(answer.columns, answer.types, strict=True):
        number = "Int" in kind or "Float" in kind or "Decimal" in kind
        table.add_column(Text(name), justify="right" if number and "Array" not in kind else "left", overflow="fold")
    for row in answer.rows:
        table.add_row(*(Text(shown(value)) for value in row))
    console = out()
    if not console.is_terminal:
        # Where nobody looks there is no width to fit into.
        wide = Console(width=100_000)
        console = Console(width=Measurement.get(wide, wide.options, table).maximum)
    console.print(Harmless(table))
    console.print(f"[dim]{len(answer.rows)} row{'' if len(answer.rows) == 1 else 's'}[/]", highlight=False)


def shown(value: object) -> str:
    """A value as people read it: six significant digits, times without what is zero, long arrays cut.

    Examples
    --------
    >>> shown(0.123456789), shown(1234567.5), shown(None), shown([1, 2.5])
    ('0.123457', '1234567.5', '·', '[1, 2.5]')
    """
    from datetime import datetime

    limit = 12
    if value is None:
        return "·"
    if isinstance(value, float):
        return repr(value) if abs(value) >= 1e5 and value == round(value, 3) else f"{value:.6g}"
    if isinstance(value, datetime):
        return value.isoformat(" ", "milliseconds" if value.microsecond else "seconds")
    if isinstance(value, (list, tuple)):
        more = f", … {len(value)}" if len(value) > limit else ""
        return f"[{', '.join(shown(one) for one in value[:limit])}{more}]"
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)
