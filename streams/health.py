"""The pages of a worker: ``/metrics``, ``/healthz`` (restart me?) and ``/readyz`` (am I doing my work?).

What is checked is plain data, judged by pure functions; the server only shows it. Both health pages answer 200 or 503
with the same JSON body, which names each check, so that nobody has to guess which one failed.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import msgspec
from aiohttp import web

from streams.config import HealthSettings
from streams.errors import UnavailableError
from streams.metrics import CollectorRegistry, render

log = logging.getLogger(__name__)


class Check(msgspec.Struct, frozen=True):
    """One thing looked at, and whether it is as it should be."""

    name: str
    ok: bool
    detail: str


class Health(msgspec.Struct, frozen=True):
    """What a worker knows of itself: ``alive`` decides ``/healthz``, ``ready`` decides ``/readyz``."""

    alive: tuple[Check, ...] = ()
    ready: tuple[Check, ...] = ()


class StageStatus(msgspec.Struct, frozen=True):
    """The numbers of one stage, as of now.

    Ages are seconds since the event; ``None`` says that there is nothing to judge: no commit or insert was due, or all
    partitions are idle. A ``spare`` is in its group, which has no partition for it.
    """

    stage: str
    tick_age_s: float
    assigned_partitions: int
    lag_events: int = 0
    watermark_delay_s: float | None = None
    commit_age_s: float | None = None
    insert_age_s: float | None = None
    broker_wait_s: float | None = None
    spare: bool = False


def judge(stages: tuple[StageStatus, ...], limits: HealthSettings) -> Health:
    """Judge the stages of a process: alive when each ticked lately, ready when each keeps up with its input.

    A stage that waits for the brokers does not tick, and is alive: to start it again would not bring them back.
    """
    if not stages:
        return Health(alive=(), ready=(Check("stages", ok=False, detail="no stage runs yet"),))
    alive = tuple(_aliveness(stage, limits) for stage in stages)
    ready = tuple(check for stage in stages for check in _readiness(stage, limits))
    return Health(alive, ready)


def _aliveness(stage: StageStatus, limits: HealthSettings) -> Check:
    if stage.broker_wait_s is not None and stage.tick_age_s > limits.tick_age_s:
        return Check(f"{stage.stage}.tick_age_s", ok=True, detail=f"has waited {stage.broker_wait_s:.6g} s for brokers")
    return _at_most(stage, "tick_age_s", stage.tick_age_s, limits.tick_age_s)


def _readiness(stage: StageStatus, limits: HealthSettings) -> tuple[Check, ...]:
    return (
        _assignment(stage),
        _at_most(stage, "lag_events", stage.lag_events, limits.lag_events),
        _at_most(stage, "watermark_delay_s", stage.watermark_delay_s, limits.watermark_delay_s),
        _at_most(stage, "commit_age_s", stage.commit_age_s, limits.commit_age_s),
        _at_most(stage, "insert_age_s", stage.insert_age_s, limits.insert_age_s),
        _at_most(stage, "broker_wait_s", stage.broker_wait_s, limits.broker_wait_s),
    )


def _assignment(stage: StageStatus) -> Check:
    # A roll-out that waits for every worker must not wait for one that others leave nothing to do.
    words = "a spare: others hold all partitions" if stage.spare else f"{stage.assigned_partitions} partitions"
    return Check(f"{stage.stage}.assigned", stage.assigned_partitions > 0 or stage.spare, words)


def _at_most(stage: StageStatus, name: str, value: float | None, limit: float) -> Check:
    if value is None:
        return Check(f"{stage.stage}.{name}", ok=True, detail="nothing to judge")
    return Check(f"{stage.stage}.{name}", value <= limit, f"{value:.6g}, at most {limit:.6g}")


class HealthServer:
    """Serves the pages on the worker's own event loop: a loop that hangs does not answer, which is the point.

    Parameters
    ----------
    registry
        What ``/metrics`` shows.
    checks
        Called for each health page; must be quick. One that raises makes the page answer 503 and say so.
    host, port
        Where to listen; port 0 takes a free one, found in ``port`` after :meth:`start`.
    ready_file
        Receives the address of the pages once they answer, in one step, for whoever started the worker.

    Raises
    ------
    UnavailableError
        From :meth:`start`, when the address cannot be had.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        checks: Callable[[], Health],
        host: str = "127.0.0.1",
        port: int = 0,
        ready_file: Path | None = None,
    ) -> None:
        self._registry = registry
        self._checks = checks
        self.host = host
        self.port = port
        self._ready_file = ready_file
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Address of the pages, without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listen, then say where."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port).start()
        except OSError as error:
            await runner.cleanup()
            raise UnavailableError(
                f"The metrics page cannot listen: {error.strerror or error}.",
                f"{self.host}:{self.port}",
                "Choose another 'web.port', or 0 for a free one.",
            ) from error
        self._runner = runner
        self.port = runner.addresses[0][1]
        log.info("metrics and health pages", extra={"url": self.url})
        if self._ready_file is not None:
            _write_at_once(self._ready_file, self.url)

    async def stop(self) -> None:
        """Stop listening. Does nothing when not started."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._ready_file is not None:
            self._ready_file.unlink(missing_ok=True)

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = render(self._registry, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _healthz(self, _: web.Request) -> web.Response:
        return _page(self._ask().alive)

    async def _readyz(self, _: web.Request) -> web.Response:
        return _page(self._ask().ready)

    def _ask(self) -> Health:
        try:
            return self._checks()
        except Exception as error:
            # A page that fails to load says nothing; one that says why the checks failed can be acted upon.
            log.exception("a health check raised")
            failed = (Check("checks", ok=False, detail=f"{type(error).__name__}: {error}"),)
            return Health(alive=failed, ready=failed)


class _Page(msgspec.Struct):
    status: str
    failed: list[str]
    checks: tuple[Check, ...]


def _page(checks: tuple[Check, ...]) -> web.Response:
    failed = [check.name for check in checks if not check.ok]
    body = msgspec.json.encode(_Page("failing" if failed else "ok", failed, checks))
    return web.Response(body=body, status=503 if failed else 200, content_type="application/json")


def _write_at_once(path: Path, text: str) -> None:
    """Write through a rename, so that a reader who finds the file finds all of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
