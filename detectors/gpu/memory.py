"""A GPU whose memory is nearly full: the next allocation may fail."""

from typing import ClassVar

import msgspec
import numpy as np

from detectors import scoring
from detectors.gpu.gauges import places_of
from detectors.parameters import check_bounds
from detectors.protocol import Scores, WindowBatch
from detectors.stateless import Stateless


class GpuMemoryParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """More than ``limit_ratio`` of the memory in use. Raise it where a server takes its share up front."""

    window_s: int = 10
    limit_ratio: float = 0.95

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), limit_ratio=(0, 1))


class GpuMemory(Stateless[GpuMemoryParams]):
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
    params_type = GpuMemoryParams

    def step(self, windows: WindowBatch) -> Scores:
        """Score every ``memory_used_ratio`` that has a value."""
        numeric = windows.numeric
        places = places_of(numeric, "memory_used_ratio")
        value = numeric.mean[places]
        measured = scoring.Measured(
            score=np.maximum(value, 0), floor=self.params.limit_ratio, reference=numeric.ref_mean[places]
        )
        ready = (numeric.count[places] > 0) & ~np.isnan(value)
        return scoring.scores(self.kind, "of memory", scoring.numeric_subject(numeric, places), ready, measured)
