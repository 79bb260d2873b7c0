"""Micro-batches in Faust: the one place that knows Faust's insides.

Faust hands an agent one record at a time, at a cost that no later batching wins back. Its consumer already reads in
batches, so here each (topic, partition) batch becomes one Faust event. Agents, groups, rebalancing and supervision stay
Faust's; reading, delivery and commits are replaced by :class:`~streams.delivery.Delivery`, because Faust's own
book-keeping counts single acknowledged records, and can commit past work that is not done.

Pinned to faust-streaming 0.15.3 and aiokafka 0.14. ``tests/unit/streams/test_transport_contract.py`` fails when a
method that is replaced or relied upon here changes, and names what to read again.
"""
# ruff: noqa: ANN401, ARG002 - the signatures are Faust's, and wider than what it passes

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar, cast

import faust
from aiokafka import AIOKafkaConsumer, errors
from aiokafka.consumer import fetcher as client_fetcher
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.structs import OffsetAndMetadata
from faust.app.base import BootStrategy
from faust.transport.drivers import aiokafka as driver
from faust.types import ConsumerMessage, Message
from mode import CrashingSupervisor, Service
from mode.threads import WorkerThread

from streams.clock import Clock, SystemClock
from streams.delivery import Delivery
from streams.presence import wait_for_topics
from streams.records import BoundedRecords
from streams.stage import ConsumerRecord, Position, Stage, TopicPartition
from streams.wire import CommitRefusedError, Fetched, Found, StaleGenerationError, State, TransportSettings

__all__ = ["BatchConsumer", "BatchThread", "StageApp", "TransportSettings", "build_app"]

T = TypeVar("T")

TICK_S = 0.25
RECORD_OVERHEAD_BYTES = 400
"""What a record takes in memory beside its value: the object, its numbers and its key; measured, rounded up."""
NEVER_FULL = 1 << 30
"""Faust cancels its own fetcher when a rebalance finds a stream's queue full; memory is bounded by Buffer instead."""

REFUSALS = (errors.IllegalGenerationError, errors.UnknownMemberIdError, errors.RebalanceInProgressError)

FAUST_LOG = logging.getLogger("faust.halcyon")
"""Faust logs each service under its module; ours would speak as loudly as the rest of this package."""


