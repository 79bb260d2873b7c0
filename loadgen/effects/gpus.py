"""Effects on GPUs: heat, errors, leaks, idleness, one that is slower than the others."""

from typing import Annotated, Final

import numpy as np
from msgspec import Meta

from loadgen.columns import Floats, Ints
from loadgen.distributions import Positive
from loadgen.effects.struck import EffectData, Struck
from schemas.common import NonNegative, Ratio
from schemas.gpu import CLOCKS_EVENT_REASONS

_BITS: Final = {name: bit for bit, name in CLOCKS_EVENT_REASONS.items()}


class Throttle(EffectData, frozen=True, tag="throttle"):
    """A GPU gets ``warmer_c`` warmer within minutes; over ``throttles_over_c`` its clock falls and it says why."""

    warmer_c: NonNegative
    clock_ratio: Annotated[float, Meta(gt=0, le=1)]
    reason: str = "hw_thermal_slowdown"
    throttles_over_c: float = 87.0
    warms_up_in_s: Positive = 180.0

    def strike(self, gauges: dict[str, Floats], reasons: Ints, struck: Struck) -> tuple[dict[str, Floats], Ints]:
        """Gauges and reason bits as they are read."""
        warmer = self.warmer_c * struck.strength * (1 - np.exp(-struck.since_s / self.warms_up_in_s))
        temperature = gauges["temperature_c"] + warmer
        hot = (temperature > self.throttles_over_c) & (struck.strength > 0)
        clock = np.where(hot, gauges["sm_clock_hz"] * self.clock_ratio, gauges["sm_clock_hz"])
        changed = {
            "temperature_c": temperature,
            "memory_temperature_c": gauges["memory_temperature_c"] + warmer,
            "sm_clock_hz": clock,
            "power_w": np.where(hot, gauges["power_w"] * self.clock_ratio, gauges["power_w"]),
        }
        return {**gauges, **changed}, np.where(hot, reasons | _bit(self.reason), reasons)

    def describe(self) -> str:
        """What is done, in words."""
        return f"{self.warmer_c:g} °C warmer, clock × {self.clock_ratio:g} over {self.throttles_over_c:g} °C"

    @property
    def magnitude(self) -> float:
        """Degrees."""
        return self.warmer_c


class Xid(EffectData, frozen=True, tag="xid"):
    """The driver reports this XID, first at the onset and again every so often."""

    code: Annotated[int, Meta(ge=0)]
    every_s: Positive

    def reported(self, struck: Struck, sample_s: float) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]":
        """bool[n]: samples in whose span it came."""
        return (struck.strength > 0) & (struck.since_s % self.every_s < sample_s)

    def describe(self) -> str:
        """What is done, in words."""
        return f"XID {self.code} every {self.every_s:g} s"

    @property
    def magnitude(self) -> float:
        """The code."""
        return float(self.code)


class Ecc(EffectData, frozen=True, tag="ecc"):
    """Memory errors are counted; the injection's end is the reset that clears the counts."""

    uncorrected_per_h: NonNegative
    corrected_per_h: NonNegative = 0.0

    def strike(self, gauges: dict[str, Floats], reasons: Ints, struck: Struck) -> tuple[dict[str, Floats], Ints]:
        """Gauges and reason bits as they are read."""
        hours = struck.since_s / 3600 * (struck.strength > 0)
        counted = {
            "ecc_uncorrected_total": np.ceil(hours * self.uncorrected_per_h),
            "ecc_corrected_total": np.ceil(hours * self.corrected_per_h),
        }
        return {**gauges, **{name: gauges[name] + extra for name, extra in counted.items()}}, reasons

    def describe(self) -> str:
        """What is done, in words."""
        return f"{self.uncorrected_per_h:g} uncorrected and {self.corrected_per_h:g} corrected memory errors an hour"

    @property
    def magnitude(self) -> float:
        """Uncorrected errors an hour, or corrected ones where there are none."""
        return self.uncorrected_per_h or self.corrected_per_h


class Leak(EffectData, frozen=True, tag="memory_leak"):
    """Memory is not given back, up to all that there is; the injection's end is the restart."""

    bytes_per_s: NonNegative

    def strike(self, gauges: dict[str, Floats], reasons: Ints, struck: Struck) -> tuple[dict[str, Floats], Ints]:
        """Gauges and reason bits as they are read."""
        leaked = gauges["memory_used_bytes"] + self.bytes_per_s * struck.since_s * struck.strength
        return {**gauges, "memory_used_bytes": np.minimum(leaked, gauges["memory_total_bytes"] * 0.995)}, reasons

    def describe(self) -> str:
        """What is done, in words."""
        return f"{self.bytes_per_s / 2**20:.1f} MiB/s of memory lost"

    @property
    def magnitude(self) -> float:
        """Bytes a second."""
        return self.bytes_per_s


class Load(EffectData, frozen=True, tag="load"):
    """The work that reaches the GPUs is multiplied by ``factor``, >= 0."""

    factor: NonNegative

    def strike_load(self, load: Floats, struck: Struck) -> Floats:
        """The load, float64[n], 0…1."""
        return np.clip(load * struck.toward(self.factor), 0.0, 1.0)

    def describe(self) -> str:
        """What is done, in words."""
        return f"load × {self.factor:g}"

    @property
    def magnitude(self) -> float:
        """The factor."""
        return self.factor


class Idle(EffectData, frozen=True, tag="idle"):
    """No work reaches the GPUs any more; they keep their memory. See :class:`loadgen.models.gpus.GpuHost`."""

    utilization_ratio: Ratio = 0.0

    def strike_load(self, load: Floats, struck: Struck) -> Floats:
        """The load, float64[n], 0…1."""
        return np.where(struck.strength > 0, np.minimum(load, self.utilization_ratio), load)

    def describe(self) -> str:
        """What is done, in words."""
        return f"utilisation {self.utilization_ratio:.0%} with memory held"

    @property
    def magnitude(self) -> float:
        """The utilisation that is left."""
        return self.utilization_ratio


class SlowGpu(EffectData, frozen=True, tag="slow_gpu"):
    """A GPU runs at a lower clock than the others under the same work, and says no reason."""

    clock_ratio: Annotated[float, Meta(gt=0, le=1)]

    def strike(self, gauges: dict[str, Floats], reasons: Ints, struck: Struck) -> tuple[dict[str, Floats], Ints]:
        """Gauges and reason bits as they are read: the same work takes it longer."""
        ratio = struck.factor(self.clock_ratio)
        changed = {
            "sm_clock_hz": gauges["sm_clock_hz"] * ratio,
            "power_w": gauges["power_w"] * ratio,
            "utilization_ratio": np.minimum(gauges["utilization_ratio"] / ratio, 1.0),
        }
        return {**gauges, **changed}, reasons

    def describe(self) -> str:
        """What is done, in words."""
        return f"clock × {self.clock_ratio:g}"

    @property
    def magnitude(self) -> float:
        """The ratio of its clock to the others'."""
        return self.clock_ratio


GaugeEffect = Throttle | Ecc | Leak | SlowGpu
LoadEffect = Idle | Load
GpuEffect = GaugeEffect | LoadEffect | Xid


def _bit(reason: str) -> int:
    if reason not in _BITS:
        raise ValueError(f"no throttle reason {reason!r}; there are {', '.join(_BITS)}")
    return _BITS[reason]
