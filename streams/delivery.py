"""Between the consumer and a stage: who holds which partition, what may be delivered, and what is committed.

Nothing here knows Faust or a Kafka client; they stand behind :class:`~streams.wire.Wire`. That makes the rules
testable without a broker, and they are few:

*A partition is held under a claim*, an epoch and the offset that comes next. A batch says under which epoch it was
read and which stretch of offsets it stands for. It is delivered only if it was read under the current claim and starts
exactly at the next offset. Layers below drop what is buffered when the group rebalances; a batch that does not continue
the last one makes the consumer go back instead of on. So nothing is skipped, whoever lost it.

*What is committed is what the stage says, under the generation in which it took the partitions.* A refusal ends the
claim.
"""

import asyncio
import logging
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from streams.bookkeeping import Buffer, Claim, Claims, Ledger, start_offset, usable
from streams.clock import Clock
from streams.errors import BackpressureError, HalcyonError
from streams.stage import Batch, Position, Stage, TopicPartition
from streams.waits import nobody
from streams.wire import CommitRefusedError, Counters, Fetched, Progress, StaleGenerationError, State, Wire

log = logging.getLogger(__name__)


def _of(tp: TopicPartition) -> dict[str, object]:
    return {"topic": tp.topic, "partition": tp.partition}


class Delivery:
    """Feeds one stage and commits for it.

    Parameters
    ----------
    stage
        The stage to feed.
    clock
        For ages and stalls.
    buffer_bytes
        Records held between the fetch and the end of `process`, > 0.
    release_timeout_s
        How long a rebalance or a stop waits for the batch in work before the worker gives up, > 0.
    """

    wire: Wire

    def __init__(self, stage: Stage, clock: Clock, *, buffer_bytes: int, release_timeout_s: float) -> None:
        self.stage = stage
        self.buffer = Buffer(buffer_bytes)
        self.claims = Claims()
        self.counters = Counters()
        self.progress = Progress(tick_s=clock.monotonic_s())
        self.ledger = Ledger(stage, self.counters, self.progress, clock)
        self.waits = nobody()
        """Of the stage's clients too, if whoever runs it says so."""
        self.state = State.STARTING
        self.failure: BaseException | None = None
        self.failed = asyncio.Event()
        self._clock = clock
        self._release_timeout_s = release_timeout_s
        self._stage_lock = asyncio.Lock()
        self._commit_lock = asyncio.Lock()
        self._release_lock = asyncio.Lock()
        self._held: frozenset[TopicPartition] = frozenset()
        self._assigning: asyncio.Task[object] | None = None

    @property
    def held(self) -> frozenset[TopicPartition]:
        """The partitions that the stage has taken over and not yet given up."""
        return self._held

    @property
    def closed(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state in (State.FAILED, State.STOPPED)

    def fail(self, error: BaseException) -> None:
        """End it: nothing is delivered and nothing committed from here on. The first failure is the one reported."""
        if self.failure is None:
            self.failure = error
            self.state = State.FAILED
        self.claims.end()
        self.buffer.forget()
        self.failed.set()

    async def close(self) -> None:
        """Give up all partitions in good order, then take nothing more."""
        await self.revoke()
        if self.failure is None:
            self.state = State.STOPPED
        self.buffer.forget()

    async def deliver(self, fetched: Fetched) -> None:
        """Give a batch to the stage, or drop it. Returns when it is done with; never raises what the stage raised.

        Parameters
        ----------
        fetched
            As it came from the consumer, perhaps long ago and under another claim.
        """
        try:
            while pause_s := await self._offer(fetched):  # noqa: ASYNC110 - the stage asked for a pause; no event ends it
                await asyncio.sleep(pause_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker ends and says so
            self.fail(error)
        finally:
            self.buffer.remove(fetched)

    async def _offer(self, fetched: Fetched) -> float:
        """Return 0 when the batch is done with, else the seconds to wait before it is offered again."""
        async with self._stage_lock:
            claim = self.claims.of(fetched)
            if claim is None:
                self.counters.dropped_batches += 1
                return 0.0
            if claim.next_offset != fetched.start:
                await self._rewind(fetched.tp, claim)
                return 0.0
            try:
                await self.stage.process(
                    Batch(fetched.tp.topic, fetched.tp.partition, fetched.records, fetched.highwater)
                )
            except BackpressureError as busy:
                self.counters.backpressure_waits += 1
                return max(busy.retry_after_s, 0.001)
            claim.advance(fetched)
            self.counters.batches += 1
            self.counters.records += len(fetched.records)
            self.counters.offsets_skipped += fetched.records[0].offset - fetched.start
            self.progress.delivered_s = self._clock.monotonic_s()
            return 0.0

    async def _rewind(self, tp: TopicPartition, claim: Claim) -> None:
        """A batch is missing: read again from where the stage stands."""
        log.info("a batch was dropped on the way; reading again", extra={**_of(tp), "offset": claim.next_offset})
        self.counters.rewinds += 1
        claim.epoch, claim.stalled_since_s = self.claims.next_epoch(), None
        self.buffer.forget(tp)
        try:
            await self.wire.seek_to({tp: claim.next_offset}, claim.epoch, self.ledger.generation)
        except StaleGenerationError:
            self.claims.end(tp)  # the rebalance that is under way will assign it again

    async def tick(self) -> None:
        """Let the stage do what time asks for, and look for batches that got lost on the way."""
        if self.closed:
            return
        try:
            async with self._stage_lock:
                await self.stage.tick()
                now_s = self._clock.monotonic_s()
                for tp, claim in self.claims.stalled(self.wire.read_ahead(), self.buffer, now_s).items():
                    await self._rewind(tp, claim)  # no later batch would reveal it: the topic is quiet
            self.progress.tick_s = now_s
        except Exception as error:  # noqa: BLE001 - as in deliver
            self.fail(error)

    async def assign(self, partitions: AbstractSet[TopicPartition], generation: int) -> None:
        """Take over partitions: ask what was committed, let the stage decide, read from there.

        Parameters
        ----------
        partitions
            All partitions of this worker in `generation`.
        generation
            The group's generation; commits are sent under this one only.
        """
        self._assigning = asyncio.current_task()
        try:
            async with self._stage_lock:
                if not self.closed:
                    await self._take_over(partitions, generation)
        except StaleGenerationError:
            log.info("the group rebalanced again while partitions were taken over", extra={"stage": self.stage.name})
        except Exception as error:  # noqa: BLE001 - as in deliver
            self.fail(error)
        finally:
            self._assigning = None

    async def _take_over(self, partitions: AbstractSet[TopicPartition], generation: int) -> None:
        if self._held:  # a rebalance that was never announced: what was done since is not ours to commit
            held, self._held = self._held, frozenset()
            self.claims.end()
            await self.stage.revoked(held)
        with self.waits:
            found = await self.wire.find(partitions)
        positions = {tp: usable(tp, found[tp]) for tp in sorted(partitions)}
        wanted = await self.stage.assigned(positions)
        self._held = frozenset(partitions)
        self.ledger.open(positions, generation)
        starts: dict[TopicPartition, int] = {}
        for tp, position in positions.items():
            starts[tp], lost = start_offset(found[tp], position, wanted.get(tp))
            if lost:
                self.counters.offsets_lost += lost
                log.error("retention deleted records unread", extra={**_of(tp), "offsets": lost})
        epoch = self.claims.next_epoch()
        await self.wire.seek_to(starts, epoch, generation)
        self.claims.take(starts, found, epoch)
        self.buffer.forget()  # what is still on its way was read under an old claim
        self.counters.assignments += 1
        self.state = State.RUNNING
        facts = {"stage": self.stage.name, "partitions": len(starts), "generation": generation}
        log.info("reading", extra=facts)

    async def revoke(self) -> None:
        """Give up everything: let the stage flush, commit what it says, and take no more of these partitions."""
        self.claims.end()  # at once: a batch that waits for the lock must not slip in before the stage is told
        if self._assigning is not None:  # not taken over yet, so there is nothing to give up
            self._assigning.cancel()
            await asyncio.wait({self._assigning})
        async with self._release_lock:  # a stop may meet a rebalance
            await self._release()

    async def _release(self) -> None:
        if not self._held or self.closed or not await self._lock_stage_in_time():
            return
        try:
            await self.stage.revoked(self._held)
            final, generation = self.ledger.changed(), self.ledger.generation
        except Exception as error:  # noqa: BLE001 - as in deliver
            self.fail(error)
            return
        finally:
            self._stage_lock.release()
        await self._send(final, generation)
        self._held = frozenset()
        self.ledger.close()
        if self.state is State.RUNNING:
            self.state = State.WAITING_FOR_PARTITIONS

    async def _lock_stage_in_time(self) -> bool:
        try:
            async with asyncio.timeout(self._release_timeout_s):
                await self._stage_lock.acquire()
        except TimeoutError:
            stuck = f"Stage {self.stage.name!r} did not finish its batch within {self._release_timeout_s:g} s."
            self.fail(HalcyonError(stuck, "while giving up partitions", "It starts again at what it committed."))
            return False
        return True

    async def commit(self) -> bool:
        """Commit what the stage says may be committed, if it changed.

        Returns
        -------
        bool
            Whether the broker took something new.
        """
        if self.closed:
            return False
        try:
            async with self._stage_lock:
                positions, generation = self.ledger.changed(), self.ledger.generation
        except Exception as error:  # noqa: BLE001 - as in deliver
            self.fail(error)
            return False
        return await self._send(positions, generation)

    async def _send(self, positions: Mapping[TopicPartition, Position], generation: int) -> bool:
        # Whoever leaves the stage's lock first also commits first: both locks serve in order.
        async with self._commit_lock:
            try:
                return self.failure is None and await self.ledger.send(self.wire, positions, generation)
            except CommitRefusedError as refusal:
                # Someone else holds the partitions, or is about to: trying again would overwrite what they have done.
                log.warning("a commit was refused", extra={"stage": self.stage.name, "reason": str(refusal)})
                self.counters.commits_refused += 1
                self.claims.end()
                self.ledger.close()
            except Exception as error:  # noqa: BLE001 - as in deliver
                self.fail(error)
            return False
