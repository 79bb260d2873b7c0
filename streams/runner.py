"""Runs stages until a signal or a failure, and says with its exit code which it was."""

import asyncio
import logging
import signal
from collections.abc import Sequence

from streams.errors import HalcyonError
from streams.transport import StageApp
from streams.wire import State

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 60.0


async def serve(apps: Sequence[StageApp], stop: asyncio.Event) -> int:
    """Run `apps` side by side until `stop` is set or one of them fails.

    Parameters
    ----------
    apps
        From :func:`~streams.transport.build_app`; each is a member of its own consumer group.
    stop
        Set it to end in good order: every stage flushes and commits what it may.

    Returns
    -------
    int
        0 after a stop in good order. 1 when a stage failed: the others were stopped in good order all the same, the
        failed one committed nothing more.
    """
    lives = [asyncio.create_task(_live(app), name=f"stage {app.stage.name}") for app in apps]
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait([*lives, asked], return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    for life in lives:
        life.cancel()
    await asyncio.gather(*lives, return_exceptions=True)
    await asyncio.gather(*(_stop(app) for app in apps))
    for app in apps:
        _report(app)
    return int(any(app.delivery.failure is not None for app in apps))


async def _live(app: StageApp) -> None:
    """Return when `app` has failed; never otherwise."""
    starting = asyncio.create_task(app.start())
    failing = asyncio.create_task(app.delivery.failed.wait())
    crashing = asyncio.create_task(app.wait_for_crash())
    watched = {starting, failing, crashing}
    try:
        while not (failing.done() or crashing.done()):
            done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if starting in done:
                starting.result()
    except Exception as error:  # noqa: BLE001 - reported by serve
        app.delivery.fail(error)
    finally:
        failing.cancel()
        crashing.cancel()
        if not starting.done() and app.delivery.failure is not None:
            starting.cancel()


async def _stop(app: StageApp) -> None:
    """Stop `app`, then its stage."""
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await app.stop()
            await app.stage.stop()
    except Exception as error:  # noqa: BLE001 - reported by serve
        app.delivery.fail(error)


def _report(app: StageApp) -> None:
    failure, facts = app.delivery.failure, {"stage": app.stage.name}
    if failure is None:
        app.delivery.state = State.STOPPED
        log.info("stopped", extra=facts)
    elif isinstance(failure, HalcyonError):
        log.error("failed: %s", failure, extra=facts)
    else:
        log.error("failed: %r", failure, extra=facts, exc_info=failure)


def run_apps(*apps: StageApp) -> int:
    """Run `apps` in this process until SIGTERM or SIGINT.

    Parameters
    ----------
    apps
        From :func:`~streams.transport.build_app`.

    Returns
    -------
    int
        The process's exit code: 0 after a signal and a stop in good order, 1 after a failure.
    """

    async def main() -> int:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        return await serve(apps, stop)

    return asyncio.run(main())
