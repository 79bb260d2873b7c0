"""GPUs of one host: what their telemetry says while they serve a model's traffic."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from loadgen.columns import Columns, Floats, GpuSamples, Ints
from loadgen.effects.gpus import GaugeEffect, LoadEffect, Xid
from loadgen.effects.struck import Struck
from loadgen.injections import Injection, periods
from loadgen.models.entity import World
from loadgen.models.placing import gpu_uuid, host_name
from loadgen.models.spec import Fleet
from loadgen.randomness import Draws, key_of
from loadgen.traffic import Traffic
from schemas.topics import TopicName

_IDLE_BIT: Final = 0x01
_POWER_CAP_BIT: Final = 0x04
_THERMAL_LAG_S: Final = (0, 30, 60, 90, 120)
"""A GPU's temperature follows the load of the last two minutes."""


class GpuHost:
    """The GPUs of one host of a fleet.

    Parameters
    ----------
    fleet, place
        The fleet, and the number of the host in it.
    traffic
        Of the model they serve; what is injected into the model is not in it.
    injections
        Those of this host.
    world
        See :class:`World`.
    """

    topic: Final = TopicName.GPU_TELEMETRY

    def __init__(
        self, fleet: Fleet, place: int, traffic: Traffic, injections: Sequence[Injection], world: World
    ) -> None:
        self._fleet, self._traffic, self._injections, self._world = fleet, traffic, injections, world
        self._name = host_name(fleet.name, place)
        self._key = key_of(world.seed, "gpu", self._name)
        self._uuids = np.array([gpu_uuid(self._name, index) for index in range(fleet.gpus_per_host)], np.str_)
        # What tells a device from its neighbours stays with it whatever the seed.
        index = np.arange(fleet.gpus_per_host)
        self._traits = Draws.of(key_of("device", self._name), index * 0, index)

    @property
    def name(self) -> str:
        """The host's name."""
        return self._name

    def blocks(self, seconds: Ints) -> list[Columns]:
        """See :class:`loadgen.models.entity.Entity`."""
        sampled = seconds[seconds % self._fleet.sample_every_s == 0]
        return [self._samples(piece, active) for piece, active in periods(self._injections, sampled)]

    def _samples(self, seconds: Ints, active: Sequence[Injection]) -> GpuSamples:
        count = self._fleet.gpus_per_host
        second, index = np.repeat(seconds, count), np.tile(np.arange(count), len(seconds))
        draws = Draws.of(self._key, second, index)
        under = [(effect, i.struck(second, draws, _chosen(i, index))) for i in active for effect in i.effects]
        load, warm = self._load(second), self._warmth(second)
        for effect, struck in under:
            if isinstance(effect, LoadEffect):
                load, warm = effect.strike_load(load, struck), effect.strike_load(warm, struck)
        gauges = self._gauges(load, warm, index, draws)
        reasons: Ints = np.where(gauges["utilization_ratio"] < 0.01, _IDLE_BIT, 0)
        reasons |= np.where(gauges["power_w"] > 0.98 * self._fleet.power_limit_w, _POWER_CAP_BIT, 0)
        for effect, struck in under:
            if isinstance(effect, GaugeEffect):
                gauges, reasons = effect.strike(gauges, reasons, struck)
        return GpuSamples(
            host=self._name,
            model=self._fleet.model,
            gpu_name=self._fleet.gpu_name,
            ts_ms=self._world.start_ms + second * 1000,
            gpu_uuid=self._uuids[index],
            gpu_index=index,
            gauges=gauges,
            clocks_event_reasons=reasons,
            xid=self._xids([(effect, struck) for effect, struck in under if isinstance(effect, Xid)], len(second)),
        )

    def _gauges(self, load: Floats, warm: Floats, index: Ints, draws: Draws) -> dict[str, Floats]:
        fleet, traits = self._fleet, self._traits
        busy = np.clip(load * (1 + 0.06 * draws.normal("utilization")), 0.0, 1.0)
        range_c = fleet.full_temperature_c - fleet.idle_temperature_c
        placed_c = (2.0 * traits.normal("temperature"))[index]
        temperature = fleet.idle_temperature_c + range_c * warm + placed_c + 0.6 * draws.normal("temperature")
        drawn = fleet.idle_power_w + (fleet.power_limit_w - fleet.idle_power_w) * busy**0.9
        used = fleet.memory_total_bytes * fleet.memory_used_ratio * (1 + 0.004 * draws.normal("memory"))
        total = np.full(len(busy), fleet.memory_total_bytes)
        return {
            "utilization_ratio": busy,
            "memory_utilization_ratio": 0.6 * busy,
            "memory_used_bytes": np.minimum(used, total),
            "memory_total_bytes": total,
            "temperature_c": temperature,
            "memory_temperature_c": temperature + 9.0,
            "power_w": np.clip(drawn * (1 + 0.02 * draws.normal("power")), 0.0, fleet.power_limit_w),
            "power_limit_w": np.full(len(busy), fleet.power_limit_w),
            "sm_clock_hz": fleet.sm_clock_max_hz * (1 - 0.08 * busy),
            "sm_clock_max_hz": np.full(len(busy), fleet.sm_clock_max_hz),
            "ecc_corrected_total": np.floor(4 * traits.uniform("corrected"))[index],
            "ecc_uncorrected_total": np.zeros(len(busy)),
        }

    def _load(self, seconds: Ints) -> Floats:
        return np.clip(self._traffic.rate(seconds, self._world.clock) / self._fleet.full_load_per_s, 0.0, 1.0)

    def _warmth(self, seconds: Ints) -> Floats:
        return np.asarray(np.mean([self._load(seconds - lag) for lag in _THERMAL_LAG_S], axis=0), np.float64)

    def _xids(self, effects: Sequence[tuple[Xid, Struck]], n: int) -> list[tuple[int, ...]]:
        reported: list[tuple[int, ...]] = [()] * n
        for effect, struck in effects:
            for place in np.flatnonzero(effect.reported(struck, self._fleet.sample_every_s)).tolist():
                reported[place] = (*reported[place], effect.code)
        return reported


def _chosen(injection: Injection, index: Ints) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]] | None":
    return None if injection.where.gpu_index is None else index == injection.where.gpu_index
