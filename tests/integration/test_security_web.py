"""What a worker offers to the network: three pages that are read, on this machine alone, and nothing else."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.local.ports import free_port
from tests.harness.waiting import wait_for
from tests.harness.workers import Worker

PAGES = ("/metrics", "/healthz", "/readyz")
# What Faust's own web server would offer, and what servers tend to have by accident.
OTHERS = (
    "/",
    "/table/",
    "/router/",
    "/graph/",
    "/stats/",
    "/production_index/",
    "/debug",
    "/static/x",
    "/..%2f..%2fetc/passwd",
)
WAIT_S = 60.0


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Worker, str]]:
    """All stages, whose brokers do not answer: the pages are there all the same."""
    folder: Path = tmp_path_factory.mktemp("web")
    started = Worker(
        "web", ("ingest", "write"), folder, {"HALCYON_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}
    )
    started.start()
    address = folder / "web.ready"
    wait_for("it says where its pages are", address.exists, WAIT_S)
    yield started, address.read_text()
    started.kill()


def answer(url: str, method: str) -> tuple[int, str]:
    request = urllib.request.Request(url, data=b"x" if method != "GET" else None, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as page:  # noqa: S310 - the worker's own http://
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_listens_in_one_place_and_on_this_machine_alone(worker: tuple[Worker, str]) -> None:
    process, url = worker
    connections = psutil.Process(process.pid).net_connections("inet")
    listening = [one.laddr for one in connections if one.status == psutil.CONN_LISTEN]
    assert [f"http://{at.ip}:{at.port}" for at in listening] == [url]
    assert listening[0].ip == "127.0.0.1"


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_read(page: str, worker: tuple[Worker, str]) -> None:
    assert answer(worker[1] + page, "GET")[0] in (200, 503)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("page", PAGES)
def test_pages_take_nothing(page: str, method: str, worker: tuple[Worker, str]) -> None:
    assert answer(worker[1] + page, method)[0] == 405


@pytest.mark.parametrize("path", OTHERS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_there_is_nothing_else(path: str, method: str, worker: tuple[Worker, str]) -> None:
    assert answer(worker[1] + path, method)[0] == 404
