"""Where requests are served: hosts, and the GPUs in them."""

import math
from uuid import UUID

import numpy as np

from loadgen.columns import Floats, Ints, Texts
from loadgen.models.spec import Fleet, Hosts
from loadgen.randomness import Draws, key_of


def host_name(prefix: str, place: int) -> str:
    """The name of a host."""
    return f"{prefix}-{place}"


def gpu_uuid(host: str, index: int) -> str:
    """The id of a GPU: the same in every run, as a device's is."""
    high, low = int(key_of("gpu", host, index)), int(key_of("gpu", index, host))
    return f"GPU-{UUID(int=high << 64 | low)}"


class Places:
    """Spreads requests over hosts evenly: those of the fleet that serves the model, or its own, or none."""

    def __init__(self, hosts: Hosts | None, fleet: Fleet | None) -> None:
        prefix = fleet.name if fleet else hosts.prefix if hosts else ""
        count = fleet.hosts if fleet else hosts.count if hosts else 0
        self._names: Texts = np.array([host_name(prefix, place) for place in range(count)], np.str_)
        self._gpus: Texts | None = None
        if fleet:
            ids = [[gpu_uuid(host, index) for index in range(fleet.gpus_per_host)] for host in self._names.tolist()]
            self._gpus = np.array(ids, np.str_)
        sigma = hosts.speed_sigma if hosts else 0.0
        self._slowness = np.array([math.exp(sigma * _trait(name)) for name in self._names.tolist()], np.float64)
        self.are_segments = hosts.is_segment if hosts else False

    def of(self, draws: Draws) -> tuple[Texts | None, Texts | None]:
        """Host and GPU of each row, text[n] each; None where there are none."""
        if not len(self._names):
            return None, None
        place = _even(draws.uniform("host"), len(self._names))
        gpu = None
        if self._gpus is not None:
            gpu = self._gpus[place, _even(draws.uniform("gpu"), self._gpus.shape[1])]
        return self._names[place], gpu

    def slowness(self, host: Texts | None) -> Floats:
        """By what the hosts multiply latency, float64[n]; 1 without hosts."""
        if host is None:
            return np.ones(1)
        order = np.argsort(self._names)
        return self._slowness[order[np.searchsorted(self._names, host, sorter=order)]]


def _even(uniform: Floats, count: int) -> Ints:
    return (uniform * count).astype(np.int64)


def _trait(name: str) -> float:
    """A standard normal number that belongs to a host whatever the seed: hosts keep their speed."""
    one = np.zeros(1, np.int64)
    return float(Draws.of(key_of("host", name), one, one).normal("speed")[0])
