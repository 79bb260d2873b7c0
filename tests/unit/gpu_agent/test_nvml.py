"""NVML's numbers as samples: units, nulls, losses, XIDs."""

import math
from types import SimpleNamespace

import msgspec
import pytest

from schemas.gpu import GpuSample
from streams.errors import UnavailableError
from streams.gpu_agent.nvml import Gpu, GpuLostError, find_gpus, open_nvml, plain, sample_from_nvml
from streams.gpu_agent.sources import NvmlSource
from streams.gpu_agent.xids import MAX_KEPT, XidWatch, _address
from tests.unit.gpu_agent import fake_nvml
from tests.unit.gpu_agent.fake_nvml import FakeNvml, NVMLError, value

GPU = Gpu("h0", "GPU-h0", 0, "H200")


def sampled(api: FakeNvml) -> GpuSample:
    sample = sample_from_nvml(api, GPU, ts_ms=1_000, host="node-1", model="llm", xid=[31])
    # What is sent can be read: bounds are only checked when decoding.
    assert msgspec.json.decode(msgspec.json.encode(sample), type=GpuSample) == sample
    return sample


def test_units_are_the_schemas() -> None:
    sample = sampled(FakeNvml())
    assert sample == GpuSample(
        ts_ms=1_000,
        host="node-1",
        gpu_uuid="GPU-h0",
        event_id="GPU-h0/1000",
        gpu_index=0,
        gpu_name="H200",
        model="llm",
        utilization_ratio=0.87,
        memory_utilization_ratio=0.4,
        memory_used_bytes=60 * 2**30,
        memory_reserved_bytes=512 * 2**20,
        memory_total_bytes=141 * 2**30,
        temperature_c=61,
        memory_temperature_c=70,
        power_w=412_345 * 1e-3,
        power_limit_w=700.0,
        energy_j_total=9_876_543_210 * 1e-3,
        sm_clock_hz=1.755e9,
        sm_clock_max_hz=1.98e9,
        memory_clock_hz=3.201e9,
        fan_speed_ratio=None,
        clocks_event_reasons=0x24,
        ecc_corrected_total=3,
        ecc_uncorrected_total=0,
        remapped_rows_corrected_total=1,
        remapped_rows_uncorrected_total=2,
        remap_failures_total=0,
        pcie_replays_total=5,
        nvlink_errors_total=10,
        xid=[31],
    )


def test_a_device_that_supports_nothing_is_all_null_never_zero() -> None:
    api = FakeNvml()
    api.answers = dict.fromkeys(api.answers, NVMLError(fake_nvml.NOT_SUPPORTED))
    said = msgspec.to_builtins(sampled(api))
    assert said.keys() == {"ts_ms", "host", "gpu_uuid", "event_id", "gpu_index", "gpu_name", "model", "xid"}


def test_a_library_that_lacks_functions_is_like_a_device_that_lacks_support() -> None:
    api = FakeNvml()
    api.answers = {"nvmlDeviceGetTemperature": 50}
    assert sampled(api).temperature_c == 50


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetTemperature", "temperature_c"),
        ("nvmlDeviceGetPowerUsage", "power_w"),
        ("nvmlDeviceGetTotalEnergyConsumption", "energy_j_total"),
        ("nvmlDeviceGetPcieReplayCounter", "pcie_replays_total"),
        ("nvmlDeviceGetCurrentClocksEventReasons", "clocks_event_reasons"),
    ],
)
@pytest.mark.parametrize("blank", [0x7FFFFFFFFFFFFFF0, 2**63, 2**64 - 1])
def test_blanks_are_null(function: str, field: str, blank: int) -> None:
    api = FakeNvml()
    api.answers[function] = blank
    assert getattr(sampled(api), field) is None


def test_a_blank_of_32_bits_is_null_where_the_number_has_32() -> None:
    api = FakeNvml()
    api.answers["nvmlDeviceGetPowerUsage"] = 0xFFFFFFFF
    api.answers["nvmlDeviceGetTotalEnergyConsumption"] = 0xFFFFFFFF
    assert sampled(api).power_w is None
    assert sampled(api).energy_j_total == pytest.approx(0xFFFFFFFF / 1000)
    assert plain(math.nan) is None


def test_under_mig_there_is_no_utilisation() -> None:
    api = FakeNvml()
    api.answers["nvmlDeviceGetMigMode"] = [1, 1]
    sample = sampled(api)
    assert (sample.utilization_ratio, sample.memory_utilization_ratio) == (None, None)
    assert sample.temperature_c == 61


def test_old_drivers_are_asked_in_their_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeNvml()
    api.answers["nvmlDeviceGetCurrentClocksEventReasons"] = NVMLError(fake_nvml.FUNCTION_NOT_FOUND)
    api.answers["nvmlDeviceGetCurrentClocksThrottleReasons"] = 0x40
    assert sampled(api).clocks_event_reasons == 0x40

    def memory(handle: str, version: int | None = None) -> SimpleNamespace:
        if version is not None:
            raise NVMLError(fake_nvml.FUNCTION_NOT_FOUND)
        return SimpleNamespace(used=7, total=9)

    monkeypatch.setattr(api, "nvmlDeviceGetMemoryInfo", memory, raising=False)
    sample = sampled(api)
    assert (sample.memory_used_bytes, sample.memory_reserved_bytes, sample.memory_total_bytes) == (7, None, 9)


