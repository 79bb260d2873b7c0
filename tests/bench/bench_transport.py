"""What the transport costs by itself: records a second into a stage that only counts them.

Run from the repository's root: ``python -m tests.bench.bench_transport [events]``. It starts a broker of its own, and
compares with the same Kafka client in a bare loop, which is the ceiling. Ratios travel between machines; rates do not.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from deploy.local.kafka import LocalKafka
from streams.runner import serve
from streams.stage import Batch, Position, TopicPartition
from streams.transport import TransportSettings, build_app

TOPIC, PARTITIONS, VALUE_BYTES = "raw", 4, 320


class Counting:
    """A stage that counts."""

    name = "counting"
    topics = (TOPIC,)

    def __init__(self) -> None:
        self.records = self.batches = 0
        self.first_s = self.last_s = 0.0
        self.positions: dict[TopicPartition, Position] = {}

    async def start(self) -> None: ...

    async def assigned(self, partitions: Mapping[TopicPartition, Position | None]) -> Mapping[TopicPartition, Any]:
        self.first_s = time.monotonic()
        return {}

    async def process(self, batch: Batch) -> None:
        self.records += len(batch.records)
        self.batches += 1
        self.last_s = time.monotonic()
        self.positions[batch.tp] = Position(batch.records[-1].offset + 1)

    async def tick(self) -> None: ...

    async def revoked(self, partitions: AbstractSet[TopicPartition]) -> None: ...

    async def stop(self) -> None: ...

    def committable(self) -> Mapping[TopicPartition, Position]:
        return self.positions


async def transport(bootstrap: str, events: int, run: int) -> tuple[float, float]:
    """Return records a second and records a batch."""
    stage, stop = Counting(), asyncio.Event()
    app = build_app(stage, settings=TransportSettings(bootstrap, f"bench-{run}"))
    life = asyncio.create_task(serve([app], stop))
    while stage.records < events and not life.done():  # noqa: ASYNC110 - the stage under test sets no event
        await asyncio.sleep(0.02)
    stop.set()
    if await life:
        raise SystemExit("the worker failed")
    return events / (stage.last_s - stage.first_s), events / stage.batches


async def bare(bootstrap: str, events: int) -> float:
    """Return records a second of the client in a loop that does nothing with them."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed", fetch_max_wait_ms=250)
    consumer.assign([TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)])
    await consumer.start()
    await consumer.seek_to_beginning()
    seen, began = 0, time.monotonic()
    while seen < events:
        seen += sum(map(len, (await consumer.getmany(timeout_ms=1_000)).values()))
    taken = time.monotonic() - began
    await consumer.stop()
    return events / taken


def fill(bootstrap: str, events: int) -> None:
    """Write the topic."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(30)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000})
    for number in range(events):
        producer.produce(TOPIC, b"x" * VALUE_BYTES, partition=number % PARTITIONS)
        if number % 1_000 == 0:
            producer.poll(0)
    producer.flush()


def main() -> None:
    """Measure and print."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="halcyon-bench-") as folder, LocalKafka(Path(folder)) as broker:
        fill(broker.bootstrap, events)
        for run in range(3):
            ceiling = asyncio.run(bare(broker.bootstrap, events))
            rate, size = asyncio.run(transport(broker.bootstrap, events, run))
            print(  # noqa: T201 - a script for people
                f"transport {rate:,.0f} records/s ({1e6 / rate:.2f} µs each, {size:,.0f} a batch); "
                f"client alone {ceiling:,.0f}; ratio {rate / ceiling:.2f}"
            )


if __name__ == "__main__":
    main()
