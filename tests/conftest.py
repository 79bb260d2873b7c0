"""What all tests share: marks by folder, no network where none is needed, no settings from the outside."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Folders whose name is their mark; `slow` and the like stay with the tests.
MARKED = {"integration", "faults", "quality", "bench"}
# Folders whose tests reach no network. Unix sockets stay: an event loop wakes itself through one.
ISOLATED = {"unit", "laws"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not item.path.is_relative_to(ROOT / "tests"):
            continue
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        if folder in MARKED:
            item.add_marker(folder)
        if folder in ISOLATED:
            item.add_marker("disable_socket")


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the variables of whoever runs the tests out of them."""
    for name in [name for name in os.environ if name.upper().startswith("HALCYON_")]:
        monkeypatch.delenv(name)
