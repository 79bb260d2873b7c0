"""From the end of a window to its answer, while events come at a fixed rate: one contender after the other."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from loadgen.producer import EventTimePace, KafkaSink, Message, Player
from tests.bench.peers import job
from tests.bench.peers.contest import Contender, Task, playing
from tests.bench.peers.workload import Workload, make_topics
from tests.bench.player import cut

WARM_UP_S: Final = 15.0
_READY_S: Final = 5.0
_SETTLE_S: Final = 10.0
_TEMPLATES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from a window's end to its answer, of every window that ended after the warm-up; the bound on disorder,
    which all must wait for, is in it. ``behind_s`` is how late the generator ever was."""

    rate_per_s: float
    delays_s: list[float]
    expected: int
    behind_s: float


def measure(contender: Contender, bootstrap: str, models: int, rate_per_s: float, seconds: float) -> Latency:
    """One contender, ``seconds`` of events at that rate after it was given time to start."""
    prefix = f"live-{contender.name}."
    make_topics(bootstrap, prefix)
    task = Task(bootstrap, prefix, 0, 0, {})
    with playing(contender, task) as (game, results):
        assert results is not None
        for _ in results.until(time.monotonic() + _READY_S):
            pass
        begin_ms, begin_s = int(time.time() * 1000), time.monotonic()
        stop = threading.Event()
        sink = KafkaSink({"bootstrap.servers": bootstrap}, f"{prefix}predictions", spread=False)
        player = Player(sink, EventTimePace(begin_ms, 1.0), wait=stop.wait)
        events = _live(models, rate_per_s, int(rate_per_s * seconds), begin_ms)
        thread = threading.Thread(target=player.play, args=(events, begin_s), daemon=True)
        thread.start()
        try:
            for _ in results.until(begin_s + seconds + job.GRACE_MS / 1000 + _SETTLE_S):
                game.check(time.monotonic() + 1)
        finally:
            stop.set()
            thread.join()
        answers = results.reader.answers()
    first_ms, last_ms = begin_ms + WARM_UP_S * 1000, begin_ms + seconds * 1000 - job.GRACE_MS - 1000
    counted = {
        place: answer for place, answer in answers.items() if first_ms <= place.start_ms + job.WINDOW_MS <= last_ms
    }
    delays = [answer.heard_s - (place.start_ms + job.WINDOW_MS) / 1000 for place, answer in counted.items()]
    ends = [end for end in range(job.start_of(begin_ms), int(last_ms) + 1, job.WINDOW_MS) if first_ms <= end <= last_ms]
    return Latency(rate_per_s, delays, len(ends) * models, player.progress.worst_behind_s)


def _live(models: int, rate_per_s: float, count: int, begin_ms: int) -> Iterator[Message]:
    """Events of the workload, their times written as they are made."""
    still = Workload(_TEMPLATES, 1_767_225_600_000, models, 1e12)
    parts = [(message.key, *cut(message.value, message.ts_ms)) for batch in still.json() for message in batch]
    for number in range(count):
        key, head, tail = parts[number % _TEMPLATES]
        ts_ms = begin_ms + int(number * 1000 / rate_per_s)
        yield Message(ts_ms, key, b"%b%d%b" % (head, ts_ms, tail))
