"""Where samples come from: this host's GPUs, a recording, or a seeded simulation."""

import logging
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from schemas.gpu import GpuSample
from streams.errors import ConfigError
from streams.gpu_agent.nvml import GpuLostError, Nvml, find_gpus, lost_sample, open_nvml, sample_from_nvml
from streams.gpu_agent.xids import XidWatch

log = logging.getLogger(__name__)


class Source(Protocol):
    """Gives a sample of every GPU."""

    def read(self, ts_ms: int) -> list[GpuSample]:
        """Samples as of ``ts_ms`` (ms since 1970). May wait for the driver: not to be called on an event loop."""
        ...

    def put_back(self, samples: Sequence[GpuSample]) -> None:
        """Samples that could not be sent: their XIDs come again with the next."""
        ...

    def close(self) -> None:
        """Let go of the devices."""
        ...


class NvmlSource:
    """The GPUs of this host.

    Parameters
    ----------
    host
        Name of this machine in the samples.
    model
        The model its GPUs serve, if it is known.
    api
        Module ``pynvml``; loaded where None.

    Raises
    ------
    UnavailableError
        If there is no NVML, no driver, or no GPU.
    """

    def __init__(self, host: str, model: str | None = None, api: Nvml | None = None) -> None:
        self._host, self._model = host, model
        self._api = open_nvml(api)
        self._gpus = find_gpus(self._api)
        self._lost: set[str] = set()
        self._xids = XidWatch(self._api, self._gpus)
        self._xids.start()

    def read(self, ts_ms: int) -> list[GpuSample]:
        """A sample of each GPU; of one that is lost, who it is and its errors."""
        samples = []
        for gpu in self._gpus:
            try:
                measured = sample_from_nvml(self._api, gpu, ts_ms=ts_ms, host=self._host, model=self._model)
                self._lost.discard(gpu.uuid)
            except GpuLostError as error:
                measured = lost_sample(gpu, ts_ms=ts_ms, host=self._host, model=self._model)
                if gpu.uuid not in self._lost:
                    log.warning("GPU %s (%s) is lost: %s", gpu.index, gpu.uuid, error)
                self._lost.add(gpu.uuid)
            samples.append(msgspec.structs.replace(measured, xid=self._xids.take(gpu.uuid)))
        return samples

    def put_back(self, samples: Sequence[GpuSample]) -> None:
        """Return the XIDs of samples that could not be sent."""
        for sample in samples:
            self._xids.put_back(sample.gpu_uuid, sample.xid or ())

    def close(self) -> None:
        """End the event thread and NVML."""
        self._xids.stop()
        self._api.nvmlShutdown()


