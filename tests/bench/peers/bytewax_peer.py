"""The job in Bytewax, as its guide to Kafka and its guide to windowing write one; JSON by orjson, as the former does.

``python -m bytewax.run "tests.bench.peers.bytewax_peer:flow('BROKER', 'SOURCE', 'RESULTS', 'FILE', FLUSH_MS)"``
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from tests.bench.meter import Watch
from tests.bench.peers import job


def flow(bootstrap: str, source: str, results: str, file: str, flush_ms: int) -> Any:
    import orjson
    from bytewax import operators as op
    from bytewax.connectors.kafka import KafkaSinkMessage
    from bytewax.connectors.kafka import operators as kop
    from bytewax.dataflow import Dataflow
    from bytewax.operators import windowing as win

    meter = Watch(file=f"{file}-{_process()}", flush_ms=flush_ms)
    utc, epoch = timezone.utc, datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017

    def parsed(message: Any) -> tuple[str, Any]:
        meter.start()
        event = orjson.loads(message.value)
        return event["model"], event

    def folded(into: Any, event: Any) -> Any:
        meter.add(1, event["ts_ms"])
        return job.add(into, event)

    def told(item: Any) -> Any:
        model, (number, window) = item
        answer = job.answer(model, number * job.WINDOW_MS, window)
        return KafkaSinkMessage(key=model.encode(), value=orjson.dumps(answer))

    dataflow = Dataflow("peer")
    messages = kop.input("source", dataflow, brokers=[bootstrap], topics=[source])
    events = op.map("parse", messages.oks, parsed)
    clock = win.EventClock(
        ts_getter=lambda event: datetime.fromtimestamp(event["ts_ms"] / 1000, utc),
        wait_for_system_duration=timedelta(milliseconds=job.GRACE_MS),
    )
    windower = win.TumblingWindower(length=timedelta(milliseconds=job.WINDOW_MS), align_to=epoch)
    windows = win.fold_window("fold", events, clock, windower, job.window, folded, job.merged)
    kop.output("results", op.map("tell", windows.down, told), brokers=[bootstrap], topic=results)
    return dataflow


def _process() -> int:
    import os

    return os.getpid()
