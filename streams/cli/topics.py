"""``halcyon topics``: create, correct and list the topics."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from streams.cli.context import out, settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.config import Settings
    from streams.topics import Topic, TopicAdmin

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Create and describe the Kafka topics.")


def declared(settings: "Settings") -> "list[Topic]":
    """The topics of an installation, as its settings want them; not the source topics that belong to another one."""
    from schemas.topics import SOURCES, Sizes, declarations
    from streams.topics import Topic

    sizes = Sizes(
        partitions=settings.topics.partitions,
        retention_hours=settings.topics.retention_hours,
        internal_retention_hours=settings.topics.internal_retention_hours,
        dead_letter_retention_hours=settings.topics.dead_letter_retention_hours,
    )
    kafka, copies = settings.kafka, settings.topics.replication_factor
    prefix = kafka.topic_prefix
    # The source topics can grow: their panes are told apart by source partition. Behind them keys stand for state.
    growing = {prefix + source for source in SOURCES}
    return [
        Topic(topic.name, topic.partitions, copies, topic.config, fixed=topic.name not in growing)
        for topic in declarations(sizes, prefix)
        if topic.name not in growing or kafka.source_prefix in {None, prefix}
    ]


@app.command()
def apply(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")] = False,
) -> None:
    """Create what is missing, add partitions, correct settings. Deletes nothing; safe to repeat."""
    from streams.topics import Action, plan

    settings = settings_of(ctx)
    topics, admin = declared(settings), _admin(settings)
    found = admin.find([topic.name for topic in topics])
    changes = plan(topics, found) if dry_run else admin.apply(topics)
    for change in changes:
        would = "would " if dry_run and change.action is not Action.KEEP else ""
        words = escape(f"{would}{change.action:<9} {change.topic}: {change.detail}")
        out().print(f"[yellow]{words}[/]" if change.action is Action.KEEP else words, highlight=False)
    if all(change.action is Action.KEEP for change in changes):
        out().print(f"[green]ok[/] {len(topics)} topics are as declared", highlight=False)


@app.command(name="list")
def list_(ctx: typer.Context) -> None:
    """Show the topics as they are, and what `apply` would change."""
    from rich.table import Table

    from streams.topics import plan

    settings = settings_of(ctx)
    topics = declared(settings)
    found = _admin(settings).find([topic.name for topic in topics])
    changes = plan(topics, found)
    table = Table(show_edge=False, header_style="dim")
    for heading in ("topic", "partitions", "copies", "keeps", "to do"):
        table.add_column(heading, overflow="fold")
    for topic in topics:
        there = found.get(topic.name)
        todo = "; ".join(f"{change.action}: {change.detail}" for change in changes if change.topic == topic.name)
        kept = _kept(there.effective) if there else ""
        partitions, copies = (str(there.partitions), str(there.replication_factor)) if there else ("–", "–")
        table.add_row(topic.name, partitions, copies, kept, f"[yellow]{escape(todo)}[/]" if todo else "")
    out().print(table)


@app.command()
def acls(
    ctx: typer.Context,
    stages: Annotated[list[str] | None, typer.Option("--stage", help="Only this stage; once per stage.")] = None,
    principal: Annotated[
        str, typer.Option(help="Who a stage logs in as; {stage} stands for its name.")
    ] = "User:halcyon-{stage}",
) -> None:
    """Print the commands that give each stage the rights it needs, and no other."""
    from streams.acls import acls_of, as_command
    from streams.errors import ConfigError
    from streams.supervisor import STAGES

    settings = settings_of(ctx)
    for stage in stages or STAGES:
        if stage not in STAGES:
            raise ConfigError(f"There is no stage {stage}.", "--stage", f"Give {', '.join(STAGES)}.")
        for acl in acls_of(stage, settings):
            typer.echo(as_command(acl, principal.replace("{stage}", stage)))


def _kept(config: "Mapping[str, str]") -> str:
    """How long messages stay, in words."""
    if config.get("cleanup.policy") == "compact":
        return "the last of each key"
    retention_ms = int(config.get("retention.ms", "-1"))
    return "for good" if retention_ms < 0 else f"{retention_ms / 3_600_000:g} h"


def _admin(settings: "Settings") -> "TopicAdmin":
    from streams.connections import client_config
    from streams.topics import TopicAdmin

    return TopicAdmin(client_config(settings.kafka), settings.kafka.request_timeout_s)
