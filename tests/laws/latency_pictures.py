"""Draw the pictures of docs/slo.md and docs/detectors/latency.md: ``python -m tests.laws.latency_pictures``.

What is drawn is computed by the detectors themselves, from seeded traffic.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from detectors.registry import make
from detectors.slo.burn import SloBurn
from loadgen.plots import Span, lines
from tests.laws.latency_alarms import Requests

IMAGES: Final = Path(__file__).resolve().parents[2] / "docs" / "images"
_ALLOWED: Final = 0.005
_OUTAGE: Final = range(100, 130)


def burn_picture() -> str:
    """Three of ten requests fail for half an hour: two of the windows, and when it pages."""
    crowd = Requests(1, "lognormal", 1, 2_000)
    detector = make("slo", {"slos": [{"name": "up", "objective_ratio": 1 - _ALLOWED}]})
    assert isinstance(detector, SloBurn)
    quiet, series = crowd.window(10), {"slo.up": np.zeros(1, np.int64)}
    slot, burns, pages = np.zeros(1, np.int64), [], []
    for minute in range(-4_320, 220):
        start_ms = (minute + 4_320) * 60_000
        bad = 300 if minute in _OUTAGE else 1
        scopes = crowd.scope_columns(np.array([1_000]), np.array([bad]), series)
        scores = detector.step(replace(quiet, start_ms=start_ms, scopes=scopes))
        if minute < 0:
            continue
        spans = [detector.counts.over(slot, start_ms, span_s) for span_s in (300, 3_600)]
        burns.append([float(b[0] / t[0] / _ALLOWED) for b, t in spans])
        pages.append(bool(scores.score[0] >= 1))
    at, rates = np.arange(len(burns), dtype=np.float64), np.array(burns)
    first, last = pages.index(True), len(pages) - pages[::-1].index(True)
    series_of = {"5 min": (at, rates[:, 0]), "1 h": (at, rates[:, 1]), "page from": (at, np.full(len(at), 14.4))}
    return lines(series_of, x="minute", y="burn rate", spans=[Span(first, last, "page")])


def peaks_picture() -> str:
    """Latencies of a baseline, with a tail that has grown, and with a second peak."""
    rng, n = np.random.default_rng(1), 200_000
    base = rng.lognormal(3, 0.4, n)
    drawn = {
        "baseline": base,
        "the tail alone": base * np.where(rng.random(n) < 0.08, 2.5, 1),
        "a second peak": base * np.where(rng.random(n) < 0.25, 8, 1),
    }
    edges = np.linspace(np.log(4), np.log(800), 90)
    middle = np.log10(np.exp((edges[1:] + edges[:-1]) / 2))
    shapes = {name: (middle, np.histogram(np.log(v), edges)[0] / n * 100) for name, v in drawn.items()}
    p99 = float(np.log10(np.quantile(base, 0.99) * 1.3))
    return lines(
        shapes, x="log10 of ms; shaded: beyond 1.3 times the baseline's p99", y="% of requests", spans=[Span(p99, 2.9)]
    )


def main() -> None:
    """Write both."""
    (IMAGES / "slo.svg").write_text(burn_picture(), encoding="utf-8")
    (IMAGES / "latency.svg").write_text(peaks_picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
