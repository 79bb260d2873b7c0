"""``halcyon gpu-agent``: send this host's GPU telemetry to Kafka."""

import asyncio
import logging
import platform
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.context import err, settings_of

if TYPE_CHECKING:
    from streams.config import Settings
    from streams.gpu_agent.agent import Outcome
    from streams.gpu_agent.sources import Source
    from streams.producer import Producer

log = logging.getLogger(__name__)

_LOSSES_EVERY_S = 30.0
TOPIC = "gpu-telemetry"


def command(  # noqa: PLR0917 - one parameter per option
    ctx: typer.Context,
    interval: Annotated[str, typer.Option(help="From sample to sample: 1s, 500ms, 1m.")] = "1s",
    once: Annotated[bool, typer.Option("--once", help="One sample of each GPU, then end.")] = False,
    to_stdout: Annotated[bool, typer.Option("--print", help="Print JSON lines in place of sending them.")] = False,
    simulate: Annotated[
        str | None, typer.Option(help="A seed, or a file of samples, in place of this host's GPUs.")
    ] = None,
    gpus: Annotated[int, typer.Option(min=1, max=1024, help="How many GPUs to simulate.")] = 2,
    model: Annotated[str | None, typer.Option(help="The model that this host's GPUs serve.")] = None,
    host: Annotated[str | None, typer.Option(help="Name of this host in the samples.")] = None,
) -> None:
    """Send a sample of each of this host's GPUs per interval, read through NVML."""
    from streams.gpu_agent.agent import interval_s
    from streams.gpu_agent.sources import open_source

    settings, beat_s = settings_of(ctx), interval_s(interval)
    source = open_source(simulate, host or platform.node(), model, gpus)
    try:
        outcome = asyncio.run(_run(source, settings, beat_s, once=once, to_stdout=to_stdout))
    finally:
        source.close()
    if not to_stdout:
        left_out = f", {outcome.left_out} left out" if outcome.left_out else ""
        err().print(f"{outcome.sent} samples sent to {settings.kafka.source(TOPIC)}{left_out}", highlight=False)


async def _tell_losses(producer: "Producer") -> None:
    """Say when samples have been given up: telemetry is not held back for brokers that are away."""
    from streams.producer import ProduceError

    while True:
        await asyncio.sleep(_LOSSES_EVERY_S)
        try:
            await producer.barrier()
        except ProduceError as error:
            log.warning("%s", error)


async def _run(source: "Source", settings: "Settings", beat_s: float, *, once: bool, to_stdout: bool) -> "Outcome":
    from streams.clock import SystemClock
    from streams.connections import client_security
    from streams.gpu_agent.agent import Agent, to_text, to_topic
    from streams.producer import Producer

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if to_stdout:
        agent = Agent(source, to_text(lambda text: typer.echo(text, nl=False)), SystemClock(), beat_s)
        await (agent.beat() if once else agent.run(stop))
        return agent.outcome
    kafka = settings.kafka
    patience_s = kafka.request_timeout_s
    producer = Producer(
        kafka.bootstrap_servers,
        client_id=f"{kafka.client_id}-gpu",
        delivery_timeout_s=patience_s,
        security=client_security(kafka),
    )
    agent = Agent(source, to_topic(producer, kafka.source(TOPIC)), SystemClock(), beat_s)
    watch = asyncio.create_task(_tell_losses(producer))
    try:
        await (agent.beat() if once else agent.run(stop))
        if once:
            await producer.barrier()
    finally:
        watch.cancel()
        await producer.close(timeout_s=patience_s if once else 5.0)
    return agent.outcome
