"""A limit in milliseconds: "p95 over X ms for N minutes"."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import ClassVar, Final, Self

import msgspec
import numpy as np

from detectors import scoring
from detectors.parameters import ParameterError, check_bounds
from detectors.protocol import LATENCIES, Ints, Role, Scores, WindowBatch
from detectors.sustained import SustainedMinimum
from schemas.scopes import Scope

_PLACE: Final = {"p50": 0, "p95": 1, "p99": 2}


class LatencyLimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``limit_ms`` > 0 on ``quantity`` for the models whose name matches ``model``, a glob (``"fraud-*"``)."""

    model: str
    limit_ms: float
    quantity: str = "latency_ms"

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, limit_ms=(1e-6, 1e12))
        if self.quantity not in LATENCIES:
            raise ParameterError(f"LatencyLimit.quantity = {self.quantity!r}: give one of {', '.join(LATENCIES)}")


class LatencyLimitParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first limit whose glob matches holds; without any nothing is ready. ``quantile`` is p50, p95 or p99."""

    window_s: int = 60
    minutes: int = 5
    quantile: str = "p95"
    min_rows: int = 20
    limits: tuple[LatencyLimit, ...] = ()

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 3_600), minutes=(1, 1_440), min_rows=(1, 10**9))
        if self.quantile not in _PLACE:
            raise ParameterError(f"LatencyLimitParams.quantile = {self.quantile!r}: give {', '.join(_PLACE)}")

    @property
    def windows(self) -> int:
        """How many windows in a row must be over the limit."""
        return max(1, -(-self.minutes * 60 // self.window_s))


class LatencyOverLimit:
    """The least that a quantile exceeded its model's limit by during the last N minutes, as a ratio.

    The score is the minimum of quantile / limit over the windows of N minutes: 1 or more says that every one of them
    was over. A limit is a promise, not an estimate: there is no noise bound.

    Parameters
    ----------
    params
        See :class:`LatencyLimitParams`.

    Notes
    -----
    O(N); 8 bytes of state per series and window. Needs ``ScopeColumns.key``.
    """

    kind: ClassVar[str] = "latency_limit"
    state_version: ClassVar[int] = 1

    def __init__(self, params: LatencyLimitParams | None = None) -> None:
        self.params = params or LatencyLimitParams()
        self.window_s = self.params.window_s
        self._sustained = SustainedMinimum(self.params.windows)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every latency series of a model with a limit, once it has been seen for N minutes."""
        numeric, params = windows.numeric, self.params
        places = np.flatnonzero(numeric.role == Role.LATENCY)
        keys = windows.scopes.key
        whose = zip(numeric.scope[places].tolist(), (numeric.name[i] for i in places.tolist()), strict=True)
        limit = np.array([self._limit(keys, scope, name) for scope, name in whose], np.float64)
        value = numeric.quantiles[places, _PLACE[params.quantile]]
        usable = (numeric.count[places] >= params.min_rows) & ~np.isnan(value) & ~np.isnan(limit)
        score = np.full(len(places), np.nan)
        score[usable] = self._sustained.push(numeric.series[places[usable]], (value / limit)[usable])
        measured = scoring.Measured(
            score=score,
            floor=1.0,
            value=value,
            reference=numeric.ref_quantiles[places, _PLACE[params.quantile]],
            threshold=limit,
            label=[params.quantile] * len(places),
        )
        return scoring.scores(self.kind, "ms", scoring.numeric_subject(numeric, places), usable, measured)

    def _limit(self, keys: Sequence[Scope], scope: int, quantity: str) -> float:
        model = keys[scope].model if keys else ""
        own = (limit for limit in self.params.limits if limit.quantity == quantity)
        return next((limit.limit_ms for limit in own if fnmatchcase(model, limit.model)), float("nan"))

    def forget(self, series: Ints) -> None:
        """Drop the windows of ``series``."""
        self._sustained.forget(series)

    def to_bytes(self) -> bytes:
        """The last windows of every series."""
        return self._sustained.to_bytes(self.kind, self.state_version)

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector = cls(msgspec.convert(params, LatencyLimitParams))
        n = detector.params.windows
        detector._sustained = SustainedMinimum.from_bytes(raw, cls.kind, cls.state_version, n)
        return detector
