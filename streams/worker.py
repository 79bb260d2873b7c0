"""A worker: one process that runs one stage, or several side by side, with its metrics and health pages."""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from schemas.scopes import Scope
from schemas.topics import TopicName
from streams import dead_letters
from streams.baselines import BaselineFeed
from streams.broker import PATIENCE_S, BrokerView
from streams.clock import Clock, SystemClock
from streams.compacted import CompactedReader
from streams.config import Settings
from streams.config.doubts import doubts
from streams.connections import client_config, client_security, consumer_security, reader_config
from streams.errors import ConfigError
from streams.health import Health, HealthServer, StageStatus, judge
from streams.logs import configure_logging
from streams.memory import settle
from streams.metrics import Metrics
from streams.producer import Producer
from streams.runner import serve
from streams.stage import Stage
from streams.state import KafkaStateStore
from streams.supervisor import STAGES
from streams.transport import StageApp, build_app
from streams.waits import Waits
from streams.wire import State, TransportSettings

if TYPE_CHECKING:
    from streams.write.load import Rejected

log = logging.getLogger(__name__)

_TELL_S: Final = 1.0
_PRODUCER_BYTES: Final = 14 << 20


@dataclass(slots=True)
class _Parts:
    """What the stages of one process share; ``waits`` is one stage's own."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    waits: Waits
    producers: list[Producer] = field(default_factory=list)

    @property
    def kafka(self) -> dict[str, Any]:
        """Settings of librdkafka."""
        return client_config(self.settings.kafka)

    def topic(self, name: TopicName) -> str:
        """A topic's full name."""
        return self.settings.kafka.topic(name)

    def producer(self) -> Producer:
        """A producer of one stage's own: its barrier waits for nobody else's messages."""
        producer = Producer(
            self.settings.kafka.bootstrap_servers,
            client_id=self.settings.kafka.client_id,
            max_message_bytes=_PRODUCER_BYTES,
            security=client_security(self.settings.kafka),
            waits=self.waits,
        )
        self.producers.append(producer)
        return producer

    def feed(self, stage: str, keep_sample: Callable[[Scope], bool] = lambda _: False) -> BaselineFeed:
        """All baselines, for one stage."""
        return BaselineFeed(self._reader(stage, TopicName.BASELINES, None), keep_sample)

    def store(self, stage: str, producer: Producer) -> KafkaStateStore:
        """The state topic, for one stage."""
        topic = self.topic(TopicName.STATE)
        brokers = BrokerView(self.kafka, PATIENCE_S, self.waits)
        return KafkaStateStore(
            topic, lambda: brokers.partitions(topic), producer, lambda p: self._reader(stage, TopicName.STATE, (p,))
        )

    def _reader(self, stage: str, topic: TopicName, partitions: tuple[int, ...] | None) -> CompactedReader:
        config = reader_config(self.settings.kafka, stage)
        return CompactedReader(config, self.topic(topic), partitions, PATIENCE_S, self.waits)


# Each stage is imported by the worker that runs it: the detectors alone take seconds.


def _ingest(parts: _Parts) -> Stage:
    from streams.ingest.build import ingest_stage

    brokers = BrokerView(parts.kafka, PATIENCE_S, parts.waits)
    feed = parts.feed("ingest")
    return ingest_stage(parts.settings, parts.clock, parts.metrics, parts.producer(), brokers, feed)


def _analyse(parts: _Parts) -> Stage:
    from streams.analyse.bench import is_sampled
    from streams.analyse.build import analyse_stage

    producer = parts.producer()
    patterns = parts.settings.baseline.sampled_models
    feed = parts.feed("analyse", lambda scope: is_sampled(scope, patterns))
    store, count = parts.store("analyse", producer), BrokerView(parts.kafka, PATIENCE_S, parts.waits).partitions
    return analyse_stage(parts.settings, parts.clock, parts.metrics, producer, store, feed, count)


def _alert(parts: _Parts) -> Stage:
    from streams.alert.build import alert_stage

    producer = parts.producer()
    return alert_stage(
        parts.settings, parts.clock, parts.metrics, producer, parts.store("alert", producer), parts.waits
    )


def _write(parts: _Parts) -> Stage:
    from streams.write.build import write_stage

    producer = parts.producer()

    async def bury(rejected: "Rejected") -> None:
        record, reason = rejected.record, rejected.reason.value
        told = dead_letters.headers(record, reason, rejected.message)
        producer.send(parts.topic(TopicName.DEAD_LETTERS), record.value, key=record.key, headers=told)
        await producer.barrier()

    return write_stage(parts.settings, parts.clock, parts.metrics, bury)


_MAKERS: Final[dict[str, Callable[[_Parts], Stage]]] = {
    "ingest": _ingest,
    "analyse": _analyse,
    "alert": _alert,
    "write": _write,
}


