"""What a delivery keeps count of: memory in use, claims on partitions, and what the broker has been told."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from streams.clock import Clock
from streams.stage import Position, Stage, TopicPartition
from streams.wire import Counters, Fetched, Found, Progress, Wire

log = logging.getLogger(__name__)

STALL_S = 5.0
"""A batch that was read but has not been seen for this long was dropped on the way."""

MAX_DRAIN_RECORDS = 50_000
"""No batch is larger, so that ticks and rebalances are not kept waiting by one."""


class Buffer:
    """Counts what was read and is not done with, so that reading can wait for memory.

    Reading stops above half the limit and then takes up to a quarter at once. If it went on as soon as there was any
    room, a slow stage would be fed single records: each one done makes room for one.

    Parameters
    ----------
    limit_bytes
        What is held at most, as far as sizes can be told before reading; one record larger than that still passes.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.size_bytes = 0
        self._limit_bytes = limit_bytes
        self._batches: dict[int, Fetched] = {}
        self._bytes_per_record = 1_000.0
        self._free = asyncio.Event()
        self._free.set()

    async def room(self) -> int:
        """Wait until there is memory for more, and return for how many records at most, between 1 and 50,000."""
        await self._free.wait()
        return max(1, min(MAX_DRAIN_RECORDS, int(self._limit_bytes / 4 / self._bytes_per_record)))

    def add(self, fetched: Fetched) -> None:
        """Count a batch that is on its way to the stage."""
        self._batches[id(fetched)] = fetched
        self.size_bytes += fetched.size_bytes
        size = fetched.size_bytes / len(fetched.records)
        # Rises at once and falls slowly: it is the estimate that is too small that costs memory.
        self._bytes_per_record = max(size, 0.9 * self._bytes_per_record + 0.1 * size)
        self._signal()

    def remove(self, fetched: Fetched) -> None:
        """Count a batch as done with; again does no harm."""
        if self._batches.pop(id(fetched), None) is not None:
            self.size_bytes -= fetched.size_bytes
            self._signal()

    def forget(self, tp: TopicPartition | None = None) -> None:
        """Stop counting the batches of one partition, or all: they were read under a claim that has ended."""
        for fetched in [one for one in self._batches.values() if tp in (None, one.tp)]:
            self.remove(fetched)

    def holds(self, tp: TopicPartition) -> bool:
        """Whether a batch of `tp` is on its way."""
        return any(fetched.tp == tp for fetched in self._batches.values())

    def _signal(self) -> None:
        if self.size_bytes <= self._limit_bytes / 2:
            self._free.set()
        else:
            self._free.clear()


@dataclass(slots=True)
class Claim:
    """What the stage gets of a partition: the batch of this epoch that starts at this offset, and nothing else."""

    epoch: int
    next_offset: int
    highwater: int
    stalled_since_s: float | None = None

    def advance(self, fetched: Fetched) -> None:
        """Note that a batch has been processed."""
        self.next_offset, self.highwater, self.stalled_since_s = fetched.end, fetched.highwater, None


class Claims:
    """The claims of one worker. Epochs only grow, so that nothing read under an ended claim can pass for new."""

    def __init__(self) -> None:
        self._claims: dict[TopicPartition, Claim] = {}
        self._epoch = 0

    def next_epoch(self) -> int:
        """Return an epoch that was never used."""
        self._epoch += 1
        return self._epoch

    def take(self, starts: Mapping[TopicPartition, int], found: Mapping[TopicPartition, Found], epoch: int) -> None:
        """Replace all claims."""
        self._claims = {tp: Claim(epoch, start, found[tp].last) for tp, start in starts.items()}

    def end(self, tp: TopicPartition | None = None) -> None:
        """End the claim on one partition, or all."""
        if tp is None:
            self._claims.clear()
        else:
            self._claims.pop(tp, None)

    def of(self, fetched: Fetched) -> Claim | None:
        """Return the claim under which a batch was read, or None when that has ended."""
        claim = self._claims.get(fetched.tp)
        return claim if claim is not None and claim.epoch == fetched.epoch else None

    def lags(self) -> dict[TopicPartition, int]:
        """Return the records that wait at the broker, as of the last batch of each partition."""
        return {tp: max(0, claim.highwater - claim.next_offset) for tp, claim in self._claims.items()}

    def stalled(self, ahead: Mapping[TopicPartition, int], buffer: Buffer, now_s: float) -> dict[TopicPartition, Claim]:
        """Find the partitions of which something was read, is not on its way, and did not arrive.

        Parameters
        ----------
        ahead
            Up to where each partition was read.
        buffer
            What is on its way.
        now_s
            The monotonic clock, seconds.
        """
        lost = {}
        for tp, claim in self._claims.items():
            if buffer.holds(tp) or ahead.get(tp, 0) <= claim.next_offset:
                claim.stalled_since_s = None
            elif claim.stalled_since_s is None:
                claim.stalled_since_s = now_s
            elif now_s - claim.stalled_since_s >= STALL_S:
                lost[tp] = claim
        return lost


