import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from streams.errors import UnavailableError
from streams.health import Check, Health, HealthServer
from streams.metrics import Metrics


class Answer:
    """A health that the test changes while the server runs."""

    def __init__(self) -> None:
        self.health = Health(alive=(Check("a", ok=True, detail=""),), ready=(Check("r", ok=True, detail=""),))
        self.error: Exception | None = None

    def __call__(self) -> Health:
        if self.error is not None:
            raise self.error
        return self.health


@pytest.fixture
def answer() -> Answer:
    return Answer()


@pytest.fixture
async def server(answer: Answer, tmp_path: Path) -> AsyncIterator[HealthServer]:
    metrics = Metrics("9.9")
    metrics.alert_sent("critical", "firing")
    server = HealthServer(metrics.registry, answer, ready_file=tmp_path / "run" / "ready")
    await server.start()
    yield server
    await server.stop()


async def get(server: HealthServer, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(server.url + path) as response:
        return response.status, await response.text()


async def test_it_takes_a_free_port_and_says_which(server: HealthServer, tmp_path: Path) -> None:
    assert server.port > 0
    assert (tmp_path / "run" / "ready").read_text() == server.url
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["ready"]


async def test_metrics(server: HealthServer) -> None:
    status, text = await get(server, "/metrics")
    assert status == 200
    assert 'halcyon_alerts_total{severity="critical",status="firing"} 1.0' in text


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_all_is_well(server: HealthServer, path: str) -> None:
    status, text = await get(server, path)
    assert status == 200
    assert json.loads(text)["status"] == "ok"


async def test_the_failing_check_is_named(server: HealthServer, answer: Answer) -> None:
    answer.health = Health(
        alive=answer.health.alive,
        ready=(Check("ingest.lag_events", ok=False, detail="9, at most 5"), Check("fine", ok=True, detail="")),
    )
    status, text = await get(server, "/readyz")
    assert status == 503
    assert json.loads(text) == {
        "status": "failing",
        "failed": ["ingest.lag_events"],
        "checks": [
            {"name": "ingest.lag_events", "ok": False, "detail": "9, at most 5"},
            {"name": "fine", "ok": True, "detail": ""},
        ],
    }
    assert (await get(server, "/healthz"))[0] == 200


async def test_checks_that_raise_are_a_failure_that_says_why(server: HealthServer, answer: Answer) -> None:
    answer.error = RuntimeError("no such table")
    for path in ("/healthz", "/readyz"):
        status, text = await get(server, path)
        assert status == 503
        assert "RuntimeError: no such table" in text
    assert (await get(server, "/metrics"))[0] == 200


async def test_a_taken_port_is_refused_with_advice(answer: Answer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = HealthServer(Metrics().registry, answer, port=port)
        with pytest.raises(UnavailableError, match=rf"127\.0\.0\.1:{port}.*web\.port"):
            await server.start()
        await server.stop()


async def test_stopping_frees_the_port_and_removes_the_file(server: HealthServer, tmp_path: Path) -> None:
    await server.stop()
    assert not (tmp_path / "run" / "ready").exists()
    with socket.socket() as free:
        assert free.connect_ex(("127.0.0.1", server.port)) != 0
