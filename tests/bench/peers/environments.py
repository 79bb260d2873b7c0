"""Environments of the peers: each its own, from PyPI, made once and kept below ``.cache``."""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

FOLDER: Final = Path(".cache/peers")
_PIP_TIMEOUT_S: Final = 600

PINNED: Final = {
    "bytewax": ("bytewax==0.21.1", "confluent-kafka==2.16.1", "orjson==3.13.0"),
    "quix": ("quixstreams==3.28.1",),
}
"""What is installed. Bytewax works with any client from 2.0.2 on: it gets the one that Halcyon has."""


def interpreter(name: str) -> str:
    """The Python of a peer's environment, which is made when it is missing or of other versions; else this one."""
    if name not in PINNED:
        return sys.executable
    folder, wanted = FOLDER / name, "\n".join(PINNED[name])
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(folder, clear=True, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PINNED[name]]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PIP_TIMEOUT_S)
        if done.returncode:
            raise SystemExit(f"{name} could not be installed into {folder}:\n{done.stderr}")
        stamp.write_text(wanted)
    return str(python.absolute())
