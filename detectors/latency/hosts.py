"""One slow replica: a host's quantiles against those of the hosts that serve the same model."""

from collections import defaultdict
from typing import ClassVar, Final

import msgspec
import numpy as np

from detectors import scoring, special
from detectors.latency.noise import GRAIN, NAMES, enough, quantile_noise
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Ints, NumericColumns, Scores, WindowBatch
from detectors.stateless import Stateless
from schemas.scopes import OTHER, Family, Scope

_MAD_TO_STD: Final = 1.4826


class HostParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Needs events whose ``segment`` names the host, under the key ``segment``, and ``min_hosts`` of them.

    ``floor_ratio`` 1.5: half as slow again as the median host. A host whose own baseline says that it is always slower
    may be so by up to ``usual_ratio``. ``min_spread_ratio`` is how far hosts may differ for no reason at all.
    """

    window_s: int = 60
    segment: str = "host"
    min_hosts: int = 3
    floor_ratio: float = 1.5
    usual_ratio: float = 1.5
    min_rise_ms: float = 1.0
    min_spread_ratio: float = 0.05
    min_beyond: float = 5.0
    design_effect: float = 2.0
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), min_hosts=(3, 1_000), floor_ratio=(1, 1000), usual_ratio=(1, 1000))
        check_bounds(self, min_rise_ms=(0, 1e9), min_spread_ratio=(0, 10), min_beyond=(1, 1e6))
        check_bounds(self, design_effect=(1, 100), false_alarm_ratio=(1e-12, 0.1))


class SlowHost(Stateless[HostParams]):
    r"""Logarithm of the worst of a host's p50, p95 and p99 over the median host's.

    Median and spread (1.4826 times the median absolute deviation) of the logarithms over the hosts of a model version
    are those of the majority: one host that is slow moves neither. Noise joins the spread with that of order
    statistics; the spread of few hosts is itself uncertain, and widened by $1 + 2 / (h - 2)$. Slower than its peers is
    news; that all of them are slower is the business of ``latency``.

    Parameters
    ----------
    params
        See :class:`HostParams`.

    Notes
    -----
    O(hosts), no state. Two kinds of machines in equal numbers make the spread wide and this blind; half of the hosts
    slow at once is no outlier. Value is the host's, reference the median host's, in ms.

    References
    ----------
    .. [1] F. R. Hampel, "The influence curve and its role in robust estimation", 1974.
    """

    kind: ClassVar[str] = "latency_hosts"
    state_version: ClassVar[int] = 1
    params_type = HostParams

    def __init__(self, params: HostParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio / len(NAMES))

    def step(self, windows: WindowBatch) -> Scores:
        """Score every latency series of a host that has peers."""
        numeric, params = windows.numeric, self.params
        places, group = self._groups(windows)
        N = numeric.count[places].astype(np.float64)
        usable = enough(N, params.min_beyond) & (numeric.quantiles[places] > 0)
        logs = _log(np.where(usable, numeric.quantiles[places], np.nan))
        center, spread, hosts = _robust(logs, group)
        ready = usable & (hosts >= params.min_hosts)
        rise = np.where(ready, logs - center - self._usual(numeric, places, group), np.nan)
        peers = np.bincount(group, N, int(group.max(initial=-1)) + 1)[group]
        sampling = quantile_noise(
            np.exp(center), params.design_effect * (1 / np.maximum(N, 1) + 1 / np.maximum(peers, 1))
        )
        apart = np.maximum(spread * (1 + 2 / np.maximum(hosts - 2, 1)), params.min_spread_ratio)
        noise = GRAIN + self._z * np.hypot(np.nan_to_num(sampling, nan=np.inf), apart)
        floor = float(np.log(params.floor_ratio))
        weight = np.minimum(1, floor / noise) if floor > 0 else np.ones_like(noise)
        enough_ms = np.exp(logs) - np.exp(center) >= params.min_rise_ms
        score = np.where(ready, np.maximum(np.where(enough_ms, rise, 0), 0) * weight, -1.0)
        worst, row = score.argmax(axis=1), np.arange(len(places))
        reference = np.exp(center[row, worst])
        measured = scoring.Measured(
            score=score[row, worst],
            floor=floor,
            noise=np.minimum(noise, floor)[row, worst] if floor > 0 else noise[row, worst],
            value=np.exp(logs[row, worst]),
            reference=reference,
            threshold=np.exp((logs - rise)[row, worst] + np.maximum(floor, noise[row, worst])),
            label=[NAMES[i] for i in worst.tolist()],
            note=lambda place: f"the median of {int(hosts[place, worst[place]])} hosts is {reference[place]:.3g} ms",
        )
        subject = scoring.numeric_subject(numeric, places)
        return scoring.scores(self.kind, "ms", subject, np.asarray(ready.any(axis=1)), measured)

    def _groups(self, windows: WindowBatch) -> tuple[Ints, Ints]:
        """The latency series of hosts, as places, and which of them are peers: int64[k] each."""
        numeric, keys, prefix = windows.numeric, windows.scopes.key, f"{self.params.segment}="
        is_host = np.array([_is_host(key, prefix) for key in keys], np.bool_)
        latencies = windows.latencies.place
        scope = numeric.scope[latencies]
        places = latencies[is_host[scope]] if len(keys) else latencies[:0]
        numbers: dict[tuple[str, str, str], int] = defaultdict(lambda: len(numbers))
        group = [
            numbers[keys[s].model, keys[s].model_version, numeric.name[i]]
            for i, s in zip(places.tolist(), numeric.scope[places].tolist(), strict=True)
        ]
        return places, np.array(group, np.int64)

    def _usual(self, numeric: NumericColumns, places: Ints, group: Ints) -> Floats:
        """How much slower than its peers each host is by the baselines, as far as that is let pass: float64[k, 3]."""
        logs = _log(np.where(numeric.has_baseline[places, None], numeric.ref_quantiles[places], np.nan))
        center, _, hosts = _robust(logs, group)
        offset = np.where(hosts >= self.params.min_hosts, logs - center, 0.0)
        return np.asarray(np.clip(np.nan_to_num(offset), 0.0, np.log(self.params.usual_ratio)), np.float64)


def _is_host(key: Scope, prefix: str) -> bool:
    return key.family is Family.PREDICTION and key.segment.startswith(prefix) and key.segment != prefix + OTHER


def _log(values: Floats) -> Floats:
    return np.asarray(np.log(np.where(values > 0, values, np.nan)), np.float64)


def _robust(values: Floats, group: Ints) -> tuple[Floats, Floats, Floats]:
    """Median, spread and number of the values float64[k, 3] of each group, NaN left out: float64[k, 3] each."""
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group, minlength=0)
    column = np.empty(len(group), np.int64)
    column[order] = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    table = np.full((len(sizes), int(sizes.max(initial=0)), values.shape[1]), np.nan)
    table[group, column] = values
    center, count = _median(table)
    spread, _ = _median(np.abs(table - center[:, None, :]))
    return center[group], _MAD_TO_STD * spread[group], count[group].astype(np.float64)


def _median(table: Floats) -> tuple[Floats, Ints]:
    """Medians float64[g, 3] of float64[g, h, 3] along its middle, NaN left out, and of how many."""
    count = (~np.isnan(table)).sum(axis=1)
    if not table.size:
        return np.full(count.shape, np.nan), count
    ordered = np.sort(table, axis=1)  # NaN last
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, table.shape[1] - 1)
    middle = [np.take_along_axis(ordered, at[:, None, :], axis=1)[:, 0, :] for at in (low, high)]
    return (middle[0] + middle[1]) / 2, count
