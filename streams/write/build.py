"""Puts the write stage together out of the settings."""

from streams.clock import Clock
from streams.config import Settings
from streams.metrics import Metrics
from streams.sinks.clickhouse import connect
from streams.write.stage import WriteParams, WriteStage
from streams.write.writer import DeadLetters, Writer

TOPIC = "rows"


def write_stage(settings: Settings, clock: Clock, metrics: Metrics, dead_letters: DeadLetters) -> WriteStage:
    """The stage that inserts what the ``rows`` topic carries.

    Parameters
    ----------
    settings
        ``clickhouse`` and ``kafka.topic_prefix`` are read.
    clock, metrics
        Shared with the other stages of the process.
    dead_letters
        Sends one message to the dead letters and returns when the broker has acknowledged it; raises when it cannot.
    """
    knobs = settings.clickhouse
    params = WriteParams(
        batch_rows=knobs.batch_rows,
        batch_interval_s=knobs.batch_interval_s,
        retry_initial_s=knobs.retry_initial_s,
        retry_max_s=knobs.retry_max_s,
    )
    writer = Writer(connect(knobs), dead_letters, clock, metrics)
    return WriteStage(writer, f"{settings.kafka.topic_prefix}{TOPIC}", clock, params)
