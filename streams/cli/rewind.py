"""``halcyon rewind``: let a stage read again from an earlier place."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from streams.cli.context import out, settings_of
from streams.errors import ConfigError, HalcyonError

if TYPE_CHECKING:
    from streams.config import Settings
    from streams.groups import GroupAdmin, Move


def command(
    ctx: typer.Context,
    stage: Annotated[str, typer.Argument(help="write, or ingest before its first start.", show_default=False)],
    to: Annotated[str, typer.Option(help="earliest, or an ISO time: when messages were appended.")] = "earliest",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")] = False,
) -> None:
    """Move a stage's place in its topics; its workers must be stopped.

    write may go back at any time: rows replace themselves. ingest may only be told where to begin, before it has
    begun: what it has counted stands, in panes and in the state of the stages behind it. To count a day again, give
    it an installation of its own (docs/operating.md).
    """
    from streams.connections import client_config
    from streams.groups import GroupAdmin

    settings = settings_of(ctx)
    topics = _topics(stage, settings)
    admin = GroupAdmin(client_config(settings.kafka), settings.kafka.request_timeout_s)
    group = settings.kafka.group(stage)
    _check_empty(admin, group, stage)
    to_ms = _time(to)
    plans = {topic: admin.plan(group, topic, to_ms) for topic in topics}
    if stage == "ingest":
        _check_unread(plans, group)
    for topic, moves in plans.items():
        if not dry_run:
            admin.move(group, topic, moves)
        _tell(topic, moves, dry_run=dry_run)


def _topics(stage: str, settings: "Settings") -> list[str]:
    from schemas.topics import SOURCES, TopicName

    if stage == "write":
        return [settings.kafka.topic(TopicName.ROWS)]
    if stage == "ingest":
        return [settings.kafka.source(name) for name in SOURCES]
    raise ConfigError(
        f"{stage!r} cannot be moved: only write, and ingest before its first start.",
        "",
        "What analyse and alert have seen is in their state.",
    )


def _check_empty(admin: "GroupAdmin", group: str, stage: str) -> None:
    members = admin.members(group)
    if members:
        raise HalcyonError(
            f"{members} worker{'s are' if members > 1 else ' is'} in the group.",
            f"group {group}",
            f"Stop the workers of stage {stage} first; a killed one is gone after 'kafka.session_timeout_s'.",
        )


def _check_unread(plans: "dict[str, list[Move]]", group: str) -> None:
    begun = [topic for topic, moves in plans.items() if any(move.before is not None for move in moves)]
    if begun:
        raise HalcyonError(
            f"ingest has begun to read {', '.join(begun)}: its panes are out and would not be counted again.",
            f"group {group}",
            "Count that span in an installation of its own: another 'kafka.topic_prefix' with the same "
            "'kafka.source_prefix', and another 'clickhouse.database'.",
        )


def _time(to: str) -> int | None:
    if to == "earliest":
        return None
    try:
        moment = datetime.fromisoformat(to)
    except ValueError as error:
        raise ConfigError(f"{to!r} is not a time.", "--to", "Give earliest, or 2026-03-01T12:00:00Z.") from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _tell(topic: str, moves: "list[Move]", *, dry_run: bool) -> None:
    for move in moves:
        before = "the beginning" if move.before is None else f"{move.before:,}"
        words = f"{topic}[{move.partition}] {before} → {move.after:,}, {move.again:,} messages to read"
        out().print(f"{'would move ' if dry_run else ''}{escape(words)}", highlight=False)
