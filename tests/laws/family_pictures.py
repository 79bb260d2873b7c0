"""Draw the pictures of docs/detectors/{fraud,gpu,labels,quality}.md: ``python -m tests.laws.family_pictures``.

What is drawn is computed by the detectors themselves, from seeded traffic.
"""

from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from detectors.baseline import from_table
from detectors.decision import DecisionBank
from detectors.fraud.crowd import crowds
from detectors.protocol import Bools, Detector, Floats, WindowBatch
from detectors.registry import make
from loadgen.plots import Span, lines
from schemas.scopes import Family, Scope
from tests.laws import label_streams
from tests.laws.gpu_alarms import DAY, Fleet, held
from tests.laws.world import Seen, World

IMAGES: Final = Path(__file__).resolve().parents[2] / "docs" / "images"
_STORE: Final = Scope(Family.FEATURE, "card-history")
_MINUTE_MS: Final = 60_000


class _Watched:
    """A detector of one series, and when it has something to say."""

    def __init__(self, detector: Detector) -> None:
        self._detector, self._bank = detector, DecisionBank()
        self.firing: list[bool] = []

    def see(self, window: WindowBatch) -> None:
        decided = self._bank.decide(self._detector.step(window), window.start_ms, window.size_ms)
        self.firing.append(bool(decided.firing.any()))

    def spans(self, at: Floats) -> list[Span]:
        """The stretches in which it fires, by the places ``at`` of its windows on the axis."""
        firing: Bools = np.array([False, *self.firing, False])
        edges = np.flatnonzero(firing[1:] != firing[:-1])
        last = len(at) - 1
        return [Span(float(at[a]), float(at[min(b, last)])) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def freshness_picture() -> str:
    """A feature set that is refreshed every half hour, until the job stops."""
    rng, stops = np.random.default_rng(3), 280
    first = {"freshness_ms": rng.uniform(0, 30 * _MINUTE_MS, 2_000)}
    world = World({_STORE: from_table(_STORE, first, built_from="picture", effective_from_ms=0)})
    watched, p95 = _Watched(make("freshness")), []
    for minute in range(380):
        since = minute % 30 if minute < stops else minute - stops + stops % 30
        ages = (since + rng.uniform(0, 1, 500)) * _MINUTE_MS
        p95.append(float(np.quantile(ages, 0.95)) / _MINUTE_MS)
        watched.see(world.window({_STORE: Seen(500, {"freshness_ms": ages})}, minute * _MINUTE_MS))
    at = np.arange(len(p95), dtype=np.float64)
    return lines({"p95 of the age": (at, p95)}, x="minute; shaded: a finding", y="minutes", spans=watched.spans(at))


def leak_picture() -> str:
    """Memory that leaks slowly under noise, beside the memory of a card that leaks nothing."""
    rng, fleet, windows = np.random.default_rng(5), Fleet(1, 1, 300_000), DAY
    watched, used = _Watched(make("gpu_leak")), []
    for number in range(windows):
        leaked = max(number - windows / 3, 0) * 2.4e8
        used.append(40e9 + leaked + float(rng.normal(0, 2e8)))
        watched.see(fleet.window(number, held(np.array(used[-1:]), 0.5)))
    at = np.arange(windows) / 12
    series = {"memory in use": (at, np.array(used) / 1e9), "of the card": (at, np.full(windows, 80.0))}
    return lines(series, x="hour; shaded: a finding", y="GB", spans=watched.spans(at))


def delay_picture() -> str:
    """Labels that come as fast as their requests, until they do not."""
    stream = label_streams.steady(np.random.default_rng(2), 1, 40.0)
    watched, came, days = _Watched(make("label_delay")), [], 3
    stops = days * 1_440 - 600
    for minute, (labels, positive, asked) in enumerate(islice(stream, days * 1_440)):
        late = labels * 0 if minute >= stops else labels
        came.append(int(late[0]))
        watched.see(label_streams.window(minute, late, np.minimum(positive, late), asked))
    at = np.arange(len(came)) / 60
    return lines({"labels": (at, came)}, x="hour; shaded: a finding", y="labels a minute", spans=watched.spans(at))


def crowd_picture() -> str:
    """Six percent of the rows within one bin of a feature, while all others are as always."""
    rng, rows = np.random.default_rng(4), 5_000
    ref = np.full(34, rows / 32)
    ref[[0, -1]] = 0
    cur = rng.multinomial(int(rows * 0.94), ref / ref.sum())
    cur[21] += int(rows * 0.06)
    found = crowds(cur[None], ref[None].astype(np.int64), 4.8, 0.02, 0.5)
    at = np.arange(34, dtype=np.float64)
    limit = (found.expected[0] + 4.8 * np.sqrt(found.expected[0]) * found.widen[0]) / rows * 100
    series = {"baseline": (at, ref / ref.sum() * 100), "now": (at, cur / rows * 100)}
    place = [Span(float(found.first[0]) - 0.5, float(found.last[0]) + 0.5)]
    return lines(series, x="bin; shaded: the crowd", y="% of rows", spans=place, bound=float(limit))


def main() -> None:
    """Write all four."""
    pictures = {"quality": freshness_picture, "gpu": leak_picture, "labels": delay_picture, "fraud": crowd_picture}
    for name, draw in pictures.items():
        (IMAGES / f"{name}.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
