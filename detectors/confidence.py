r"""How sure a finding is: its strength beside how strong a detector's windows get while nothing is wrong.

A window's strength is $u = (1 - 2^{-r}) \cdot$ share, 0…1, with r the score over its limit and the share of the last
windows that agree (at least this one). Detectors differ in how often u is large without a cause, and series do: so each
detector's own u is counted over all windows in which no finding holds. The share of them at u or above is t, beyond the
hundredth that is highest continued as an exponential whose rate is the mean excess over it (peaks over threshold),
shrunk to what detectors promise by design. A series that is often over its limit without a finding has its t raised by
its rate over all series' (gamma-Poisson, as if it had been over it twice before).

What t is worth as evidence is bounded by Sellke, Bayarri and Berger: the odds of "nothing is wrong" fall by no more
than $-e\,t \ln t$. With prior odds of a thousand to one for nothing, confidence is
$1 - 1 / (1 + \frac{0.001}{-e\,t \ln t})$. It means the same for every detector.

References
----------
.. [1] T. Sellke, M. J. Bayarri, J. O. Berger, "Calibration of p values for testing precise null hypotheses", 2001.
.. [2] J. Pickands, "Statistical inference using extreme order statistics", 1975.
"""

from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from detectors.protocol import Bools, Floats, Ints
from detectors.state import Columns, StateError, pack, unpack

PRIOR_ODDS: Final = 1e-3
"""Of a fault, in a window of a series, before one has looked."""
DEPENDENCE_RATIO: Final = 0.5
"""How alike detectors err that look at the same events in different ways."""
_BINS: Final = 100
_ANCHOR_RATIO: Final = 0.01
_MIN_EXCESSES: Final = 10
_RATE: Final = 38.0
"""Of the tail by design: three of five windows at the limit, u = 0.3, come by chance once in 100,000."""
_RATE_WEIGHT: Final = 10.0
_MEMORY: Final = 500
"""Windows over which a series' own noise is remembered."""
_PRIOR_HITS: Final = 2.0
_MOST: Final = 1e7
"""Windows counted; then all counts are halved, so that what is long ago fades."""
_BLANK: Final[dict[str, NDArray[Any]]] = {"noise": np.zeros((), np.float32)}


def combined(confidences: Sequence[float], dependence_ratio: float = DEPENDENCE_RATIO) -> float:
    r"""How sure several findings about one scope and time are together, 0…1.

    Each multiplies the prior odds by its Bayes factor $B_i$. Detectors that look at the same events do not err
    independently: n of them, whose errors have the correlation ρ, say as much as $n / (1 + (n - 1) \rho)$ (Kish's
    design effect), so that the logarithms add up to $\sum \ln B_i / (1 + (n - 1) \rho)$. Findings that would
    make it less are left out: nobody is less sure for being told more.

    Parameters
    ----------
    confidences
        As :meth:`NullStrength.confidence` gives them, one of each detector.
    dependence_ratio
        ρ, 0 for detectors that look at different things, 1 for one detector asked twice.

    Examples
    --------
    >>> round(combined([0.3, 0.3]), 2), round(combined([0.9, 0.2]), 2), combined([0.3, 0.3], 1.0)
    (0.76, 0.94, 0.3)
    """
    limits = np.clip(sorted(confidences, reverse=True), 1e-12, 1 - 1e-12)
    bayes = np.maximum(np.log(limits / (1 - limits) / PRIOR_ODDS), 0.0)
    together = np.cumsum(bayes) / (1 + np.arange(len(bayes)) * dependence_ratio)
    odds = PRIOR_ODDS * float(np.exp(together.max(initial=0.0)))
    return round(odds / (1 + odds), 12)


