"""A module like pynvml whose answers and refusals are set per test."""

import queue
from types import SimpleNamespace
from typing import Any

NOT_SUPPORTED, FUNCTION_NOT_FOUND, GPU_IS_LOST, RESET_REQUIRED, TIMEOUT = 3, 13, 15, 16, 10
LIBRARY_NOT_FOUND, DRIVER_NOT_LOADED = 12, 9


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"NVML error {value}")
        self.value = value


def value(number: float, kind: int = 3, refusal: int = 0) -> SimpleNamespace:
    """A field value: kind 1 is an unsigned int, 3 an unsigned long long."""
    names = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
    return SimpleNamespace(nvmlReturn=refusal, valueType=kind, value=SimpleNamespace(**{names[kind]: number}))


class FakeNvml:
    """Two GPUs, ``h0`` and ``h1``, with every answer; an answer that is an exception is raised."""

    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU, NVML_VOLATILE_ECC = 1, 2, 0, 0
    NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 0, 1
    NVML_FI_DEV_MEMORY_TEMP = 82
    NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL = 38
    NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL = 45
    NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL = 52
    NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL = 59

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.open = 0
        self.freed = False
        self.nvmlMemory_v2 = 0x2000028
        self.nvmlEventTypeXidCriticalError = 8
        self.answers: dict[str, Any] = {
            "nvmlDeviceGetName": b"H200",
            "nvmlDeviceGetMigMode": [0, 0],
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=87, memory=40),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=60 * 2**30, reserved=512 * 2**20, total=141 * 2**30),
            "nvmlDeviceGetTemperature": 61,
            "nvmlDeviceGetPowerUsage": 412_345,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetTotalEnergyConsumption": 9_876_543_210,
            "nvmlDeviceGetClockInfo": {1: 1_755, 2: 3_201},
            "nvmlDeviceGetMaxClockInfo": {1: 1_980},
            "nvmlDeviceGetFanSpeed": NVMLError(NOT_SUPPORTED),
            "nvmlDeviceGetCurrentClocksEventReasons": 0x24,
            "nvmlDeviceGetTotalEccErrors": {0: 3, 1: 0},
            "nvmlDeviceGetRemappedRows": (1, 2, 0, 0),
            "nvmlDeviceGetPcieReplayCounter": 5,
            "nvmlDeviceGetFieldValues": {82: value(70, kind=1), 38: value(1), 45: value(2), 52: value(3), 59: value(4)},
        }
        self.refusals: dict[str, NVMLError] = {}
        self.init_error: NVMLError | None = None
        self.event_error: NVMLError | None = None

    def __getattr__(self, name: str) -> Any:
        if name not in self.answers:
            raise AttributeError(name)

        def call(handle: str, *arguments: Any, **named: Any) -> Any:
            refusal = self.refusals.get(handle)
            answer = refusal or self.answers[name]
            if isinstance(answer, Exception):
                raise answer
            if name == "nvmlDeviceGetFieldValues":
                return [answer[number] for number in arguments[0]]
            return answer[arguments[0]] if isinstance(answer, dict) else answer

        return call

    def nvmlInit(self) -> None:
        if self.init_error:
            raise self.init_error
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"h{index}"

    def nvmlDeviceGetUUID(self, handle: str) -> str:
        if handle in self.refusals:
            raise self.refusals[handle]
        return f"GPU-{handle}"

    def nvmlEventSetCreate(self) -> object:
        if self.event_error:
            raise self.event_error
        return object()

    def nvmlDeviceRegisterEvents(self, handle: str, kind: int, events: object) -> None:
        if self.event_error:
            raise self.event_error

    def nvmlEventSetWait_v2(self, events: object, timeout_ms: int) -> Any:
        try:
            return self.events.get(timeout=min(timeout_ms, 20) / 1000)
        except queue.Empty:
            raise NVMLError(TIMEOUT) from None

    def nvmlEventSetFree(self, events: object) -> None:
        self.freed = True

    def xid(self, handle: str, code: int, kind: int = 8) -> None:
        self.events.put(SimpleNamespace(device=handle, eventType=kind, eventData=code))