def test_links_that_are_not_there_are_left_out_of_the_sum() -> None:
    api = FakeNvml()
    refused = value(9, refusal=fake_nvml.NOT_SUPPORTED)
    api.answers["nvmlDeviceGetFieldValues"] |= {38: refused, 45: refused}
    assert sampled(api).nvlink_errors_total == 7
    api.answers["nvmlDeviceGetFieldValues"] |= {52: refused, 59: refused}
    assert sampled(api).nvlink_errors_total is None


@pytest.mark.parametrize("code", [fake_nvml.GPU_IS_LOST, fake_nvml.RESET_REQUIRED])
def test_a_loss_is_told_from_a_refusal(code: int) -> None:
    api = FakeNvml()
    api.answers["nvmlDeviceGetPowerUsage"] = NVMLError(code)
    with pytest.raises(GpuLostError):
        sampled(api)


def test_one_lost_gpu_does_not_stop_the_others_and_may_come_back() -> None:
    api = FakeNvml()
    source = NvmlSource("node-1", api=api)
    try:
        api.refusals["h0"] = NVMLError(fake_nvml.GPU_IS_LOST)
        lost, well = source.read(1_000)
        assert (lost.gpu_uuid, lost.temperature_c, lost.gpu_name) == ("GPU-h0", None, "H200")
        assert (well.gpu_uuid, well.temperature_c) == ("GPU-h1", 61)
        api.refusals.clear()
        assert [sample.temperature_c for sample in source.read(2_000)] == [61, 61]
    finally:
        source.close()
    assert (api.open, api.freed) == (0, True)


def test_a_gpu_that_is_lost_at_the_start_is_left_out() -> None:
    api = FakeNvml()
    api.refusals["h1"] = NVMLError(fake_nvml.GPU_IS_LOST)
    assert [gpu.uuid for gpu in find_gpus(api)] == ["GPU-h0"]
    api.refusals["h0"] = NVMLError(fake_nvml.GPU_IS_LOST)
    with pytest.raises(UnavailableError, match="nvidia-smi"):
        find_gpus(api)


@pytest.mark.parametrize("code", [fake_nvml.LIBRARY_NOT_FOUND, fake_nvml.DRIVER_NOT_LOADED, 999])
def test_without_nvml_the_error_says_what_to_do(code: int) -> None:
    api = FakeNvml()
    api.init_error = NVMLError(code)
    with pytest.raises(UnavailableError, match="--simulate"):
        open_nvml(api)


def test_each_xid_comes_once_with_its_gpu_repeats_included() -> None:
    api = FakeNvml()
    watch = XidWatch(api, find_gpus(api))
    for handle, code in (("h0", 48), ("h1", 79), ("h0", 48)):
        api.xid(handle, code)
        assert watch.poll(1_000)
    assert not watch.poll(1)
    assert (watch.take("GPU-h0"), watch.take("GPU-h1")) == ([48, 48], [79])
    assert (watch.take("GPU-h0"), watch.take("GPU-elsewhere")) == ([], None)


def test_the_xid_of_a_gpu_that_answers_no_more_still_has_its_name() -> None:
    api = FakeNvml()
    watch = XidWatch(api, find_gpus(api))
    api.refusals["h0"] = NVMLError(fake_nvml.GPU_IS_LOST)
    api.xid("h0", 79)
    watch.poll(1_000)
    assert watch.take("GPU-h0") == [79]


def test_events_of_other_kinds_and_of_others_are_passed_over() -> None:
    api = FakeNvml()
    watch = XidWatch(api, find_gpus(api))
    api.xid("h0", 3, kind=4)
    api.xid("h9", 48)
    assert watch.poll(1_000)
    assert watch.poll(1_000)
    assert watch.take("GPU-h0") == []


def test_xids_are_bounded_and_can_be_put_back() -> None:
    api = FakeNvml()
    watch = XidWatch(api, find_gpus(api))
    for _ in range(MAX_KEPT + 5):
        api.xid("h0", 31)
        watch.poll(1_000)
    taken = watch.take("GPU-h0") or []
    assert len(taken) == MAX_KEPT
    api.xid("h0", 48)
    watch.poll(1_000)
    watch.put_back("GPU-h0", taken[:2])
    assert watch.take("GPU-h0") == [31, 31, 48]


def test_where_events_are_not_supported_xids_are_unknown_not_none_at_all() -> None:
    api = FakeNvml()
    api.event_error = NVMLError(fake_nvml.NOT_SUPPORTED)
    source = NvmlSource("node-1", api=api)
    try:
        assert [sample.xid for sample in source.read(1_000)] == [None, None]
    finally:
        source.close()


def test_the_event_thread_collects_until_it_is_stopped() -> None:
    api = FakeNvml()
    source = NvmlSource("node-1", api=api)
    try:
        api.xid("h1", 94)
        found: list[int] = []
        for tick in range(10_000):
            found += source.read(tick)[1].xid or []
            if found:
                break
        assert found == [94]
    finally:
        source.close()


def test_a_handle_is_known_again_by_where_it_points() -> None:
    pynvml = pytest.importorskip("pynvml")
    devices = [pynvml.struct_c_nvmlDevice_t() for _ in range(2)]
    wrapped = [[pynvml.c_nvmlDevice_t(device) for _ in range(2)] for device in devices]
    assert wrapped[0][0] != wrapped[0][1]
    assert _address(wrapped[0][0]) == _address(wrapped[0][1]) != _address(wrapped[1][0])
