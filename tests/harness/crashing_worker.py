"""A worker that signals itself at one step of its work, the nth time it comes there.

``python -m tests.harness.crashing_worker SIGNAL STEP NTH STAGE…`` wraps what the worker sends with and calls it;
production code knows nothing of it. SIGKILL ends it there; SIGTERM makes it stop in good order from there; SIGSTOP
makes it sleep there, with whatever it was about to send still in its hands, until SIGCONT.

- ``during-TOPIC``: a message for TOPIC was handed to the client, and has hardly left the process.
- ``before-TOPIC``: messages for TOPIC were sent, nobody has waited for their acknowledgement.
- ``after-TOPIC``: the brokers have acknowledged them, and nothing that follows from it has happened: no commit.
- ``during-insert``: rows are gathered, and ClickHouse has not been asked yet.
- ``after-insert``: ClickHouse has acknowledged an insert, and its offsets are not committed.
"""

import os
import signal
import sys
from typing import Any

from streams import worker
from streams.config import load_settings
from streams.producer import Producer
from streams.sinks.clickhouse import ClickHouse


class Fuse:
    """Burns down once each time the step is reached, and then sends the signal, once."""

    def __init__(self, name: str, nth: int) -> None:
        self._signal = signal.Signals[name]
        self._left = nth

    def burn(self) -> None:
        """Reach the step once more."""
        self._left -= 1
        if self._left == 0:
            # To itself and not to a parent's child: nothing of this process runs on in between.
            os.kill(os.getpid(), self._signal)


def arm_producer(moment: str, wanted: str, fuse: Fuse) -> None:
    """Let every producer of this process blow up at messages for ``wanted``, or at a barrier behind them."""

    class Crashing(Producer):
        armed = False

        def send(self, topic: str, *rest: Any, **named: Any) -> None:
            super().send(topic, *rest, **named)
            if topic.endswith(wanted):
                self.armed = True
                if moment == "during":
                    fuse.burn()

        async def barrier(self) -> None:
            armed, self.armed = self.armed, False
            if armed and moment == "before":
                fuse.burn()
            await super().barrier()
            if armed and moment == "after":
                fuse.burn()

    setattr(worker, "Producer", Crashing)  # noqa: B010 - the module does not offer it, it only uses it


def arm_insert(moment: str, fuse: Fuse) -> None:
    """Blow up before ClickHouse is asked to insert, or once it has acknowledged that."""
    insert = ClickHouse.insert

    def crashing(self: ClickHouse, *rest: Any, **named: Any) -> None:
        if moment == "during":
            fuse.burn()
        insert(self, *rest, **named)
        if moment == "after":
            fuse.burn()

    ClickHouse.insert = crashing  # type: ignore[method-assign]


def main(name: str, step: str, nth: str, *stages: str) -> int:
    """Arm, then work."""
    fuse = Fuse(name, int(nth))
    moment, _, wanted = step.partition("-")
    if wanted == "insert":
        arm_insert(moment, fuse)
    else:
        arm_producer(moment, wanted, fuse)
    return worker.run_worker(load_settings(), stages)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
