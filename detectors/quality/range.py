"""Values far outside the range of the baseline: another unit, a missing decimal point, a default that leaks through."""

from typing import ClassVar, Self

import msgspec
import numpy as np

from detectors import scoring, special
from detectors.drift.compared import Compared
from detectors.drift.dispersion import DesignEffect
from detectors.parameters import check_bounds
from detectors.protocol import Ints, Scores, WindowBatch


class RangeParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor_ratio`` is the share of values out of range below which nobody cares.

    ``far_ratio`` says how far out the farthest of them must be, in widths of the baseline's range. ``warmup`` windows
    tell first how much values of one cause come together.
    """

    window_s: int = 60
    floor_ratio: float = 0.01
    far_ratio: float = 0.5
    min_rows: int = 200
    warmup: int = 10
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(0, 1), far_ratio=(0, 1e6), min_rows=(1, 10**9))
        check_bounds(self, warmup=(0, 50), false_alarm_ratio=(1e-12, 0.1))


class OutOfRange:
    r"""Rise of the share of a quantity's values outside the smallest and largest of its baseline, some of them far.

    One value in fifty that comes in cents moves neither mean nor bins enough for a distance between distributions.
    What a shift or a growing spread carries over the edge stays near it, and is theirs to say.

    The range is of M values, and how much of a stationary stream lies outside it is a matter of chance: beyond either
    end more than a share u does with a probability of $(1 - u)^M$, so $\ln(2 / \alpha) / M$ is added to the noise of
    a share as for nulls. Both N and M are divided by the design effect that the series has shown
    (:mod:`detectors.drift.dispersion`): ten requests of one session are one draw.

    Parameters
    ----------
    params
        See :class:`RangeParams`.

    Notes
    -----
    O(N); 16 bytes of state per series. The label says on which side most of them are: ``under`` or ``over``.
    """

    kind: ClassVar[str] = "range"
    state_version: ClassVar[int] = 1

    def __init__(self, params: RangeParams | None = None) -> None:
        self.params = params or RangeParams()
        self.window_s = self.params.window_s
        self._effect = DesignEffect()
        self._z = special.z_of(self.params.false_alarm_ratio)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every series with edges and ``min_rows`` values."""
        numeric, params = windows.numeric, self.params
        found = Compared.every(numeric)
        found = found.take(numeric.count[found.places] >= params.min_rows)
        places, values, ref_values = found.places, found.N, found.M
        ends, ref_ends = (counts[:, [0, -1]].astype(np.int64) for counts in (found.cur, found.ref))
        first, last = numeric.edges[places, 0], numeric.edges[places, -1]
        series = numeric.series[places]
        ready = (values >= params.min_rows) & (ref_values >= params.min_rows)
        ready &= self._effect.windows(series) >= params.warmup
        effect = self._effect.of(series)
        self._effect.learn(series, numeric.mean[places], numeric.m2[places], numeric.count[places])
        beyond = np.maximum(numeric.max[places] - last, first - numeric.min[places])
        outside = np.where(beyond >= params.far_ratio * (last - first), ends.sum(axis=1), 0)
        usual = ref_ends.sum(axis=1) / np.maximum(ref_values, 1)
        of_ref = np.maximum(ref_values / effect, 1)
        share = scoring.excess_ratio(outside / effect, values / effect, usual, of_ref, params.floor_ratio, self._z)
        noise = share.noise + np.log(2 / params.false_alarm_ratio) / of_ref
        measured = scoring.Measured(
            score=share.score,
            floor=params.floor_ratio,
            noise=noise,
            p_value=share.p_value,
            value=share.value,
            reference=usual,
            threshold=usual + np.maximum(params.floor_ratio, noise),
            label=[*map(("under", "over").__getitem__, (ends[:, 1] >= ends[:, 0]).tolist())],
        )
        return scoring.scores(
            self.kind, "out-of-range ratio", scoring.numeric_subject(numeric, places), ready, measured
        )

    def forget(self, series: Ints) -> None:
        """Drop what was learned of ``series``."""
        self._effect.forget(series)

    def to_bytes(self) -> bytes:
        """What was learned."""
        return self._effect.to_bytes(self.kind, self.state_version)

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector = cls(msgspec.convert(params, RangeParams))
        detector._effect = DesignEffect.from_bytes(raw, cls.kind, cls.state_version)
        return detector