class NullStrength:
    """How strong one detector's windows are while no finding holds.

    Notes
    -----
    O(n) per window; 800 bytes, and 4 per series.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS)
        self._over = 0.0
        self._noise = Columns(_BLANK)

    def confidence(self, series: Ints, strength: Floats) -> Floats:
        """How sure it is that series of ``strength`` float64[n], 0…1, have something: float64[n], 0…1, NaN for NaN."""
        self._noise.reserve(series)
        tail = np.clip(self._tail(strength) * self._factor(series), 1e-300, 1.0)
        doubt = np.where(tail < np.exp(-1), -np.e * tail * np.log(tail), 1.0)
        return np.where(np.isnan(strength), np.nan, 1 / (1 + doubt / PRIOR_ODDS))

    def learn(self, series: Ints, strength: Floats, over: Bools, quiet: Bools) -> None:
        """Count the windows of which ``quiet`` bool[n] says that no finding holds; ``over`` bool[n]: over the limit.

        A strength of NaN says nothing, and is not counted.
        """
        self._noise.reserve(series)
        quiet = quiet & ~np.isnan(strength)
        if not quiet.all():
            series, strength, over = series[quiet], strength[quiet], over[quiet]
        bins = np.minimum((strength * _BINS).astype(np.int64), _BINS - 1)
        self._counts += np.bincount(bins, minlength=_BINS)
        self._over += float(over.sum())
        if self._counts.sum() > _MOST:
            self._counts /= 2
            self._over /= 2
        noise = self._noise["noise"]
        before = noise[series]
        noise[series] = before + (over - before) / np.float32(_MEMORY)

    def _tail(self, strength: Floats) -> Floats:
        """The share of windows without a cause that are at least as strong: float64[n]."""
        total = float(self._counts.sum())
        above = np.cumsum(self._counts[::-1])[::-1]
        enough = np.flatnonzero(above >= max(_MIN_EXCESSES, _ANCHOR_RATIO * total))
        anchor = int(enough[-1]) if len(enough) else 0
        share = (float(above[anchor]) + 1) / (total + 1)
        middles = (np.arange(_BINS) + 0.5 - anchor) / _BINS
        excesses = float((self._counts * middles)[anchor:].sum()) if anchor else 0.0
        rate = _RATE
        if anchor:
            rate = (float(above[anchor]) + _RATE_WEIGHT) / (excesses + _RATE_WEIGHT / _RATE)
        place = np.minimum(np.nan_to_num(strength) * _BINS, _BINS - 1)
        counted = (np.append(above, 0.0)[place.astype(np.int64)] + 1) / (total + 1)
        beyond = share * np.exp(-rate * (place - anchor) / _BINS)
        tail = np.where(place < anchor, np.maximum(counted, share), beyond)
        return np.where(np.isnan(strength), np.nan, np.minimum(tail, 1.0))

    def _factor(self, series: Ints) -> Floats:
        """How many times as noisy as all series each is, at least 1: float64[n]."""
        usual = self._over / max(float(self._counts.sum()), 1.0)
        own = self._noise["noise"][series].astype(np.float64)
        return np.maximum((_MEMORY * own + _PRIOR_HITS) / (_MEMORY * usual + _PRIOR_HITS), 1.0)

    def forget(self, series: Ints) -> None:
        """Drop what is known of ``series``; what they have added to all stays."""
        self._noise.forget(series)

    def to_bytes(self, kind: str, version: int) -> bytes:
        """All counts."""
        noise = np.frombuffer(self._noise.to_bytes(kind, version), np.uint8)
        return pack(kind, version, {"counts": self._counts, "over": np.array([self._over]), "noise": noise})

    @classmethod
    def from_bytes(cls, raw: bytes, kind: str, version: int) -> Self:
        """What :meth:`to_bytes` saved; raises StateError if it is not that."""
        arrays = unpack(raw, kind, version)
        if arrays["counts"].shape != (_BINS,):
            raise StateError(f"strengths of {kind} in other bins: start without them")
        null = cls()
        null._counts, null._over = arrays["counts"], float(arrays["over"][0])
        null._noise = Columns.from_bytes(arrays["noise"].tobytes(), kind, version, _BLANK)
        return null
