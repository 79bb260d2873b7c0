"""What each part of Halcyon must be allowed on the brokers, and nothing beyond it.

Kafka lets everyone who may read or write a topic, or read a group, also describe it; what follows from a right is not
named again. Since Kafka 3.0 an idempotent producer needs no right of its own on the cluster.
"""

import shlex
from dataclasses import dataclass
from typing import Final

from schemas.topics import SOURCES, TopicName
from streams.config import Settings

READ: Final = "read"
WRITE: Final = "write"


@dataclass(frozen=True, order=True, slots=True)
class Acl:
    """One right: ``kind`` is ``topic`` or ``group``, ``name`` literal, ``operation`` ``read`` or ``write``."""

    kind: str
    name: str
    operation: str


# Part → what it reads, and what it writes. Stages are members of a consumer group beside; the others are not.
_READS: Final[dict[str, tuple[TopicName, ...]]] = {
    "ingest": (*SOURCES, TopicName.BASELINES),
    "analyse": (TopicName.PANES, TopicName.BASELINES, TopicName.STATE),
    "alert": (TopicName.FINDINGS, TopicName.CONTROL, TopicName.ALERTS, TopicName.STATE),
    "write": (TopicName.ROWS,),
}
_WRITES: Final[dict[str, tuple[TopicName, ...]]] = {
    "ingest": (TopicName.PANES, TopicName.DEAD_LETTERS),
    "analyse": (TopicName.ROWS, TopicName.FINDINGS, TopicName.BASELINES, TopicName.STATE),
    "alert": (TopicName.ALERTS, TopicName.ROWS, TopicName.STATE, TopicName.DEAD_LETTERS),
    "write": (TopicName.DEAD_LETTERS,),
}


def acls_of(stage: str, settings: Settings) -> tuple[Acl, ...]:
    """The rights of a stage.

    Parameters
    ----------
    stage
        Out of :data:`streams.supervisor.STAGES`.
    settings
        For the names of topics and groups.

    Examples
    --------
    >>> for acl in acls_of("write", Settings()):
    ...     print(acl.operation, acl.kind, acl.name)
    read group halcyon-write
    read topic rows
    write topic dead-letters
    """
    kafka = settings.kafka
    group = Acl("group", kafka.group(stage), READ)
    names = [kafka.source(topic) if topic in SOURCES else kafka.topic(topic) for topic in _READS[stage]]
    reads = [Acl("topic", name, READ) for name in names]
    writes = [Acl("topic", kafka.topic(topic), WRITE) for topic in _WRITES[stage]]
    return (group, *reads, *writes)


def as_command(acl: Acl, principal: str) -> str:
    """The command of Kafka's own tools that grants the right.

    Examples
    --------
    >>> print(as_command(Acl("topic", "rows", READ), "User:halcyon-write"))
    kafka-acls.sh --add --allow-principal User:halcyon-write --operation read --topic rows
    """
    wanted = ["--allow-principal", principal, "--operation", acl.operation, f"--{acl.kind}", acl.name]
    return shlex.join(["kafka-acls.sh", "--add", *wanted])