class RecordedSource:
    """Samples out of a file, one JSON object a line, played in a circle as if they were taken now.

    Consecutive lines of one time are one reading.

    Raises
    ------
    ConfigError
        If the file cannot be read, is empty, or a line is no sample.
    """

    def __init__(self, path: Path) -> None:
        self._readings = _readings(path)
        self._next = 0

    def read(self, ts_ms: int) -> list[GpuSample]:
        """The next reading of the file."""
        reading = self._readings[self._next % len(self._readings)]
        self._next += 1
        return [_at(sample, ts_ms) for sample in reading]

    def put_back(self, samples: Sequence[GpuSample]) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is open."""


class SimulatedSource:
    """GPUs that serve: load in waves, power after load, temperature after power. A seed fixes everything.

    Parameters
    ----------
    seed, gpus
        Which GPUs; how many, >= 1.
    host, model
        As in the samples.
    """

    MEMORY_BYTES = 80 * 2**30
    POWER_LIMIT_W = 700.0
    CLOCK_MAX_HZ = 1.98e9
    WAVE_S = 120.0

    def __init__(self, seed: int, gpus: int, host: str, model: str | None = None) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - a simulation
        self._host, self._model = host, model
        identities = random.Random(seed)  # noqa: S311 - likewise
        self._uuids = [f"GPU-{identities.getrandbits(64):016x}" for _ in range(gpus)]
        self._temperatures = [40.0] * gpus
        self._energies = [0.0] * gpus
        self._last_ms: int | None = None

    def read(self, ts_ms: int) -> list[GpuSample]:
        """The next sample of each GPU; a gap of more than ten seconds counts as ten."""
        gap_s = 1.0 if self._last_ms is None else min(10.0, max(0.0, (ts_ms - self._last_ms) / 1000))
        self._last_ms = ts_ms
        return [self._sample(index, ts_ms, gap_s) for index in range(len(self._uuids))]

    def put_back(self, samples: Sequence[GpuSample]) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is open."""

    def _sample(self, index: int, ts_ms: int, gap_s: float) -> GpuSample:
        wave = 0.5 + 0.5 * math.sin(2 * math.pi * (ts_ms / 1000 / self.WAVE_S + index / 3))
        load = min(1.0, max(0.0, 0.35 + 0.5 * wave + self._rng.gauss(0, 0.05)))
        power_w = 70 + 0.8 * load * (self.POWER_LIMIT_W - 70) + self._rng.gauss(0, 5)
        settling = 1 - math.exp(-gap_s / 30)
        self._temperatures[index] += settling * (30 + power_w / 16 - self._temperatures[index])
        self._energies[index] += max(0.0, power_w) * gap_s
        return GpuSample(
            ts_ms=ts_ms,
            host=self._host,
            gpu_uuid=self._uuids[index],
            event_id=f"{self._uuids[index]}/{ts_ms}",
            gpu_index=index,
            gpu_name="Simulated GPU",
            model=self._model,
            utilization_ratio=round(load, 2),
            memory_utilization_ratio=round(0.6 * load, 2),
            memory_used_bytes=float(round((0.55 + 0.1 * load) * self.MEMORY_BYTES)),
            memory_reserved_bytes=float(600 * 2**20),
            memory_total_bytes=float(self.MEMORY_BYTES),
            temperature_c=float(round(self._temperatures[index])),
            power_w=round(max(0.0, power_w), 3),
            power_limit_w=self.POWER_LIMIT_W,
            energy_j_total=round(self._energies[index], 3),
            sm_clock_hz=self.CLOCK_MAX_HZ,
            sm_clock_max_hz=self.CLOCK_MAX_HZ,
            memory_clock_hz=2.619e9,
            clocks_event_reasons=0,
            ecc_corrected_total=0.0,
            ecc_uncorrected_total=0.0,
            remap_failures_total=0.0,
            pcie_replays_total=0.0,
            nvlink_errors_total=0.0,
            xid=[],
        )


def open_source(simulate: str | None, host: str, model: str | None, gpus: int) -> Source:
    """The source that ``--simulate`` means: nothing is this host's GPUs, a number a seed, else a file.

    Raises
    ------
    ConfigError, UnavailableError
        If the file or the GPUs cannot be read.
    """
    if simulate is None:
        return NvmlSource(host, model)
    if simulate.lstrip("-").isdecimal():
        return SimulatedSource(int(simulate), gpus, host, model)
    return RecordedSource(Path(simulate))


def _readings(path: Path) -> list[list[GpuSample]]:
    decoder = msgspec.json.Decoder(GpuSample)
    readings: list[list[GpuSample]] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"It cannot be read: {error.strerror}.", str(path), "Give a file or a number.") from error
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            sample = decoder.decode(line)
        except msgspec.DecodeError as error:
            todo = "Give one sample a line, as 'halcyon gpu-agent --print' writes them."
            raise ConfigError(f"It is no GPU sample: {error}.", f"{path}, line {place}", todo) from error
        if readings and readings[-1][0].ts_ms == sample.ts_ms:
            readings[-1].append(sample)
        else:
            readings.append([sample])
    if not readings:
        raise ConfigError("It holds no sample.", str(path), "Record one with 'halcyon gpu-agent --print'.")
    return readings


def _at(sample: GpuSample, ts_ms: int) -> GpuSample:
    return msgspec.structs.replace(sample, ts_ms=ts_ms, event_id=f"{sample.gpu_uuid}/{ts_ms}")
