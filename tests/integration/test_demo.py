import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = 6
"""Kafka, ClickHouse and four workers."""


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts demos whose temporary folders are the test's; none outlives it."""
    started = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        log = (tmp_path / "demo.log").open("wb")
        env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "COLUMNS": "160"}
        command = [sys.executable, "-m", "streams", "demo", *arguments]
        with log:
            process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=log, stderr=log)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def wait_for(found: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not found():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.2)


@pytest.mark.slow
def test_every_injected_fault_is_found_and_nobody_else_is_paged(
    demo: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    code = demo("--minutes", "0.7", "--json", "card.json").wait(400)
    said = (tmp_path / "demo.log").read_text()
    assert (tmp_path / "card.json").exists(), said
    card = json.loads((tmp_path / "card.json").read_bytes())
    assert all(fault["detected"] for fault in card["faults"]), said
    assert card["false_pages"] == []
    assert card["duplicates"] == []
    assert code == 0, said
    assert "worst_psi" in said
    assert list(tmp_path.glob("halcyon-demo-*")) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_whatever_ends_the_demo_nothing_is_left(
    demo: Callable[..., subprocess.Popen[bytes]], how: signal.Signals
) -> None:
    process = demo()
    parent = psutil.Process(process.pid)
    wait_for(lambda: len(parent.children()) == PARTS, "all parts")
    children = parent.children(recursive=True)
    process.send_signal(how)
    assert process.wait(60) == (-how if how is signal.SIGKILL else 128 + how)
    gone, left = psutil.wait_procs(children, timeout=30)
    assert left == []
    assert len(gone) >= PARTS
