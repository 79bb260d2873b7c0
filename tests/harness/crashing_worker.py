"""A worker that kills itself (SIGKILL) at one step of its work, the nth time it comes there.

``python -m tests.harness.crashing_worker STEP NTH STAGE`` wraps what the worker sends with and calls it; production
code knows nothing of it.

- ``before-TOPIC``: messages for TOPIC were sent, nobody has waited for their acknowledgement.
- ``after-TOPIC``: the brokers have acknowledged them, and nothing that follows from it has happened: no commit.
- ``after-insert``: ClickHouse has acknowledged an insert, and its offsets are not committed.
"""

import os
import signal
import sys
from typing import Any, Final, NoReturn

from streams import worker
from streams.config import load_settings
from streams.producer import Producer
from streams.sinks.clickhouse import ClickHouse

INSERT: Final = "after-insert"


def die() -> NoReturn:
    """End this process as the kernel would: no handler, no flush, no goodbye."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


class Fuse:
    """Burns down once each time the step is reached."""

    def __init__(self, nth: int) -> None:
        self._left = nth

    def burn(self) -> None:
        """Reach the step once more."""
        self._left -= 1
        if self._left <= 0:
            die()


def arm_producer(moment: str, wanted: str, fuse: Fuse) -> None:
    """Let every producer of this process blow up at a barrier behind messages for ``wanted``."""

    class Crashing(Producer):
        armed = False

        def send(self, topic: str, *rest: Any, **named: Any) -> None:
            super().send(topic, *rest, **named)
            self.armed |= topic.endswith(wanted)

        async def barrier(self) -> None:
            armed, self.armed = self.armed, False
            if armed and moment == "before":
                fuse.burn()
            await super().barrier()
            if armed and moment == "after":
                fuse.burn()

    setattr(worker, "Producer", Crashing)  # noqa: B010 - the module does not offer it, it only uses it


def arm_insert(fuse: Fuse) -> None:
    """Blow up once ClickHouse has acknowledged an insert."""
    insert = ClickHouse.insert

    def crashing(self: ClickHouse, *rest: Any, **named: Any) -> None:
        insert(self, *rest, **named)
        fuse.burn()

    ClickHouse.insert = crashing  # type: ignore[method-assign]


def main(step: str, nth: str, *stages: str) -> int:
    """Arm, then work."""
    fuse = Fuse(int(nth))
    if step == INSERT:
        arm_insert(fuse)
    else:
        moment, _, topic = step.partition("-")
        arm_producer(moment, topic, fuse)
    return worker.run_worker(load_settings(), stages)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
