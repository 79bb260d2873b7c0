"""A GPU whose clock is below that of its neighbours under the same work, and does not say why."""

from collections import defaultdict
from typing import ClassVar, Final

import msgspec
import numpy as np

from detectors import scoring, special
from detectors.gpu.gauges import beside, places_of
from detectors.parameters import check_bounds
from detectors.protocol import Bools, Floats, Ints, Scores, WindowBatch
from detectors.stateless import Stateless

_MAD_TO_STD: Final = 1.4826
_MHZ: Final = 1e6


class SlowGpuParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A clock ``floor_ratio`` below the median of at least ``min_peers`` busy GPUs of the same host and kind.

    Busy is a utilisation of ``min_utilization_ratio``. GPUs of one kind may differ by ``min_spread_ratio`` for no
    reason at all. One that gives a reason for its clock in more than ``explained_ratio`` of its samples is not judged,
    and judges nobody.
    """

    window_s: int = 60
    floor_ratio: float = 0.15
    min_peers: int = 2
    min_utilization_ratio: float = 0.2
    min_spread_ratio: float = 0.02
    explained_ratio: float = 0.5
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(0, 1), min_peers=(2, 1_000))
        check_bounds(self, min_utilization_ratio=(0, 1), min_spread_ratio=(0, 1), explained_ratio=(0, 1))
        check_bounds(self, false_alarm_ratio=(1e-12, 0.1))


class SlowGpu(Stateless[SlowGpuParams]):
    r"""By which part a GPU's clock is below the median of its peers.

    Peers are the other GPUs of the host with the same highest clock that are busy, between half and twice as much as it
    is: clocks fall when there is nothing to do. The GPU itself is left out of the median and of the spread (1.4826
    times the median absolute deviation, widened by $1 + 2 / (n - 2)$ for so few), so that it cannot vouch for itself.
    A clock with a reason is no news here: idle, a power cap and set clocks are as they should be, and for heat and
    power brakes there is ``gpu_throttle``.

    Parameters
    ----------
    params
        See :class:`SlowGpuParams`.

    Notes
    -----
    O(n²) for n GPUs of a host, no state. All GPUs of a host that are slow at once are no outliers. Value and reference
    are in MHz.

    References
    ----------
    .. [1] F. R. Hampel, "The influence curve and its role in robust estimation", 1974.
    .. [2] NVIDIA, "NVML API Reference Guide", ``nvmlClocksEventReasons``.
    """

    kind: ClassVar[str] = "gpu_slow"
    state_version: ClassVar[int] = 1
    params_type = SlowGpuParams

    def __init__(self, params: SlowGpuParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every clock that can be compared."""
        numeric, params = windows.numeric, self.params
        places = places_of(numeric, "sm_clock_hz")
        clock = numeric.mean[places]
        busy = beside(numeric, places, "utilization_ratio", numeric.mean)
        comparable = (
            (clock > 0) & (busy >= params.min_utilization_ratio) & ~self._explained(windows)[numeric.scope[places]]
        )
        usual, spread, peers = (np.full(len(places), np.nan) for _ in range(3))
        for group in self._groups(windows, places, comparable):
            usual[group], spread[group], peers[group] = _left_out(clock[group], busy[group])
        ready = peers >= params.min_peers
        noise = self._z * np.maximum(spread / usual, params.min_spread_ratio)
        limit = np.maximum(params.floor_ratio, noise)
        measured = scoring.Measured(
            score=np.maximum(1 - clock / usual, 0),
            floor=params.floor_ratio,
            noise=noise,
            value=clock / _MHZ,
            reference=usual / _MHZ,
            threshold=usual * (1 - limit) / _MHZ,
            note=lambda i: f"the median of {int(peers[i])} busy GPUs beside it is {usual[i] / _MHZ:,.0f} MHz",
        )
        return scoring.scores(self.kind, "MHz", scoring.numeric_subject(numeric, places), ready, measured)

    def _explained(self, windows: WindowBatch) -> Bools:
        """Which of the window's scopes give a reason for their clocks: bool[S]."""
        categories = windows.categories
        explained = np.zeros(len(windows.scopes.id), np.bool_)
        for i, name in enumerate(categories.name):
            if name == "clocks_event_reason" and categories.counter[i]:
                most = int(categories.cur[i].max(initial=0))
                explained[categories.scope[i]] = most > self.params.explained_ratio * categories.rows[i]
        return explained

    def _groups(self, windows: WindowBatch, places: Ints, comparable: Bools) -> list[Ints]:
        """The comparable clocks of each host and kind, as places among ``places``."""
        numeric, keys = windows.numeric, windows.scopes.key
        highest = beside(numeric, places, "sm_clock_max_hz", numeric.max)
        groups: dict[tuple[str, float], list[int]] = defaultdict(list)
        for i in np.flatnonzero(comparable).tolist() if keys else ():
            limit = float(highest[i])
            groups[keys[int(numeric.scope[places[i]])].model, limit if limit > 0 else 0.0].append(i)
        return [np.array(group, np.int64) for group in groups.values()]


def _left_out(clock: Floats, busy: Floats) -> tuple[Floats, Floats, Floats]:
    """For each of n GPUs the median and the spread of its peers' clocks, and how many they are: float64[n] each."""
    alike = (busy[None, :] >= 0.5 * busy[:, None]) & (busy[None, :] <= 2 * busy[:, None])
    np.fill_diagonal(alike, val=False)
    peers = alike.sum(axis=1)
    usual, spread = np.full(len(clock), np.nan), np.full(len(clock), np.nan)
    for i in np.flatnonzero(peers).tolist():
        others = clock[alike[i]]
        usual[i] = np.median(others)
        spread[i] = _MAD_TO_STD * np.median(np.abs(others - usual[i])) * (1 + 2 / max(len(others) - 2, 1))
    return usual, spread, peers.astype(np.float64)
