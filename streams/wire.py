"""What passes between the consumer, the delivery and those who watch them."""

import enum
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Protocol

from streams.stage import ConsumerRecord, Position, TopicPartition


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """How a stage reads and commits.

    Parameters
    ----------
    bootstrap_servers
        ``host:port``, comma-separated.
    group_id
        The stage's consumer group; also the Faust app's id.
    client_id
        What brokers log.
    fetch_max_bytes, max_partition_fetch_bytes
        As sent over the wire, so usually compressed.
    fetch_max_wait_ms
        How long a broker holds a fetch that has nothing; also how long one quiet partition can delay a busy one.
    buffer_bytes
        Records read and not yet processed, in memory; reading waits above it.
    commit_interval_s
        Between commits; a commit is sent only when something changed.
    session_timeout_s
        After this long without a heartbeat the group takes the partitions of a dead worker away.
    rebalance_timeout_s
        How long the group waits for a member to give up its partitions.
    release_timeout_s
        How long a rebalance or a stop waits for the batch in work before the worker gives up; below the former.
    commit_timeout_s
        How long one commit may take before it is tried again.
    check_crcs
        Check each batch's checksum.
    max_batch_bytes
        What a compressed batch of records may become; larger ones are passed on as they are, as one record.
    isolation_level
        ``read_committed`` leaves out records of aborted transactions.
    security
        Further arguments of the client: ``security_protocol``, ``sasl_mechanism``, ``ssl_context`` and the like.
    """

    bootstrap_servers: str
    group_id: str
    client_id: str = "halcyon"
    fetch_max_bytes: int = 16 << 20
    max_partition_fetch_bytes: int = 1 << 20
    fetch_max_wait_ms: int = 250
    buffer_bytes: int = 32 << 20
    commit_interval_s: float = 1.0
    session_timeout_s: float = 10.0
    rebalance_timeout_s: float = 60.0
    release_timeout_s: float = 30.0
    commit_timeout_s: float = 10.0
    check_crcs: bool = True
    max_batch_bytes: int = 64 << 20
    isolation_level: str = "read_committed"
    security: Mapping[str, Any] = field(default_factory=dict, repr=False)


class StaleGenerationError(Exception):
    """The group has rebalanced since: the partitions are, or are about to be, someone else's."""


class CommitRefusedError(Exception):
    """The broker, or the fence before it, refused a commit of an old generation."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the broker knows of a partition when it is assigned.

    Parameters
    ----------
    position
        What was committed; None when nothing was.
    first
        The earliest offset that still exists.
    last
        The offset after the newest record that may be read.
    """

    position: Position | None
    first: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class Fetched:
    """The records of one partition as they came, with the stretch of offsets they stand for.

    Parameters
    ----------
    tp
        Where they come from.
    records
        At least one, in offset order.
    start, end
        The batch is everything that exists from `start` up to, not including, `end`.
    epoch
        The claim under which it was read.
    highwater
        The broker's high watermark at the fetch.
    size_bytes
        What it takes in memory, estimated.
    """

    tp: TopicPartition
    records: list[ConsumerRecord[bytes, bytes]]
    start: int
    end: int
    epoch: int
    highwater: int
    size_bytes: int


class Wire(Protocol):
    """What a delivery asks of the consumer."""

    async def find(self, partitions: AbstractSet[TopicPartition]) -> Mapping[TopicPartition, Found]:
        """Ask the broker for committed positions and for the offsets that exist."""
        ...

    async def seek_to(self, starts: Mapping[TopicPartition, int], epoch: int, generation: int) -> None:
        """Read on from `starts` under a new epoch; StaleGenerationError if `generation` has passed."""
        ...

    async def commit_positions(self, positions: Mapping[TopicPartition, Position], generation: int) -> None:
        """Commit under `generation`. CommitRefusedError: it has passed. TimeoutError: unknown, may be tried again."""
        ...

    def read_ahead(self) -> Mapping[TopicPartition, int]:
        """Return the offset after the last record that was read, delivered or not, by partition."""
        ...


class State(enum.StrEnum):
    """What a stage's transport is doing; for health pages."""

    STARTING = "starting"
    WAITING_FOR_TOPICS = "waiting for topics"
    WAITING_FOR_PARTITIONS = "waiting for partitions"
    RUNNING = "running"
    SPARE = "spare"
    """In the group, which has more members than partitions."""
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(slots=True)
class Counters:
    """Totals since the start of the process."""

    batches: int = 0
    records: int = 0
    dropped_batches: int = 0
    """Read under a claim that had ended; whoever holds the partition reads them again."""
    rewinds: int = 0
    backpressure_waits: int = 0
    assignments: int = 0
    commits: int = 0
    commits_late: int = 0
    """Not answered in time, and tried again."""
    commits_refused: int = 0
    offsets_lost: int = 0
    """Committed to, but deleted by retention before they were read; known when a partition is taken over."""
    offsets_skipped: int = 0
    """Holes between batches: compaction, markers of transactions, or retention overtaking a worker that is behind."""


@dataclass(slots=True)
class Progress:
    """When things last happened, in seconds of the monotonic clock; None: not yet.

    A loop that is blocked, and a stage that hangs, stop `tick_s` from advancing: it is what liveness is judged by.
    """

    tick_s: float
    delivered_s: float | None = None
    committed_s: float | None = None
    missing_topics: tuple[str, ...] = ()
