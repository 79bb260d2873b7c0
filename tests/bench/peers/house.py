"""Halcyon's ingest worker and the two ceilings, as contenders.

``python -m tests.bench.peers.house NAME BROKER SOURCE_PREFIX RESULTS_PREFIX FILE FLUSH_MS RUN``
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

from tests.bench import contenders
from tests.bench.contenders import PARTITIONS
from tests.bench.meter import Watch

SCOPES: Final = 20_000


def halcyon_settings(bootstrap: str, source_prefix: str, results_prefix: str, run: str = "") -> Any:
    """Halcyon's defaults but for two knobs: the job knows no segments, and has more models than one partition may."""
    return contenders.settings(
        bootstrap,
        results_prefix,
        run,
        kafka={"source_prefix": source_prefix},
        caps={"segments": 0, "scopes": SCOPES},
    )


def broker(bootstrap: str, prefix: str, meter: Watch) -> None:
    """Fetch and nothing else, by the quickest client there is: what the broker and its protocol give."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False, "log_level": 3}
    )
    consumer.assign([TopicPartition(prefix + "predictions", each, OFFSET_BEGINNING) for each in range(PARTITIONS)])
    while not (messages := consumer.consume(1, 1.0)):
        pass  # connecting is no part of it
    meter.start()
    while True:
        # It does not look into messages: so many have come, and that is when.
        if messages:
            meter.add(len(messages), meter.flush_ms)
        messages = consumer.consume(10_000, 1.0)


def main() -> None:
    name, bootstrap, source_prefix, results_prefix, file, flush_ms, run = sys.argv[1:]
    logging.basicConfig(level=logging.ERROR)
    meter = Watch(file=file, flush_ms=int(flush_ms))
    if name == "halcyon":
        contenders.ingest(halcyon_settings(bootstrap, source_prefix, results_prefix, run), meter)
    elif name == "ceiling":
        contenders.ceiling(bootstrap, source_prefix, meter, run)
    else:
        broker(bootstrap, source_prefix, meter)


if __name__ == "__main__":
    main()