def run_worker(settings: Settings, stages: Sequence[str]) -> int:
    """Run stages in this process until SIGTERM or SIGINT.

    Parameters
    ----------
    settings
        All knobs.
    stages
        Names out of ``STAGES``; each is a member of its own consumer group.

    Returns
    -------
    int
        0 after a signal and a stop in good order, 1 after a failure.

    Raises
    ------
    ConfigError
        If a stage is unknown.
    """
    unknown = [name for name in stages if name not in STAGES]
    if unknown or not stages:
        named = ", ".join(unknown) or "named"
        raise ConfigError(f"There is no stage {named}.", "--stage", f"Give {', '.join(STAGES)}.")
    configure_logging(settings.logging)
    for doubt in doubts(settings):
        log.warning("%s", doubt)
    return asyncio.run(_run(settings, tuple(dict.fromkeys(stages))))


async def _run(settings: Settings, stages: tuple[str, ...]) -> int:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clock = SystemClock()
    parts = _Parts(settings, clock, Metrics(), Waits(clock.monotonic_s))
    apps = [_app(name, replace(parts, waits=Waits(clock.monotonic_s))) for name in stages]
    settle()
    ready_file = Path(settings.web.ready_file) if settings.web.ready_file else None
    pages = HealthServer(
        parts.metrics.registry,
        lambda: _health(apps, parts),
        settings.web.host,
        settings.web.port,
        ready_file,
    )
    await pages.start()
    telling = asyncio.create_task(_tell(apps, parts))
    try:
        return await serve(apps, stop)
    finally:
        telling.cancel()
        await pages.stop()
        for producer in parts.producers:
            await producer.close()


def _app(name: str, parts: _Parts) -> StageApp:
    stage = _MAKERS[name](parts)
    kafka = parts.settings.kafka
    app = build_app(
        stage,
        settings=TransportSettings(
            bootstrap_servers=kafka.bootstrap_servers,
            group_id=kafka.group(name),
            client_id=f"{kafka.client_id}-{name}",
            fetch_max_bytes=kafka.fetch_max_bytes,
            max_partition_fetch_bytes=kafka.max_partition_fetch_bytes,
            fetch_max_wait_ms=kafka.fetch_max_wait_ms,
            buffer_bytes=kafka.buffer_bytes,
            commit_interval_s=parts.settings.commit_interval_s,
            session_timeout_s=kafka.session_timeout_s,
            max_batch_bytes=kafka.max_batch_bytes,
            security=consumer_security(kafka),
        ),
        clock=parts.clock,
    )
    app.delivery.waits = parts.waits
    if hasattr(stage, "committed"):
        stage.committed = app.delivery.ledger.committed
    return app


def _health(apps: Sequence[StageApp], parts: _Parts) -> Health:
    now = parts.clock.monotonic_s()
    return judge(tuple(_status(app, now, parts) for app in apps), parts.settings.health)


def _status(app: StageApp, now_s: float, parts: _Parts) -> StageStatus:
    progress, lag = app.delivery.progress, sum(app.delivery.claims.lags().values())
    committed = progress.committed_s
    return StageStatus(
        stage=app.stage.name,
        tick_age_s=now_s - progress.tick_s,
        assigned_partitions=len(app.delivery.held),
        spare=app.delivery.state is State.SPARE,
        lag_events=lag,
        # Where nothing waits to be read, event time stands still because nobody sends, or because the past is played.
        watermark_delay_s=parts.metrics.worst_watermark_delay_s(app.stage.name) if lag else None,
        commit_age_s=now_s - committed if committed is not None and lag else None,
        insert_age_s=getattr(app.stage, "insert_age_s", None),
        broker_wait_s=app.delivery.waits.age_s,
    )


async def _tell(apps: Sequence[StageApp], parts: _Parts) -> None:
    """Keep the gauges that nobody else keeps: commits and lags."""
    refused: dict[str, int] = {}
    while True:
        await asyncio.sleep(_TELL_S)
        for app in apps:
            name, delivery = app.stage.name, app.delivery
            if delivery.progress.committed_s is not None:
                at_s = (parts.clock.now_ms() / 1000) - (parts.clock.monotonic_s() - delivery.progress.committed_s)
                for tp, position in delivery.ledger.committed().items():
                    if position is not None:
                        parts.metrics.committed(name, tp.topic, tp.partition, position.offset, at_s)
            for tp, lag in delivery.claims.lags().items():
                parts.metrics.lag(name, tp.topic, tp.partition, lag)
            failed = delivery.counters.commits_refused + delivery.counters.commits_late
            for _ in range(failed - refused.get(name, 0)):
                parts.metrics.commit_failed(name, app.stage.topics[0])
            refused[name] = failed