class _DaemonThread(WorkerThread):
    """A crash of the main thread must end the process even while the consumer's thread waits for a broker."""

    def __init__(self, service: Any, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True


class BatchThread(driver.AIOKafkaConsumerThread):
    """The thread that owns the Kafka client. It implements :class:`~streams.wire.Wire`.

    ``_chains`` is written in this thread alone: for each claimed partition its epoch, and the offset up to which it was
    read. What a fetch returns starts where the last one ended; that is how a batch knows the stretch it stands for.
    """

    Worker = _DaemonThread
    logger = FAUST_LOG

    def __post_init__(self) -> None:
        super().__post_init__()
        self.settings = cast("StageApp", self.app).settings
        self._chains: dict[TopicPartition, tuple[int, int]] = {}

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        settings = self.settings
        client_fetcher.MemoryRecords = BoundedRecords.within(settings.max_batch_bytes)
        return AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            group_id=settings.group_id,
            client_id=settings.client_id,
            fetch_max_bytes=settings.fetch_max_bytes,
            max_partition_fetch_bytes=settings.max_partition_fetch_bytes,
            fetch_max_wait_ms=settings.fetch_max_wait_ms,
            check_crcs=settings.check_crcs,
            isolation_level=settings.isolation_level,
            session_timeout_ms=int(settings.session_timeout_s * 1_000),
            heartbeat_interval_ms=int(settings.session_timeout_s * 1_000 / 3),
            rebalance_timeout_ms=int(settings.rebalance_timeout_s * 1_000),
            # A stage that waits for a database is alive; one that hangs is seen by its health page.
            max_poll_interval_ms=24 * 3_600_000,
            partition_assignment_strategy=(RoundRobinPartitionAssignor,),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            metadata_max_age_ms=60_000,
            **settings.security,
        )

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` in this thread. Faust's own queue has two workers, of which a waiting fetch takes one."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.thread_loop))

    async def stop(self) -> None:
        """Stop; also close the loop that mode makes with the object, where the thread that would close it never ran."""
        await super().stop()
        if self._thread is None:
            self.thread_loop.close()

    # ---- Wire, called in the main thread

    async def find(self, partitions: AbstractSet[TopicPartition]) -> Mapping[TopicPartition, Found]:
        """Ask the broker for committed positions, with metadata, and for the offsets that exist."""
        return await self.run(self._find(partitions))

    async def seek_to(self, starts: Mapping[TopicPartition, int], epoch: int, generation: int) -> None:
        """Read on from `starts`."""
        await self.run(self._seek(starts, epoch, generation))

    async def commit_positions(self, positions: Mapping[TopicPartition, Position], generation: int) -> None:
        """Commit offsets with their metadata."""
        await self.run(self._commit_positions(positions, generation))

    def read_ahead(self) -> Mapping[TopicPartition, int]:
        """Return the offset after the last record read, by partition."""
        return {tp: end for tp, (_, end) in self._chains.copy().items()}

    async def fetch(self, max_records: int, timeout_s: float) -> list[Fetched]:
        """Return what has arrived, at most one batch for each partition; after `timeout_s`, nothing."""
        return await self.run(self._fetch(max_records, timeout_s))

    # ---- the same, in this thread

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Forget where reading stood, then let the main thread give the partitions up."""
        self._chains.clear()
        await super().on_partitions_revoked(revoked)

    async def _find(self, partitions: AbstractSet[TopicPartition]) -> dict[TopicPartition, Found]:
        consumer = self._ensure_consumer()
        wanted = sorted(TopicPartition(*tp) for tp in partitions)
        committed = await consumer._coordinator.fetch_committed_offsets(wanted)
        first, last = await consumer.beginning_offsets(wanted), await consumer.end_offsets(wanted)
        positions = {tp: Position(found.offset, found.metadata or "") for tp, found in committed.items()}
        return {tp: Found(positions.get(tp), first[tp], last[tp]) for tp in wanted}

    async def _seek(self, starts: Mapping[TopicPartition, int], epoch: int, generation: int) -> None:
        consumer = self._ensure_consumer()
        if consumer._coordinator.generation != generation:
            raise StaleGenerationError(f"generation {generation} has passed")
        try:
            for tp, offset in starts.items():
                consumer.seek(tp, offset)
                self._chains[tp] = (epoch, offset)
        except errors.IllegalStateError as gone:
            raise StaleGenerationError(str(gone)) from gone

    async def _fetch(self, max_records: int, timeout_s: float) -> list[Fetched]:
        consumer = self._ensure_consumer()
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise errors.ConsumerStoppedError
        consumer._coordinator.check_errors()
        with fetcher._subscriptions.fetch_context():
            # No partition is ever paused, so there is nothing to filter by: what is not claimed is not linked below.
            drained = await fetcher.fetched_records((), timeout=timeout_s, max_records=max_records)
        # No await from here on: the positions must be those that this very drain has left.
        assignment = fetcher._subscriptions.subscription.assignment
        return [self._link(tp, drained[tp], assignment.state_value(tp)) for tp in drained if tp in self._chains]

    def _link(self, tp: TopicPartition, records: list[ConsumerRecord[bytes, bytes]], reader: Any) -> Fetched:
        epoch, start = self._chains[tp]
        if records[0].offset < start:
            raise RuntimeError(
                f"{tp.topic}-{tp.partition} went back from offset {start} to {records[0].offset}: the topic was "
                "deleted and created again, or lost its newest records. Restart the worker; it starts at what there is."
            )
        self._chains[tp] = (epoch, reader.position)
        size = sum([record.serialized_value_size for record in records]) + RECORD_OVERHEAD_BYTES * len(records)
        return Fetched(tp, records, start, reader.position, epoch, reader.highwater, size)

    async def _commit_positions(self, positions: Mapping[TopicPartition, Position], generation: int) -> None:
        """Send one commit under `generation`, or none at all.

        The client's own ``commit`` sends whatever generation it has by then. After a lost session that is -1, which a
        broker takes from anybody once the group is empty: a worker that slept would turn the group's offsets back.
        """
        coordinator = self._ensure_consumer()._coordinator
        offsets = {TopicPartition(*tp): OffsetAndMetadata(at.offset, at.metadata) for tp, at in positions.items()}
        async with asyncio.timeout(self.settings.commit_timeout_s):
            while True:
                await coordinator.ensure_coordinator_known()
                try:
                    async with coordinator._commit_lock:
                        if coordinator.generation != generation:
                            raise CommitRefusedError(f"the group is at generation {coordinator.generation}")
                        await coordinator._do_commit_offsets(None, offsets)
                        return
                except (
                    errors.IllegalGenerationError,
                    errors.UnknownMemberIdError,
                    errors.RebalanceInProgressError,
                ) as old:
                    raise CommitRefusedError(str(old)) from old
                except errors.KafkaError as error:
                    if not error.retriable:
                        raise
                    await asyncio.sleep(0.1)


class BatchConsumer(driver.Consumer):
    """Faust's consumer, with reading and commits handed to :class:`~streams.delivery.Delivery`."""

    _thread: BatchThread
    logger = FAUST_LOG

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.delivery = cast("StageApp", self.app).delivery
        self.delivery.wire = self._thread

    def _new_consumer_thread(self) -> BatchThread:
        return BatchThread(self, loop=self.loop, beacon=self.beacon)

    @Service.task
    async def _ticks(self) -> None:
        while not self.should_stop:
            await self.sleep(TICK_S)
            await self.delivery.tick()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[Any, Message]]:  # noqa: ASYNC109 - Faust's name
        """Yield one message for each partition that something arrived for."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]
        room = await self.delivery.buffer.room()
        if self.should_stop or self.delivery.closed:
            return
        for fetched in await self._thread.fetch(room, timeout):
            if not self.flow_active:
                return  # given up meanwhile; whoever reads them next starts at what was committed
            self.delivery.buffer.add(fetched)
            yield fetched.tp, self._to_message(fetched.tp, fetched)

    def _to_message(self, tp: Any, record: Any) -> ConsumerMessage:
        last, value = record.records[-1], cast("bytes", record)  # the value is the batch; Faust only passes it on
        topic, partition = tp
        time_s, headers, key = last.timestamp / 1_000, None, None
        message = ConsumerMessage(topic, partition, last.offset, time_s, last.timestamp_type, headers, key, value, None)
        message.generation_id = self.app.consumer_generation_id
        return message

    async def _drain_messages(self, fetcher: Any) -> None:
        """Read until stopped. Stock, this drops and acknowledges by record offset, which means nothing for batches."""
        try:
            while not (self.should_stop or fetcher.should_stop or self.delivery.closed):
                async for _, message in self.getmany(timeout=1.0):
                    await self.wait_first(self.callback(message), self.suspend_flow.wait())
                await asyncio.sleep(0)
        except (errors.ConsumerStoppedError, asyncio.CancelledError):
            if not self.app.should_stop:
                raise
        except Exception as error:  # noqa: BLE001 - reported once, by the runner
            self.delivery.fail(error)

    def ack(self, message: Message) -> bool:
        """Note that Faust is done with an event. No offset follows from it."""
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: FBT001, FBT002
        """Commit what the stage says, whoever asks."""
        return await self.delivery.commit()

    async def perform_seek(self) -> None:
        """Take over the partitions of a new generation. Faust calls it once they are known, before reading goes on."""
        partitions = {TopicPartition(*tp) for tp in self.assignment()}
        # A task of its own: it is cancelled when the group rebalances again, and Faust's recovery would die of that.
        await asyncio.wait({asyncio.ensure_future(self.delivery.assign(partitions, self.app.consumer_generation_id))})

    async def on_partitions_assigned(self, assigned: set[Any], generation_id: int = 0) -> None:
        """Note that there are none: Faust takes nothing over then, and asks nobody."""
        await super().on_partitions_assigned(assigned, generation_id)
        if not (assigned or self.delivery.closed):
            self.delivery.state = State.SPARE

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Let the stage flush and commit before Faust forgets what it holds."""
        await self.delivery.revoke()
        await super().on_partitions_revoked(revoked)

    def on_buffer_full(self, tp: Any) -> None:
        """Keep the partition: without active ones Faust sleeps for a second. Delivery waits for memory instead."""

    def on_buffer_drop(self, tp: Any) -> None:
        """Nothing was taken away."""

    def close(self) -> None:
        """Do nothing: stock, this closes the client from the wrong thread when a rebalance meets a stop."""


class BatchTransport(driver.Transport):
    """Faust's transport with this consumer."""

    Consumer = BatchConsumer


class _Boot(BootStrategy):
    enable_kafka_producer = False  # stages produce through streams.producer
    enable_web = False  # metrics and health have a server of their own


class _PassOn(faust.Schema[Any, Any]):
    """Nothing to decode: the value is the batch."""

    def loads_key(self, app: Any, message: Message, **_: Any) -> Any:
        return None

    def loads_value(self, app: Any, message: Message, **_: Any) -> Any:
        return message.value


class StageApp(faust.App):
    """A Faust app that runs one stage.

    Attributes
    ----------
    delivery
        Its state, counters and progress, for metrics and health pages.
    """

    BootStrategy = _Boot
    logger = FAUST_LOG

    def __init__(self, stage: Stage, settings: TransportSettings, clock: Clock) -> None:
        self.stage, self.settings = stage, settings
        self.delivery = Delivery(
            stage, clock, buffer_bytes=settings.buffer_bytes, release_timeout_s=settings.release_timeout_s
        )
        super().__init__(
            settings.group_id,
            broker=[f"kafka://{server.strip()}" for server in settings.bootstrap_servers.split(",")],
            env={},  # Faust lets any BROKER_URL in the environment override what it was given
            autodiscover=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            reply_create_topic=False,
            stream_wait_empty=False,
            stream_buffer_maxsize=NEVER_FULL,
            broker_commit_interval=settings.commit_interval_s,
            broker_request_timeout=24 * 3600.0,  # bounds perform_seek, in which a stage may restore its state
            web_enabled=False,
        )

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)

    async def on_first_start(self) -> None:
        """Wait for the topics, then open the stage. Faust would create folders for tables here; there are none."""
        if self.tables:
            raise RuntimeError("a stage keeps its state itself: this transport does not read Faust's changelogs")
        self.delivery.state = State.WAITING_FOR_TOPICS
        await wait_for_topics(self.stage, self.settings, self.delivery.progress, self._stopped)
        if not self.should_stop:
            await self.stage.start()
            self.delivery.state = State.WAITING_FOR_PARTITIONS

    async def wait_for_crash(self) -> None:
        """Return when Faust has given the app up; the reason is passed on to the delivery."""
        await self._crashed.wait()
        self.delivery.fail(self.crash_reason or RuntimeError("Faust gave up without a reason"))

    async def on_stop(self) -> None:
        """Flush, commit and give up the partitions while the group still knows this worker; then stop."""
        await self.delivery.close()
        await super().on_stop()


def build_app(stage: Stage, *, settings: TransportSettings, clock: Clock | None = None) -> StageApp:
    """Make the Faust app that runs `stage`: one agent, one event for each batch. :mod:`streams.runner` runs it.

    Parameters
    ----------
    stage, settings
        What to run, and how it reads and commits.
    clock
        The machine's, unless a test brings another.
    """
    app = StageApp(stage, settings, clock or SystemClock())
    deliver = app.delivery.deliver

    async def batches(stream: Any) -> None:
        async for event in stream.noack().events():
            await deliver(event.value)
            event.ack()

    source = app.topic(*stage.topics, schema=_PassOn())
    app.agent(source, name=stage.name, concurrency=1, supervisor_strategy=CrashingSupervisor)(batches)
    return app
