"""Waits for topics instead of creating them: who creates them decides how many partitions they have."""

import asyncio
import logging
from contextlib import suppress
from typing import Protocol

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.stage import Stage
from streams.wire import Progress, TransportSettings

log = logging.getLogger(__name__)

CHECK_S = 1.0
ABSENT = (
    "they do not exist ('halcyon topics apply' creates them), or this user may not read them ('halcyon topics acls' "
    "lists what it needs)"
)


class Stopping(Protocol):
    """An event that ends the wait."""

    def is_set(self) -> bool:
        """Whether it has happened."""
        ...

    async def wait(self) -> object:
        """Wait for it."""
        ...


async def wait_for_topics(stage: Stage, settings: TransportSettings, progress: Progress, stopping: Stopping) -> None:
    """Return when all topics of `stage` exist, or `stopping` is set.

    Brokers are asked for the list of all topics: asking for one by name makes many of them create it.

    Parameters
    ----------
    stage, settings
        What to look for, and where.
    progress
        ``missing_topics`` is kept up to date.
    stopping
        Ends the wait.
    """
    said: object = None
    while not stopping.is_set():
        try:
            missing, reason = await _missing(stage, settings), ABSENT
        except KafkaError as error:
            missing, reason = tuple(stage.topics), f"no answer from {settings.bootstrap_servers}: {error}"
        progress.missing_topics = missing
        if not missing:
            return
        if said != (missing, reason):
            log.warning("waiting for topics", extra={"stage": stage.name, "topics": missing, "reason": reason})
            said = (missing, reason)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), timeout=CHECK_S)


async def _missing(stage: Stage, settings: TransportSettings) -> tuple[str, ...]:
    admin = AIOKafkaAdminClient(
        bootstrap_servers=settings.bootstrap_servers, client_id=settings.client_id, **settings.security
    )
    try:
        await admin.start()
        return tuple(sorted(set(stage.topics) - set(await admin.list_topics())))
    finally:
        await admin.close()
