"""What decoding into columns costs, beside the bare parser on the same messages in the same run.

Run from the repository's root: ``python -m tests.bench.bench_codecs [events]``. Ratios travel between machines;
times do not.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from schemas.codecs import decode_predictions, encode_arrow
from schemas.predictions import Prediction

NOW_MS: Final = 1_767_225_600_000
COUNTRIES: Final = ("DE", "FR", "IT")
ROUNDS: Final = 30


def messages(count: int) -> list[bytes]:
    """JSON predictions of about 320 bytes with five features, four numbers and a text."""
    rng = np.random.default_rng(7)
    found = []
    for number in range(count):
        country = COUNTRIES[number % 3]
        event = {
            "event_id": f"evt-{number:08d}-ab12",
            "ts_ms": NOW_MS + number,
            "model": "fraud-cards",
            "model_version": "2026-01-07.3",
            "segment": {"country": country, "channel": "web"},
            "latency_ms": round(float(rng.lognormal(3, 0.5)), 3),
            "status": "ok",
            "score": round(float(rng.random()), 6),
            "decision": "approve",
            "features": {
                "amount": round(float(rng.lognormal(4, 1)), 2),
                "age_days": float(rng.integers(1, 4000)),
                "n_tx_24h": float(rng.integers(0, 30)),
                "risk": round(float(rng.random()), 5),
                "country": country,
            },
        }
        found.append(json.dumps(event, separators=(",", ":")).encode())
    return found


@dataclass(frozen=True, slots=True)
class Costs:
    """µs per event: the fastest of many rounds."""

    events: int
    bare: float
    json: float
    broken: float
    arrow: float

    @property
    def ratio(self) -> float:
        """Columns from JSON over the bare parser."""
        return self.json / self.bare


def _us(work: Callable[[], object], events: int) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best / events * 1e6


def measure(count: int) -> Costs:
    """The costs of batches of ``count`` events."""
    batch = messages(count)
    parse = msgspec.json.Decoder(Prediction).decode
    stamps = [NOW_MS + number for number in range(count)]
    broken = [*batch[:-1], b"{"]
    arrow = encode_arrow([parse(message) for message in batch])
    return Costs(
        events=count,
        bare=_us(lambda: [parse(message) for message in batch], count),
        json=_us(lambda: decode_predictions(batch, None, stamps), count),
        broken=_us(lambda: decode_predictions(broken, None, stamps), count),
        arrow=_us(lambda: decode_predictions([arrow], None, stamps[-1:]), count),
    )


def test_columns_cost_little_more_than_the_parser_and_arrow_costs_a_fraction() -> None:
    costs = measure(2_000)

    # the committed goal is 1.9; a busy machine adds noise to both sides
    assert costs.ratio < 2.5
    assert costs.arrow < costs.json / 5


def main() -> None:
    """Print the costs for batches of several sizes."""
    sizes = [int(text) for text in sys.argv[1:]] or [250, 1_000, 4_000]
    sys.stdout.write("events   bare parse   JSON columns   ratio   one bad message   Arrow columns   (µs per event)\n")
    for size in sizes:
        c = measure(size)
        sys.stdout.write(
            f"{c.events:6}   {c.bare:10.3f}   {c.json:12.3f}   {c.ratio:5.2f}   {c.broken:15.3f}   {c.arrow:13.3f}\n"
        )


if __name__ == "__main__":
    main()
