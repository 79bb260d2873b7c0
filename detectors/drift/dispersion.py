r"""How many times more a series' means vary from window to window than those of independent values would.

One user's requests in a row, a retry, a batch: values that come together are alike, and N of them say as little as
$N / D$ independent ones. Successive windows tell D, the design effect, whatever the level does slowly: with
$d = (\bar x_t - \bar x_{t-1}) / \sqrt{s_t^2 / N_t + s_{t-1}^2 / N_{t-1}}$ is $E\,d^2 = D$.

References
----------
.. [1] L. Kish, "Survey sampling", 1965 (the design effect).
.. [2] J. von Neumann, "Distribution of the ratio of the mean square successive difference to the variance", 1941.
"""

from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from detectors.protocol import Floats, Ints
from detectors.state import Columns, unpack

_MEMORY: Final = 60.0
_PRIOR: Final = 2.0
"""Before anything is known: what latencies are taken for, too."""
_PRIOR_WINDOWS: Final = 4.0
_WILD: Final = 10.0
"""A jump counts as no more than so many times what is usual: it is to be found, not to be allowed for."""
_BLANK: Final[dict[str, NDArray[Any]]] = {
    "mean": np.array(np.nan, np.float32),
    "error": np.array(np.nan, np.float32),
    "effect": np.array(_PRIOR, np.float32),
    "windows": np.array(_PRIOR_WINDOWS, np.float32),
}


class DesignEffect:
    """The design effect of every series of a bank.

    Notes
    -----
    O(n) per window; 16 bytes per series. The mean is kept as float32: where it is a million standard errors its
    rounding counts as variation, and D comes out too large rather than too small.
    """

    def __init__(self) -> None:
        self._state = Columns(_BLANK)

    def of(self, series: Ints) -> Floats:
        """The design effects, as learned before this window: float64[n], ≥ 1."""
        self._state.reserve(series)
        return np.maximum(self._state["effect"][series].astype(np.float64), 1.0)

    def windows(self, series: Ints) -> Floats:
        """How many windows have told something of each: float64[n], 56 at most."""
        self._state.reserve(series)
        return self._state["windows"][series].astype(np.float64) - _PRIOR_WINDOWS

    def learn(self, series: Ints, mean: Floats, m2: Floats, count: Floats | Ints) -> None:
        """Take in a window's moments, float64[n] each; a series without spread is passed over."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            error = np.sqrt(m2 / np.maximum(count - 1, 1) / count).astype(np.float32)
            usable = (count > 1) & np.isfinite(mean) & np.isfinite(error) & (error > 0) & (np.abs(mean) < 1e30)
            series, mean, error = series[usable], mean[usable].astype(np.float32), error[usable]
            self._state.reserve(series)
            before, windows = self._state["effect"][series], self._state["windows"][series]
            past = (self._state["mean"][series], self._state["error"][series])
            square = ((mean - past[0]) ** 2 / (error**2 + past[1] ** 2)).astype(np.float64)
        known = np.isfinite(square)
        told = np.minimum(np.where(known, square, 0.0), _WILD * before)
        windows = np.minimum(windows + known, _MEMORY)
        self._state["effect"][series] = np.where(known, before + (told - before) / windows, before)
        self._state["windows"][series] = windows
        self._state["mean"][series], self._state["error"][series] = mean, error

    def forget(self, series: Ints) -> None:
        """Drop what is known of ``series``."""
        self._state.forget(series)

    def to_bytes(self, kind: str, version: int) -> bytes:
        """All that is known."""
        return self._state.to_bytes(kind, version)

    @classmethod
    def from_bytes(cls, raw: bytes, kind: str, version: int) -> Self:
        """What :meth:`to_bytes` saved, or nothing if nothing was; raises StateError if it is anything else."""
        result = cls()
        if not unpack(raw, kind, version):
            return result  # detectors that kept nothing saved an empty state
        result._state = Columns.from_bytes(raw, kind, version, _BLANK)
        return result
