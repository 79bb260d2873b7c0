"""What an event costs in ingest's own work, by encoding and number of scopes: no broker, one process."""

import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from schemas import panes
from schemas.codecs import decode_predictions
from schemas.scopes import Family
from streams.binnings import BinningIndex
from streams.ingest.partition import Commit, PartitionIngest, Source
from streams.ingest.scoping import PaneLimits
from tests.bench.traffic import Traffic

EVENTS: Final = 60_000
BATCH: Final = 4_000
RATE_PER_S: Final = 2_500.0
"""Of one partition in event time: the share of each of eight at 20,000 events/s."""
ARROW_BATCH: Final = 1_000
MODELS: Final = (2, 20, 200)
"""Of five scopes each: 10, 100 and 1,000 scopes."""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU µs per event of decoding, summing and emitting panes."""

    encoding: str
    scopes: int
    decode_us: float
    sum_us: float
    emit_us: float


def measure() -> list[Cost]:
    """All sizes in both encodings."""
    _measure("JSON", Traffic())  # the first is slow: everything is cold
    return [
        _measure(encoding, Traffic(models=models, rate_per_s=RATE_PER_S))
        for models in MODELS
        for encoding in ("JSON", "Arrow")
    ]


def _measure(encoding: str, traffic: Traffic) -> Cost:
    source = Source(Family.PREDICTION, "predictions", 0, 10_000, 5_000)
    ingest = PartitionIngest(source, Commit(), PaneLimits(), BinningIndex())
    spent = np.zeros(3)
    offset = 0
    for first in range(0, EVENTS, BATCH):
        values = (
            traffic.json(first, BATCH)
            if encoding == "JSON"
            else [traffic.arrow(at, ARROW_BATCH) for at in range(first, first + BATCH, ARROW_BATCH)]
        )
        offsets, stamps = np.arange(offset, offset + len(values)), np.full(len(values), traffic.start_ms + 10**9)
        offset += len(values)
        marks = [time.process_time()]
        decoded = decode_predictions(values, [()] * len(values), stamps)
        marks.append(time.process_time())
        ingest.add(decoded, offsets, stamps)
        marks.append(time.process_time())
        for pane in ingest.closed():
            panes.encode(pane)
        marks.append(time.process_time())
        spent += np.diff(marks)
    decode_us, sum_us, emit_us = (spent / EVENTS * 1e6).tolist()
    return Cost(encoding, traffic.scopes, decode_us, sum_us, emit_us)
