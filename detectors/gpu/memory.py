"""A GPU whose memory is nearly full: the next allocation may fail."""

from typing import ClassVar, Self

import msgspec
import numpy as np

from detectors import scoring, state
from detectors.parameters import check_bounds
from detectors.protocol import Ints, Scores, WindowBatch


class GpuMemoryParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """More than ``limit_ratio`` of the memory in use. Raise it where a server takes its share up front."""

    window_s: int = 10
    limit_ratio: float = 0.95

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), limit_ratio=(0, 1))


class GpuMemory:
    """Mean of ``memory_used_ratio``, 0…1.

    Parameters
    ----------
    params
        See :class:`GpuMemoryParams`.

    Notes
    -----
    O(N), no state, no noise: a gauge is what it is.
    """

    kind: ClassVar[str] = "gpu_memory"
    state_version: ClassVar[int] = 1

    def __init__(self, params: GpuMemoryParams | None = None) -> None:
        self.params = params or GpuMemoryParams()
        self.window_s = self.params.window_s

    def step(self, windows: WindowBatch) -> Scores:
        """Score every ``memory_used_ratio`` that has a value."""
        numeric = windows.numeric
        places = np.array([i for i, name in enumerate(numeric.name) if name == "memory_used_ratio"], np.int64)
        value = numeric.mean[places]
        measured = scoring.Measured(
            score=np.maximum(value, 0), floor=self.params.limit_ratio, reference=numeric.ref_mean[places]
        )
        ready = (numeric.count[places] > 0) & ~np.isnan(value)
        return scoring.scores(self.kind, "of memory", scoring.numeric_subject(numeric, places), ready, measured)

    def forget(self, series: Ints) -> None:
        """Nothing is kept of a series."""

    def to_bytes(self) -> bytes:
        """No state but its version."""
        return state.pack(self.kind, self.state_version, {})

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        state.unpack(raw, cls.kind, cls.state_version)
        return cls(msgspec.convert(params, GpuMemoryParams))
