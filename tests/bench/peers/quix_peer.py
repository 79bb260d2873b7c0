"""The job in Quix Streams, as its documentation of windowed aggregations writes one: an aggregator, final results.

``python -m tests.bench.peers.quix_peer BROKER SOURCE RESULTS FILE FLUSH_MS RUN FOLDER``
"""

from __future__ import annotations

import sys
from typing import Any

from tests.bench.meter import Watch
from tests.bench.peers import job


def main() -> None:
    from quixstreams import Application
    from quixstreams.dataframe.windows.aggregations import Aggregator

    bootstrap, source, results, file, flush_ms, run, folder = sys.argv[1:]
    meter = Watch(file=file, flush_ms=int(flush_ms))

    class Summary(Aggregator):  # type: ignore[misc]
        def initialize(self) -> Any:
            return job.window()

        def agg(self, old: Any, new: Any, timestamp: int) -> Any:
            meter.add(1, timestamp)
            return job.add(old, new)

        def result(self, value: Any) -> Any:
            return value

    def time_of(value: Any, headers: Any, timestamp: Any, kind: Any) -> int:
        meter.start()
        return int(value["ts_ms"])

    app = Application(
        broker_address=bootstrap, consumer_group=run, auto_offset_reset="earliest", state_dir=folder, loglevel="WARNING"
    )
    events = app.dataframe(app.topic(source, key_deserializer="str", timestamp_extractor=time_of))
    windows = events.tumbling_window(duration_ms=job.WINDOW_MS, grace_ms=job.GRACE_MS).agg(summary=Summary()).final()

    def answered(value: Any, key: Any, timestamp: Any, headers: Any) -> Any:
        return job.answer(key, value["start"], value["summary"])

    windows.apply(answered, metadata=True).to_topic(app.topic(results, key_serializer="str"))
    app.run()


if __name__ == "__main__":
    main()
