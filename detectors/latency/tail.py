"""The share of requests that are far beyond the baseline's p99: a tail that grows while the middle stays."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Final

import msgspec
import numpy as np

from detectors import scoring, special
from detectors.histograms import log
from detectors.latency.noise import GRAIN, middle, quantile_noise
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Ints, NumericColumns, Scores, WindowBatch
from detectors.stateless import Stateless

FACTOR: Final = 1.3
"""How far beyond the baseline's p99 a request is far, as a ratio; and at least ``RISE_MS``."""
RISE_MS: Final = 1.0


class TailParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At the floor one request in a hundred is 1.3 times slower than the baseline's p99: that is, p99 is.

    Minutes: where ten seconds have too few requests for a p99. ``design_effect`` widens the noise for requests that
    queue behind one another.
    """

    window_s: int = 60
    floor_ratio: float = 0.01
    min_rows: int = 100
    design_effect: float = 2.0
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(1e-4, 0.5), min_rows=(20, 10**9))
        check_bounds(self, design_effect=(1, 100), false_alarm_ratio=(1e-12, 0.1))


class LatencyTail(Stateless[TailParams]):
    """Rise of the share of requests beyond 1.3 times the baseline's p99, over the baseline's own share.

    Parameters
    ----------
    params
        See :class:`TailParams`.

    Notes
    -----
    O(cells), no state. A count of rare events is Poisson, so that a tail is judged from a few hundred requests, of
    which a p99 knows nothing. The note says where the bound is, and whether p50 has moved as well.
    """

    kind: ClassVar[str] = "latency_tail"
    state_version: ClassVar[int] = 1
    params_type = TailParams

    def __init__(self, params: TailParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio) * float(np.sqrt(self.params.design_effect))

    def step(self, windows: WindowBatch) -> Scores:
        """Score every latency series with a baseline and ``min_rows`` values."""
        numeric, latencies, params = windows.numeric, windows.latencies, self.params
        places = latencies.place
        bound = bound_ms(numeric.ref_quantiles[places, 2])
        edge = log.bins_of(np.nan_to_num(bound)).astype(np.int64)
        cur, ref = latencies.cur, latencies.ref
        counted = log.counts_above(cur.bins, cur.counts, cur.offsets, edge)
        known = log.counts_above(ref.bins, ref.counts, ref.offsets, edge)
        M = np.maximum(numeric.ref_count[places], 1).astype(np.float64)
        N = numeric.count[places]
        ready = (params.min_rows <= N) & (params.min_rows <= M) & (np.diff(ref.offsets) > 0) & (bound > 0)
        measured = scoring.excess_ratio(counted, N, known / M, M, params.floor_ratio, self._z)
        measured = replace(
            measured,
            # Requests that queue are not independent; a noise bound that allows for it needs no p-value beside it.
            p_value=np.nan,
            label=["tail"] * len(places),
            note=self._note(numeric, places, bound, N, M),
        )
        return scoring.scores(self.kind, "share of events", scoring.numeric_subject(numeric, places), ready, measured)

    def _note(self, numeric: NumericColumns, places: Ints, bound: Floats, N: Ints, M: Floats) -> Callable[[int], str]:
        variance = self.params.design_effect * (1 / np.maximum(N, 1) + 1 / M)

        def note(place: int) -> str:
            own = places[place : place + 1]
            ref, cur = numeric.ref_quantiles[own], numeric.quantiles[own]
            noise = GRAIN + self._z * quantile_noise(ref, variance[place : place + 1])
            said = middle(float(ref[0, 0]), float(cur[0, 0]), float(noise[0, 0]), float(np.log(FACTOR)))
            return f"beyond {bound[place]:.4g} ms, {FACTOR:g} times the baseline's p99{said and f'; {said}'}"

        return note


def bound_ms(p99_ms: Floats) -> Floats:
    """What is far beyond a baseline's p99 float64[k]; requests in the bin of the bound are not."""
    return np.maximum(p99_ms * FACTOR, p99_ms + RISE_MS)
