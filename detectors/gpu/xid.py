"""XID errors: what the driver says about a GPU that is breaking, or about a program that misused it."""

from typing import ClassVar, Final, Self

import msgspec
import numpy as np

from detectors import scoring
from detectors.counters import KnownCounters
from detectors.parameters import check_bounds
from detectors.protocol import Ints, Scores, WindowBatch

CRITICAL_WEIGHT: Final = 100.0
"""What a critical error counts in the score, so that it stands out from any usual number of others."""


class XidParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``critical`` codes say that the GPU needs a reset or a replacement; any other is worth a ticket."""

    window_s: int = 10
    critical: tuple[int, ...] = (48, 63, 64, 74, 79, 94, 95)

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400))


class GpuXid:
    """XID errors of a GPU in a window: one for each, a hundred for each critical one.

    Parameters
    ----------
    params
        See :class:`XidParams`.

    Notes
    -----
    O(G) for G GPUs; 16 bytes of state each, so that the end of it is seen, no noise: each is an event of its own.
    The label lists the codes.
    """

    kind: ClassVar[str] = "gpu_xid"
    state_version: ClassVar[int] = 1

    def __init__(self, params: XidParams | None = None) -> None:
        self.params = params or XidParams()
        self.window_s = self.params.window_s
        self._counters = KnownCounters("xid")
        self._critical = frozenset(str(code) for code in self.params.critical)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every GPU with samples that ever had an XID error."""
        categories = windows.categories
        subject, places = self._counters.find(windows)
        score, value, labels = np.zeros(len(places)), np.zeros(len(places)), []
        for row, place in enumerate(places.tolist()):
            values = categories.values[place] if place >= 0 else ()
            counts = dict(zip(values, categories.cur[place].tolist() if values else (), strict=False))
            seen = sorted((code for code, n in counts.items() if n), key=lambda c: (c not in self._critical, c))
            critical = sum(counts[code] for code in seen if code in self._critical)
            value[row] = sum(counts[code] for code in seen)
            score[row] = value[row] + (CRITICAL_WEIGHT - 1) * critical
            labels.append(", ".join(seen))
        measured = scoring.Measured(score=score, floor=1.0, value=value, reference=0.0, label=labels)
        return scoring.scores(self.kind, "errors", subject, subject.rows > 0, measured)

    def forget(self, series: Ints) -> None:
        """Drop ``series``."""
        self._counters.forget(series)

    def to_bytes(self) -> bytes:
        """Which GPUs have the counter."""
        return self._counters.to_bytes(self.kind, self.state_version)

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector = cls(msgspec.convert(params, XidParams))
        detector._counters = KnownCounters.from_bytes(raw, cls.kind, cls.state_version, "xid")
        return detector