class Ledger:
    """What is committed, under which generation.

    Parameters
    ----------
    stage
        Asked what may be committed.
    counters, progress
        Kept up to date.
    clock
        For the time of the last commit.
    """

    def __init__(self, stage: Stage, counters: Counters, progress: Progress, clock: Clock) -> None:
        self._stage = stage
        self._counters = counters
        self._progress = progress
        self._clock = clock
        self._committed: dict[TopicPartition, Position | None] = {}
        self.generation = -1

    def open(self, positions: Mapping[TopicPartition, Position | None], generation: int) -> None:
        """Begin a generation with what the broker has."""
        self._committed, self.generation = dict(positions), generation

    def close(self) -> None:
        """Commit nothing more in this generation."""
        self._committed = {}

    def committed(self) -> dict[TopicPartition, Position | None]:
        """Return what the broker is known to have."""
        return dict(self._committed)

    def changed(self) -> dict[TopicPartition, Position]:
        """Ask the stage, and return what the broker does not have yet."""
        told = self._stage.committable() if self._committed else {}
        return {tp: told[tp] for tp in self._committed if tp in told and told[tp] != self._committed[tp]}

    async def send(self, wire: Wire, positions: Mapping[TopicPartition, Position], generation: int) -> bool:
        """Commit; what was committed counts as such only when the broker has said so.

        Returns
        -------
        bool
            False when there was nothing to commit, or the broker did not answer: it is tried again with the next one.

        Raises
        ------
        CommitRefusedError
            When `generation` has passed. It must not be tried again.
        """
        positions = {tp: at for tp, at in positions.items() if tp in self._committed}
        if not positions or generation != self.generation:
            return False
        try:
            await wire.commit_positions(positions, generation)
        except TimeoutError:
            log.warning("the broker did not answer a commit; trying again", extra={"stage": self._stage.name})
            self._counters.commits_late += 1
            return False
        if generation == self.generation:
            self._committed.update(positions)
        self._counters.commits += 1
        self._progress.committed_s = self._clock.monotonic_s()
        return True


def usable(tp: TopicPartition, found: Found) -> Position | None:
    """Return the committed position, or None when it cannot be of this partition.

    Parameters
    ----------
    tp, found
        The partition, and what the broker knows of it.
    """
    if found.position is None or found.position.offset <= found.last:
        return found.position
    log.error(
        "the committed offset lies beyond the end: the topic was created anew; starting at its beginning",
        extra={"topic": tp.topic, "partition": tp.partition, "offset": found.position.offset, "end": found.last},
    )
    return None


def start_offset(found: Found, position: Position | None, wanted: int | None) -> tuple[int, int]:
    """Decide where to read on.

    Parameters
    ----------
    found
        What the broker has.
    position
        What was committed, if it is usable.
    wanted
        Where the stage wants to start; None leaves it to what was committed, or else the earliest.

    Returns
    -------
    tuple of int
        The offset, within what exists, and how many committed-to offsets retention has deleted unread.

    Examples
    --------
    >>> start_offset(Found(Position(40), first=100, last=200), Position(40), wanted=None)
    (100, 60)
    >>> start_offset(Found(Position(140), first=100, last=200), Position(140), wanted=0)
    (100, 0)
    """
    start = wanted if wanted is not None else (position.offset if position is not None else found.first)
    # Who wants to read again what was committed to has lost nothing of it that retention has deleted.
    lost = max(0, found.first - max(start, position.offset)) if position is not None else 0
    return min(max(start, found.first), found.last), lost
