"""The job in stock Faust: an agent over typed records, windows in a table, or in memory.

``python -m tests.bench.peers.faust_peer HOW BROKER SOURCE RESULTS FILE FLUSH_MS RUN FOLDER``, HOW one of table, memory

A windowed table would close windows by the clock on the wall, not by event time, and tells of them for one partition
only; so windows are entries of a plain table here, and the agent closes them as event time passes them. Faust is not
slower for it.
"""

from __future__ import annotations

import sys
from typing import Any

from tests.bench.meter import Watch
from tests.bench.peers import job


class Open:
    """The windows of a model that are open, oldest first."""

    def __init__(self) -> None:
        self.starts: dict[str, list[int]] = {}

    def note(self, model: str, ts_ms: int) -> list[int]:
        """Take note of an event; the starts of the windows that its time closes."""
        starts = self.starts.setdefault(model, [])
        start_ms = job.start_of(ts_ms)
        if start_ms not in starts:
            starts.append(start_ms)
        over = [start for start in starts if start + job.WINDOW_MS + job.GRACE_MS <= ts_ms]
        if over:
            self.starts[model] = [start for start in starts if start not in over]
        return over


def main() -> None:
    import faust as stock

    how, bootstrap, source, results, file, flush_ms, run, folder = sys.argv[1:]
    meter = Watch(file=file, flush_ms=int(flush_ms))

    class Prediction(stock.Record, serializer="json"):
        event_id: str
        ts_ms: int
        model: str
        model_version: str
        segment: dict[str, str]
        latency_ms: float
        status: str
        score: float
        decision: str
        features: dict[str, float]

    app = stock.App(
        run, broker=f"kafka://{bootstrap}", web_enabled=False, topic_disable_leader=True, datadir=folder,
        consumer_auto_offset_reset="earliest",
    )  # fmt: skip
    topic = app.topic(source, value_type=Prediction)
    told = app.topic(results, value_serializer="json")
    kept: Any = app.Table("windows", default=job.window, partitions=8) if how == "table" else {}
    opened = Open()

    @app.agent(topic)
    async def count(predictions: Any) -> None:
        async for prediction in predictions:
            meter.start()
            model, ts_ms = prediction.model, prediction.ts_ms
            for start_ms in opened.note(model, ts_ms):
                await told.send(value=job.answer(model, start_ms, kept.pop(f"{model}/{start_ms}")))
            place = f"{model}/{job.start_of(ts_ms)}"
            window = kept[place] if how == "table" else kept.setdefault(place, job.window())
            kept[place] = job.add(window, {"latency_ms": prediction.latency_ms, "features": prediction.features})
            meter.add(1, ts_ms)

    stock.Worker(app, loglevel="ERROR", quiet=True, redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
