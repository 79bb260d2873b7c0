"""GPU telemetry: one sample of one GPU. Topic ``gpu-telemetry``."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from schemas.common import INT64_MAX, NonNegative, Ratio, TimeMs

CLOCKS_EVENT_REASONS: Final[dict[int, str]] = {
    0x01: "gpu_idle",
    0x02: "applications_clocks_setting",
    0x04: "sw_power_cap",
    0x08: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
"""Bits of ``clocks_event_reasons``, NVML's own; a bit that is not here is named ``bit_9`` and so on."""


class GpuSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One sample of one GPU. What the device does not support is null, never 0.

    Totals only ever grow while the driver is loaded. Every field but ``ts_ms``, ``host`` and ``gpu_uuid`` may be left
    out or null.
    """

    ts_ms: TimeMs
    host: str
    gpu_uuid: str
    event_id: str | None = None
    gpu_index: Annotated[int, Meta(ge=0)] | None = None
    gpu_name: str | None = None
    model: Annotated[str, Meta(description="The model this GPU serves.")] | None = None
    utilization_ratio: Annotated[Ratio, Meta(description="Share of time with a kernel resident.")] | None = None
    memory_utilization_ratio: Annotated[Ratio, Meta(description="Share of time memory was accessed.")] | None = None
    memory_used_bytes: NonNegative | None = None
    memory_reserved_bytes: NonNegative | None = None
    memory_total_bytes: NonNegative | None = None
    temperature_c: float | None = None
    memory_temperature_c: float | None = None
    power_w: NonNegative | None = None
    power_limit_w: NonNegative | None = None
    energy_j_total: NonNegative | None = None
    sm_clock_hz: NonNegative | None = None
    sm_clock_max_hz: NonNegative | None = None
    memory_clock_hz: NonNegative | None = None
    fan_speed_ratio: NonNegative | None = None
    clocks_event_reasons: Annotated[int, Meta(ge=0, le=INT64_MAX, description="NVML's bit mask.")] | None = None
    ecc_corrected_total: NonNegative | None = None
    ecc_uncorrected_total: NonNegative | None = None
    remapped_rows_corrected_total: NonNegative | None = None
    remapped_rows_uncorrected_total: NonNegative | None = None
    remap_failures_total: NonNegative | None = None
    pcie_replays_total: NonNegative | None = None
    nvlink_errors_total: NonNegative | None = None
    xid: (
        Annotated[list[Annotated[int, Meta(ge=0, le=INT64_MAX)]], Meta(description="Since the last sample.")] | None
    ) = None
