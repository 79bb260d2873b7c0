"""What a stage is: the contract between the four stages and the transport that feeds them.

The transport reads, hands over, commits and rebalances; a stage computes and says what may be committed. Neither knows
the other's insides.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from aiokafka.structs import ConsumerRecord, TopicPartition

__all__ = ["MAX_METADATA_BYTES", "Batch", "ConsumerRecord", "Position", "Stage", "TopicPartition"]

MAX_METADATA_BYTES = 4096
"""What a broker takes with a commit unless it was configured otherwise (``offset.metadata.max.bytes``)."""


@dataclass(frozen=True, slots=True)
class Position:
    """What a stage commits for one source partition.

    Parameters
    ----------
    offset
        The next offset to read after a restart, >= 0.
    metadata
        Kept by the broker with the offset and handed back in :meth:`Stage.assigned`; at most 4096 bytes of UTF-8.

    Raises
    ------
    ValueError
        If the offset is negative or the metadata too long: the broker would refuse every further commit.
    """

    offset: int
    metadata: str = ""

    def __post_init__(self) -> None:
        if self.offset < 0:
            raise ValueError(f"a committed offset is >= 0, not {self.offset}")
        size = len(self.metadata.encode())
        if size > MAX_METADATA_BYTES:
            raise ValueError(f"commit metadata of {size} bytes; brokers take {MAX_METADATA_BYTES}")


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one partition that arrived together: one Faust event.

    Parameters
    ----------
    topic, partition
        Where they come from.
    records
        At least one, in offset order. Offsets may have holes (compacted topics, transactions). Fields of a record:
        ``offset``, ``timestamp`` (ms since 1970), ``timestamp_type`` (0: set by the producer, 1: by the broker),
        ``key``, ``value`` (bytes or None), ``headers`` (pairs of str and bytes).
    highwater
        The broker's high watermark when the batch was fetched: the offset after its last record.
    """

    topic: str
    partition: int
    records: Sequence[ConsumerRecord[bytes, bytes]]
    highwater: int

    @property
    def tp(self) -> TopicPartition:
        """The source partition."""
        return TopicPartition(self.topic, self.partition)

    @property
    def lag(self) -> int:
        """Records that follow this batch at the broker; 0 at the end of the partition."""
        return max(0, self.highwater - int(self.records[-1].offset) - 1)


class Stage(Protocol):
    """One of the four stages, as the transport sees it.

    The coroutines of a stage are never run at the same time: the transport holds one lock per stage. The order for a
    partition is always ``assigned``, any number of ``process``, ``revoked``; `assigned` and `revoked` name every
    partition of the worker, because a Kafka group gives all of them up when it rebalances.

    What goes wrong: a :class:`~streams.errors.BackpressureError` from `process`, raised **before** the batch has
    changed anything, makes the transport offer the same batch again later (ticks go on meanwhile). Any other exception
    from any method ends the worker; nothing is committed after it.
    """

    @property
    def name(self) -> str:
        """The stage's name, from which its consumer group is named."""
        ...

    @property
    def topics(self) -> Sequence[str]:
        """The topics it reads; they must exist."""
        ...

    async def start(self) -> None:
        """Open what is needed. The topics exist; the consumer has not joined yet."""
        ...

    async def assigned(
        self, partitions: Mapping[TopicPartition, Position | None]
    ) -> Mapping[TopicPartition, int | None]:
        """Take over partitions, before any of their batches is delivered.

        Parameters
        ----------
        partitions
            What was committed for each: None when nothing was, or when what was committed lies beyond the partition's
            end (the topic was deleted and created again).

        Returns
        -------
        Mapping
            Offsets to start at. A partition that is missing, or maps to None, starts at its committed offset, and at
            the earliest record when nothing was committed.

        Notes
        -----
        May take as long as it needs; the group keeps this worker meanwhile. When the group rebalances again it is
        cancelled, and counts as not having happened: `assigned` or `stop` follows.
        """
        ...

    async def process(self, batch: Batch) -> None:
        """Take one batch. When this returns the batch is the stage's business: it is not offered again in this life."""
        ...

    async def tick(self) -> None:
        """Do what time asks for, about every 250 ms, also when nothing arrives and when no partition is assigned."""
        ...

    async def revoked(self, partitions: AbstractSet[TopicPartition]) -> None:
        """Make durable what can be, and set the final positions.

        The transport asks :meth:`committable` once more when this has returned, commits, and lets the partitions go.
        """
        ...

    async def stop(self) -> None:
        """Close what `start` opened. Called once, also after a failure."""
        ...

    def committable(self) -> Mapping[TopicPartition, Position]:
        """Everything that may be committed now: only what is durable. Partitions that are not assigned are ignored."""
        ...
