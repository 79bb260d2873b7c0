"""Kafka, ClickHouse and the workers of one machine, started together and ended together: what `up` and `demo` share."""

import signal
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final, Protocol, Self
from urllib.parse import urlsplit

from streams.clock import SystemClock
from streams.config import ClickHouseSettings, Settings
from streams.errors import HalcyonError, UnavailableError
from streams.supervisor import Supervisor

if TYPE_CHECKING:
    from deploy.local.clickhouse import LocalClickHouse
    from deploy.local.kafka import LocalKafka

READY_S: Final = 90.0
_PROBE_S: Final = 3.0
Say = Callable[[str], None]


class LocalPart(Protocol):
    """A local Kafka or ClickHouse."""

    def start(self) -> Self:
        """Start it and wait until it answers."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


@dataclass(frozen=True, slots=True)
class Stack:
    """A running installation: its settings with the addresses in force, its workers, and what was started here."""

    settings: Settings
    folder: Path
    supervisor: Supervisor
    local: tuple[str, ...]


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block the way an exception does, so that what was started is stopped."""

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, leave) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def running(
    settings: Settings, folder: Path, stages: Sequence[str], say: Say, *, fresh: bool, config: Path | None = None
) -> Iterator[Stack]:
    """Start what is missing, prepare topics and tables, start the workers; stop all of it at the end.

    Parameters
    ----------
    settings
        As configured.
    folder
        Data, logs and addresses of what is started here.
    stages
        One worker process for each.
    say
        Told of each step.
    fresh
        Start Kafka and ClickHouse on free ports, whatever is configured; otherwise use what answers at the configured
        addresses, and start only what does not.
    config
        The settings file, for the workers.

    Raises
    ------
    HalcyonError
        When a part cannot be started, or a configured one does not answer.
    """
    from deploy.local.process import ChildProcess

    with ExitStack() as cleanup, local_errors():
        kafka, clickhouse = _choose(settings, folder, fresh=fresh)
        parts: list[LocalPart] = [part for part in (kafka, clickhouse) if part is not None]
        names = [name for name, part in (("Kafka", kafka), ("ClickHouse", clickhouse)) if part is not None]
        if names:
            say(f"starting {' and '.join(names)}")
        for part in parts:
            cleanup.callback(part.stop)
        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(lambda part: part.start(), parts))
        bootstrap = kafka.bootstrap if kafka else settings.kafka.bootstrap_servers
        url = clickhouse.url if clickhouse else settings.clickhouse.url
        settings = _at(settings, bootstrap, url)
        say("applying topics and migrations")
        _prepare(settings)
        env = _environment(bootstrap, url, config)
        supervisor = cleanup.enter_context(Supervisor(folder, env, ChildProcess, SystemClock()))
        say(f"starting {len(stages)} workers")
        supervisor.start(stages)
        yield Stack(settings, folder, supervisor, tuple(names))


@contextmanager
def local_errors() -> Iterator[None]:
    """Tell the local parts' errors as the command line's."""
    from deploy.local.process import LocalPartError

    try:
        yield
    except LocalPartError as error:
        raise HalcyonError(str(error)) from error


def _choose(settings: Settings, folder: Path, *, fresh: bool) -> tuple["LocalKafka | None", "LocalClickHouse | None"]:
    """The parts to start here: both when ``fresh``, else those whose default address does not answer."""
    from deploy.local.clickhouse import LocalClickHouse
    from deploy.local.kafka import LocalKafka

    if fresh:
        return LocalKafka(folder / "kafka"), LocalClickHouse(folder / "clickhouse")
    default = Settings()
    kafka, clickhouse = None, None
    address, url = settings.kafka.bootstrap_servers, settings.clickhouse.url
    if not _kafka_answers(settings):
        if address != default.kafka.bootstrap_servers:
            raise UnavailableError(
                "No Kafka broker answers.", address, "Start it, or leave 'kafka.bootstrap_servers' out for a local one."
            )
        if settings.kafka.encrypted or settings.kafka.logs_in:
            todo = "Correct 'kafka.bootstrap_servers', or leave 'kafka.security_protocol' out for a local one."
            raise UnavailableError("No Kafka broker answers, and a local one knows no users and no TLS.", address, todo)
        kafka = LocalKafka(folder / "kafka", int(address.rpartition(":")[2]))
    if not _clickhouse_answers(settings.clickhouse):
        if url != default.clickhouse.url:
            raise UnavailableError(
                "ClickHouse does not answer.", url, "Start it, or leave 'clickhouse.url' out for a local one."
            )
        clickhouse = LocalClickHouse(folder / "clickhouse", urlsplit(url).port)
    return kafka, clickhouse


def _kafka_answers(settings: Settings) -> bool:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    from streams.connections import client_config

    # Log level 0: that nobody answers is an answer here.
    admin = AdminClient({**client_config(settings.kafka), "log_level": 0})
    try:
        admin.list_topics(timeout=_PROBE_S)
    except KafkaException:
        return False
    return True


def _clickhouse_answers(clickhouse: ClickHouseSettings) -> bool:
    from streams.connections import database_tls

    url, tls = clickhouse.url.rstrip("/") + "/ping", database_tls(clickhouse)
    try:
        with urllib.request.urlopen(url, timeout=_PROBE_S, context=tls):  # noqa: S310 - http(s) by the settings
            return True
    except OSError:
        return False


def _at(settings: Settings, bootstrap: str, url: str) -> Settings:
    return settings.model_copy(
        update={
            "kafka": settings.kafka.model_copy(update={"bootstrap_servers": bootstrap}),
            "clickhouse": settings.clickhouse.model_copy(update={"url": url}),
        }
    )


def _prepare(settings: Settings) -> None:
    from schemas.clickhouse import migrations
    from streams.cli.topics import declared
    from streams.connections import client_config
    from streams.sinks.clickhouse import ClickHouse
    from streams.sinks.migrator import Migrator
    from streams.topics import TopicAdmin

    TopicAdmin(client_config(settings.kafka)).apply(declared(settings))
    server = ClickHouse(settings.clickhouse, database=None)
    try:
        Migrator(server, settings.clickhouse.database, migrations()).apply()
    finally:
        server.close()


def _environment(bootstrap: str, url: str, config: Path | None) -> Mapping[str, str]:
    env = {"HALCYON_KAFKA__BOOTSTRAP_SERVERS": bootstrap, "HALCYON_CLICKHOUSE__URL": url}
    if config is not None:
        env["HALCYON_CONFIG"] = str(config.resolve())
    return env
