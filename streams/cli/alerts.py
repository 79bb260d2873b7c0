"""``halcyon alerts``: follow the alerts."""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.alerts import Status
from streams.cli.context import out, settings_of
from streams.errors import ConfigError

if TYPE_CHECKING:
    from schemas.alerts import Alert

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Follow the alerts.")

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_WAIT_S = 0.5
_QUIET_S = 5.0


@app.callback()
def _group() -> None:
    """Keep ``tail`` a command of its own, though it is the only one."""


@app.command()
def tail(
    ctx: typer.Context,
    since: Annotated[
        str | None,
        typer.Option(help="Begin so long ago (90s, 15m, 2h, 7d) or at a time (2026-11-21T08:00:00Z)."),
    ] = None,
    status: Annotated[Status | None, typer.Option(help="Only firing, or only resolved ones.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, as on the topic.")] = False,
    follow: Annotated[bool, typer.Option(help="Go on as alerts come, or end with the last there is.")] = True,
) -> None:
    """Show alerts as they come."""
    from schemas.alerts import decode
    from streams.cli.feed import Feed
    from streams.clock import SystemClock

    kafka = settings_of(ctx).kafka
    since_ms = None if since is None else moment_ms(since, SystemClock().now_ms())
    from_start = since_ms is not None or not follow
    with Feed(kafka, f"{kafka.topic_prefix}alerts", decode, from_start=from_start) as feed:
        while True:
            came = list(feed.take(_WAIT_S if follow else _QUIET_S))
            for alert in came:
                if is_wanted(alert, since_ms, status):
                    _print(alert, as_json=as_json)
            if not came and not follow:
                return


def is_wanted(alert: "Alert", since_ms: int | None, status: Status | None) -> bool:
    """Whether an alert event is recent enough (event time) and of the status asked for."""
    from schemas.alerts import milliseconds

    recent = since_ms is None or milliseconds(alert.updated_at) >= since_ms
    return recent and (status is None or alert.status is status)


def moment_ms(text: str, now_ms: int) -> int:
    """The time that ``--since`` means, ms since 1970.

    Raises
    ------
    ConfigError
        If it is neither a span nor a time.

    Examples
    --------
    >>> moment_ms("15m", now_ms=1_000_000), moment_ms("1970-01-01T00:00:09Z", now_ms=0)
    (100000, 9000)
    """
    span = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if span:
        return now_ms - round(float(span[1]) * _UNITS_S[span[2]] * 1000)
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is neither a span nor a time.", "--since", "Give 90s, 15m, 2h or 7d, or 2026-11-21T08:00:00Z."
        ) from error
    # A time without a zone is meant as it is shown: in UTC.
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _print(alert: "Alert", *, as_json: bool) -> None:
    from schemas.alerts import encode
    from streams.cli.render import render_alert

    if as_json:
        typer.echo(encode(alert).decode())
    else:
        out().print(render_alert(alert), highlight=False)
