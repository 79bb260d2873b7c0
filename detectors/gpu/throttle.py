"""A GPU whose clocks are held down by heat or by its power supply."""

from typing import ClassVar, Final, Self

import msgspec
import numpy as np

from detectors import scoring
from detectors.counters import KnownCounters
from detectors.parameters import check_bounds
from detectors.protocol import Ints, Scores, WindowBatch

HARMFUL: Final = ("hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")
"""Reasons that cost performance against anyone's will; a power cap or application clocks are set on purpose."""


class ThrottleParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Throttled in more than ``floor_ratio`` of at least ``min_samples`` samples."""

    window_s: int = 10
    floor_ratio: float = 0.1
    min_samples: int = 1

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(0, 1), min_samples=(1, 10**6))


class GpuThrottle:
    """Share of a GPU's samples with the most frequent harmful clock event reason, 0…1.

    A sample may carry several reasons and the counter does not say which came together, so the share of the most
    frequent stands for all: never too high. The label names it.

    Parameters
    ----------
    params
        See :class:`ThrottleParams`.

    Notes
    -----
    O(G) for G GPUs; 16 bytes of state each, so that the end of it is seen.
    """

    kind: ClassVar[str] = "gpu_throttle"
    state_version: ClassVar[int] = 1

    def __init__(self, params: ThrottleParams | None = None) -> None:
        self.params = params or ThrottleParams()
        self.window_s = self.params.window_s
        self._counters = KnownCounters("clocks_event_reason")

    def step(self, windows: WindowBatch) -> Scores:
        """Score every GPU with samples that ever had a clock event reason."""
        categories = windows.categories
        subject, places = self._counters.find(windows)
        rows = subject.rows
        worst, labels = np.zeros(len(places), np.int64), []
        for row, place in enumerate(places.tolist()):
            values = categories.values[place] if place >= 0 else ()
            counts = {value: int(categories.cur[place, j]) for j, value in enumerate(values) if value in HARMFUL}
            label = max(counts, key=lambda reason: (counts[reason], reason), default="")
            worst[row] = counts.get(label, 0)
            labels.append(label if worst[row] else "")
        measured = scoring.Measured(
            score=np.minimum(worst / np.maximum(rows, 1), 1.0),
            floor=self.params.floor_ratio,
            reference=0.0,
            label=labels,
        )
        return scoring.scores(self.kind, "of samples", subject, rows >= self.params.min_samples, measured)

    def forget(self, series: Ints) -> None:
        """Drop ``series``."""
        self._counters.forget(series)

    def to_bytes(self) -> bytes:
        """Which GPUs have the counter."""
        return self._counters.to_bytes(self.kind, self.state_version)

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector = cls(msgspec.convert(params, ThrottleParams))
        detector._counters = KnownCounters.from_bytes(raw, cls.kind, cls.state_version, "clocks_event_reason")
        return detector
