"""What is compared, each in a process of its own.

``python -m tests.bench.contenders NAME BOOTSTRAP PREFIX EVENTS RUN``
prints one line of JSON: events, and the wall and CPU seconds between having its partitions and having processed so
many events; and the most memory it ever took. What it costs to start is left out.
"""

import asyncio
import collections
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from streams.config import Settings
from tests.bench.meter import Count, Meter

PARTITIONS: Final = 8


def settings(bootstrap: str, prefix: str, run: str = "", **sections: Any) -> Settings:
    """Halcyon's defaults, on these topics, in consumer groups of its own; ``sections`` are knobs besides."""
    kafka = {"bootstrap_servers": bootstrap, "topic_prefix": prefix, "client_id": f"bench-{run}"}
    return Settings.model_validate(
        {
            "topics": {"partitions": PARTITIONS},
            "web": {"port": 0},
            "logging": {"level": "warning"},
            **sections,
            "kafka": kafka | sections.get("kafka", {}),
        }
    )


def ceiling(bootstrap: str, prefix: str, meter: Meter, run: str) -> None:
    """Fetch and parse, and nothing else: what no Python consumer of these messages can beat."""
    import msgspec
    from aiokafka import AIOKafkaConsumer, TopicPartition

    from schemas.predictions import Prediction

    decode = msgspec.json.Decoder(Prediction).decode

    async def main() -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, isolation_level="read_committed", fetch_max_wait_ms=250
        )
        consumer.assign([TopicPartition(prefix + "predictions", partition) for partition in range(PARTITIONS)])
        await consumer.start()
        await consumer.seek_to_beginning()
        meter.start()
        while True:
            for records in (await consumer.getmany(timeout_ms=1_000)).values():
                parsed = [decode(record.value) for record in records]
                if parsed and meter.add(len(parsed), parsed[-1].ts_ms):
                    await consumer.stop()
                    return

    asyncio.run(main())


def halcyon(bootstrap: str, prefix: str, meter: Meter, run: str) -> None:
    """The ingest worker, whole: transport, decoding, panes produced and acknowledged, commits, metrics, health page."""
    ingest(settings(bootstrap, prefix, run), meter)


def ingest(knobs: Settings, meter: Meter) -> None:
    """An ingest worker of these settings."""
    from streams.ingest.stage import IngestStage
    from streams.worker import run_worker

    assigned, tell = IngestStage.assigned, IngestStage._tell

    async def noting_start(self: IngestStage, partitions: Any) -> Any:
        starts = await assigned(self, partitions)
        meter.start()
        return starts

    def counting(self: IngestStage, batch: Any, part: Any, decoded: Any, began: float) -> None:
        tell(self, batch, part, decoded, began)
        if decoded.dead:
            raise SystemExit(f"a message was refused: {decoded.dead[0].message}")
        if meter.add(len(decoded.columns), int(decoded.columns.ts_ms.max(initial=0))):
            os.kill(os.getpid(), signal.SIGTERM)

    IngestStage.assigned, IngestStage._tell = noting_start, counting  # type: ignore[method-assign]
    profiled(lambda: run_worker(knobs, ["ingest"]))


def faust_table(bootstrap: str, prefix: str, meter: Meter, run: str) -> None:
    """A stock agent as Faust's documentation writes one: a typed record per event, what is counted in a table."""
    _faust(bootstrap, prefix, meter, run, durable=True)


def faust_memory(bootstrap: str, prefix: str, meter: Meter, run: str) -> None:
    """The same with its histograms in plain memory: a restart forgets what it has committed."""
    _faust(bootstrap, prefix, meter, run, durable=False)


def _faust(bootstrap: str, prefix: str, meter: Meter, run: str, *, durable: bool) -> None:
    import faust as stock

    class Prediction(stock.Record, serializer="json"):
        event_id: str
        ts_ms: int
        model: str
        model_version: str
        segment: dict[str, str]
        latency_ms: float
        status: str
        score: float
        decision: str
        features: dict[str, float]

    name = f"stock-{run}"
    Path(".cache").mkdir(exist_ok=True)
    # Faust makes this folder even when nothing is kept in it.
    app = stock.App(
        name, broker=f"kafka://{bootstrap}", web_enabled=False, topic_disable_leader=True, datadir=f".cache/{name}"
    )
    topic = app.topic(prefix + "predictions", value_type=Prediction)
    kept: Any = app.Table(f"latency-{run}", default=int, partitions=PARTITIONS) if durable else collections.Counter()

    @app.agent(topic)
    async def count(predictions: Any) -> None:
        async for prediction in predictions:
            meter.start()
            kept[f"{prediction.model}/{int(prediction.latency_ms)}"] += 1
            if meter.add(1, prediction.ts_ms):
                os._exit(0)

    stock.Worker(app, loglevel="ERROR", quiet=True, redirect_stdouts=False).execute_from_commandline()


def profiled(work: Callable[[], Any]) -> None:
    """Run, under a profiler when ``HALCYON_BENCH_PROFILE`` names a file."""
    path = os.environ.get("HALCYON_BENCH_PROFILE")
    if not path:
        work()
        return
    import cProfile

    profiler = cProfile.Profile()
    try:
        profiler.runcall(work)
    finally:
        profiler.dump_stats(path)


CONTENDERS: Final[dict[str, Callable[[str, str, Meter, str], None]]] = {
    "ceiling": ceiling,
    "halcyon": halcyon,
    "faust_table": faust_table,
    "faust_memory": faust_memory,
}


def main() -> None:
    """Run one contender."""
    name, bootstrap, prefix, events, run = sys.argv[1:]
    logging.basicConfig(level=logging.ERROR)
    CONTENDERS[name](bootstrap, prefix, Count(wanted=int(events)), run)


if __name__ == "__main__":
    main()
