"""NVML's numbers as samples: units of the schema, null for what a device does not say.

The library is handed in (module ``pynvml``, or what behaves like it), so that the mapping is tested without a GPU.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from schemas.gpu import GpuSample
from streams.errors import UnavailableError

Nvml: TypeAlias = Any
"""The module ``pynvml``. It ships no types."""
Handle: TypeAlias = Any

LIBRARY_NOT_FOUND: Final = 12
DRIVER_NOT_LOADED: Final = 9
GPU_IS_LOST: Final = 15
RESET_REQUIRED: Final = 16
TIMEOUT: Final = 10

_BLANK_FROM: Final = 2**62
"""No counter gets here; the blanks that drivers and exporters give lie just below 2⁶³ or are all ones."""
_BLANKS_32: Final = frozenset({0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFFFF0, 0x7FFFFFF1, 0x7FFFFFF2, 0x7FFFFFF3})
_MEMORY_TEMPERATURE: Final = "NVML_FI_DEV_MEMORY_TEMP"
_NVLINK_ERRORS: Final = (
    "NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",
    "NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL",
    "NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL",
    "NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL",
)
# nvmlValueType_t: double, unsigned int, unsigned long, unsigned long long, signed long long, signed int, unsigned short
_VALUE_FIELDS: Final = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


class GpuLostError(Exception):
    """The GPU does not answer any more: it fell off the bus, or wants a reset."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as it was found when the agent started."""

    handle: Handle
    uuid: str
    index: int
    name: str


def open_nvml(api: Nvml | None = None) -> Nvml:
    """Load and initialise NVML.

    Raises
    ------
    UnavailableError
        If the library or the driver is not there.
    """
    library = importlib.import_module("pynvml") if api is None else api
    todo = "Install NVIDIA's driver for this machine's GPUs, or run with --simulate 1."
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        if error.value == LIBRARY_NOT_FOUND:
            raise UnavailableError("NVML was not found.", "libnvidia-ml.so.1", todo) from error
        if error.value == DRIVER_NOT_LOADED:
            raise UnavailableError("The NVIDIA driver is not loaded.", "NVML", todo) from error
        raise UnavailableError(f"NVML does not start: {error}.", "NVML", todo) from error
    return library


def find_gpus(api: Nvml) -> list[Gpu]:
    """Every GPU that answers. One that does not is left out.

    Raises
    ------
    UnavailableError
        If there is none.
    """
    found = []
    for index in range(api.nvmlDeviceGetCount()):
        try:
            handle = api.nvmlDeviceGetHandleByIndex(index)
            uuid, name = _text(api.nvmlDeviceGetUUID(handle)), _text(api.nvmlDeviceGetName(handle))
        except api.NVMLError:
            continue
        found.append(Gpu(handle, uuid, index, name))
    if not found:
        raise UnavailableError("There is no GPU that answers.", "NVML", "See what 'nvidia-smi' says.")
    return found


def sample_from_nvml(
    api: Nvml, gpu: Gpu, *, ts_ms: int, host: str, model: str | None = None, xid: Sequence[int] | None = None
) -> GpuSample:
    """One sample of one GPU.

    Parameters
    ----------
    api
        Module ``pynvml``, initialised.
    gpu
        From :func:`find_gpus`.
    ts_ms, host, model
        When (ms since 1970), on which host, serving what.
    xid
        XID errors since the last sample; None where they cannot be told.

    Raises
    ------
    GpuLostError
        If the GPU is lost or wants a reset: nothing else it says counts.
    """
    device = _Device(api, gpu.handle)
    under_mig = device.number("nvmlDeviceGetMigMode", part=lambda modes: modes[0]) == 1
    # Under MIG the GPU as a whole has no utilisation; what a driver gives there is not to be believed.
    busy = None if under_mig else device.ask("nvmlDeviceGetUtilizationRates")
    memory = device.memory()
    fields = device.fields((_MEMORY_TEMPERATURE, *_NVLINK_ERRORS))
    link_errors = [count for name in _NVLINK_ERRORS if (count := fields[name]) is not None]
    remapped = device.ask("nvmlDeviceGetRemappedRows") or (None, None, None, None)
    sm_clock = device.constant("NVML_CLOCK_SM")
    return GpuSample(
        ts_ms=ts_ms,
        host=host,
        gpu_uuid=gpu.uuid,
        event_id=f"{gpu.uuid}/{ts_ms}",
        gpu_index=gpu.index,
        gpu_name=gpu.name,
        model=model,
        utilization_ratio=_ratio(plain(busy.gpu, bits=32)) if busy is not None else None,
        memory_utilization_ratio=_ratio(plain(busy.memory, bits=32)) if busy is not None else None,
        memory_used_bytes=plain(getattr(memory, "used", None)),
        memory_reserved_bytes=plain(getattr(memory, "reserved", None)),
        memory_total_bytes=plain(getattr(memory, "total", None)),
        temperature_c=device.number("nvmlDeviceGetTemperature", device.constant("NVML_TEMPERATURE_GPU")),
        memory_temperature_c=fields[_MEMORY_TEMPERATURE],
        power_w=_scaled(device.number("nvmlDeviceGetPowerUsage"), 1e-3),
        power_limit_w=_scaled(device.number("nvmlDeviceGetEnforcedPowerLimit"), 1e-3),
        energy_j_total=_scaled(device.number("nvmlDeviceGetTotalEnergyConsumption", bits=64), 1e-3),
        sm_clock_hz=_scaled(device.number("nvmlDeviceGetClockInfo", sm_clock), 1e6),
        sm_clock_max_hz=_scaled(device.number("nvmlDeviceGetMaxClockInfo", sm_clock), 1e6),
        memory_clock_hz=_scaled(device.number("nvmlDeviceGetClockInfo", device.constant("NVML_CLOCK_MEM")), 1e6),
        fan_speed_ratio=_scaled(device.number("nvmlDeviceGetFanSpeed"), 0.01),
        clocks_event_reasons=device.reasons(),
        ecc_corrected_total=device.ecc("NVML_MEMORY_ERROR_TYPE_CORRECTED"),
        ecc_uncorrected_total=device.ecc("NVML_MEMORY_ERROR_TYPE_UNCORRECTED"),
        remapped_rows_corrected_total=plain(remapped[0], bits=32),
        remapped_rows_uncorrected_total=plain(remapped[1], bits=32),
        remap_failures_total=plain(remapped[3], bits=32),
        pcie_replays_total=device.number("nvmlDeviceGetPcieReplayCounter"),
        nvlink_errors_total=sum(link_errors) if link_errors else None,
        xid=None if xid is None else list(xid),
    )


