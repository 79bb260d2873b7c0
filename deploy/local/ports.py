"""Loopback ports for servers: chosen so that nobody else takes one before its server listens, or while it is away.

Between the choice of a port and the bind of a child there are seconds (a JVM starts), and a broker that was killed
comes back to its own. Processes of this project share the range in blocks: who has locked a block's file alone chooses
in it, and the lock goes with the process, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

from deploy.local.process import LocalPartError

LOOPBACK = "127.0.0.1"
# Below the range that the kernel hands to outgoing connections (Linux: 32768 and up), so that a connection that
# some program opens between our choice and the child's bind cannot take the port.
_PORTS = range(20_000, 32_000)
_BLOCK = 100


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # As servers do: a port that only holds connections on their way out (TIME_WAIT) is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def port_accepts(port: int) -> bool:
    """Whether a server listens on this loopback port now."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


class Ports:
    """Free ports of the blocks that this process has locked, each given once while there are others.

    Parameters
    ----------
    ports
        What to choose from.
    folder
        For the locks; one that all processes of the user share.
    """

    def __init__(self, ports: range, folder: Path) -> None:
        self._ports, self._folder = ports, folder
        self._pid = 0
        self._locks: list[int] = []
        self._left: list[int] = []

    def take(self) -> int:
        """A port that no server has.

        Raises
        ------
        LocalPartError
            When there is none.
        """
        if self._pid != os.getpid():  # a fork has its parent's locks, and must not choose in its blocks
            self._pid, self._locks, self._left = os.getpid(), [], []
        while True:
            while self._left:
                port = self._left.pop()
                if port_is_free(port):
                    return port
            self._left = self._another_block()

    def close(self) -> None:
        """Leave the blocks to others."""
        for lock in self._locks:
            os.close(lock)
        self._locks = []

    def _another_block(self) -> list[int]:
        """The ports of a block that nobody has locked; when there is none, this process's own are given again."""
        blocks = [self._ports[first : first + _BLOCK] for first in range(0, len(self._ports), _BLOCK)]
        # The system's generator: a seeded one would make all processes try the same blocks one after the other.
        random.SystemRandom().shuffle(blocks)
        self._folder.mkdir(parents=True, exist_ok=True)
        for used_up in (False, True):
            if used_up:
                self.close()
            for block in blocks:
                if any(port_is_free(port) for port in block) and self._lock(block):
                    return list(block)
        raise LocalPartError(
            f"no free port between {self._ports.start} and {self._ports.stop} on {LOOPBACK}: end unused servers"
        )

    def _lock(self, block: range) -> bool:
        lock = os.open(self._folder / f"{block.start}.lock", os.O_WRONLY | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._locks.append(lock)
        return True


_shared = Ports(_PORTS, Path(tempfile.gettempdir()) / f"halcyon-ports-{os.getuid()}")


def free_port() -> int:
    """Choose a loopback port that no server has, and that no other process of this project will choose.

    Raises
    ------
    LocalPartError
        When no free port was found.
    """
    return _shared.take()