def lost_sample(
    gpu: Gpu, *, ts_ms: int, host: str, model: str | None = None, xid: Sequence[int] | None = None
) -> GpuSample:
    """What is known of a GPU that does not answer: that it should, and its last errors."""
    return GpuSample(
        ts_ms=ts_ms,
        host=host,
        gpu_uuid=gpu.uuid,
        event_id=f"{gpu.uuid}/{ts_ms}",
        gpu_index=gpu.index,
        gpu_name=gpu.name,
        model=model,
        xid=None if xid is None else list(xid),
    )


def plain(value: float | None, *, bits: int = 64) -> float | None:
    """The value, or None where it is one of the marks for "no value".

    Parameters
    ----------
    value
        As NVML gives it.
    bits
        Its width, 32 or 64: all ones in 32 bits is a mark there, and a number in 64.

    Examples
    --------
    >>> plain(0x7FFFFFFFFFFFFFF0), plain(0xFFFFFFFF, bits=32), plain(0xFFFFFFFF), plain(61.0)
    (None, None, 4294967295, 61.0)
    """
    if value is None or value != value or value >= _BLANK_FROM or value < 0:  # noqa: PLR0124 - NaN
        return None
    return None if bits == 32 and value in _BLANKS_32 else value


class _Device:
    """Questions to one GPU: a refusal is None, a loss is raised."""

    def __init__(self, api: Nvml, handle: Handle) -> None:
        self._api = api
        self._handle = handle

    def constant(self, name: str) -> Any:  # noqa: ANN401 - an NVML enum
        return getattr(self._api, name)

    def ask(self, function: str, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - what NVML takes and gives
        """The answer; None if the device, the driver or the library does not know the question."""
        call = getattr(self._api, function, None)
        if call is None:
            return None
        try:
            return call(self._handle, *arguments, **named)
        except self._api.NVMLError as error:
            if error.value in (GPU_IS_LOST, RESET_REQUIRED):
                raise GpuLostError(str(error)) from error
            return None

    def number(
        self,
        function: str,
        *arguments: Any,  # noqa: ANN401 - NVML's enums
        bits: int = 32,
        part: Callable[[Any], float] | None = None,
    ) -> float | None:
        answer = self.ask(function, *arguments)
        return None if answer is None else plain(part(answer) if part else answer, bits=bits)

    def memory(self) -> Any:  # noqa: ANN401 - an NVML structure
        """Version 2 tells what the driver reserves; older drivers do not have it."""
        version = getattr(self._api, "nvmlMemory_v2", None)
        known = self.ask("nvmlDeviceGetMemoryInfo", version=version) if version is not None else None
        return known if known is not None else self.ask("nvmlDeviceGetMemoryInfo")

    def reasons(self) -> int | None:
        """The mask of what holds the clocks down, under its present or its former name."""
        for function in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
            mask = self.number(function, bits=64)
            if mask is not None:
                return int(mask)
        return None

    def ecc(self, kind: str) -> float | None:
        """Errors since the driver was loaded."""
        since_load = self.constant("NVML_VOLATILE_ECC")
        return self.number("nvmlDeviceGetTotalEccErrors", self.constant(kind), since_load, bits=64)

    def fields(self, names: Sequence[str]) -> dict[str, float | None]:
        """Field values by name, asked for in one call."""
        wanted = {name: number for name in names if (number := getattr(self._api, name, None)) is not None}
        found: dict[str, float | None] = dict.fromkeys(names)
        answers = self.ask("nvmlDeviceGetFieldValues", list(wanted.values())) if wanted else None
        for name, answer in zip(wanted, answers or (), strict=False):
            if answer.nvmlReturn == 0 and 0 <= answer.valueType < len(_VALUE_FIELDS):
                value = getattr(answer.value, _VALUE_FIELDS[answer.valueType])
                found[name] = plain(value, bits=32 if answer.valueType == 1 else 64)
        return found


def _ratio(percent: float | None) -> float | None:
    return None if percent is None else min(percent / 100, 1.0)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _text(raw: str | bytes) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
