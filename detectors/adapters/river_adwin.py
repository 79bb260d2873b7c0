"""River's ADWIN on one series, with a state of plain numbers."""

from typing import Any, Final

import numpy as np
from river._river_rust.drift import AdaptiveWindowing

from detectors.protocol import Floats

# The compiled algorithm itself: ``river.drift`` around it imports pandas and scikit-learn, 150 MB and seconds of every
# worker. River's minor version is pinned, and a test compares the two.
_ADWIN: Final[Any] = AdaptiveWindowing
MAX_HISTORY: Final = 512
"""Inputs kept at most; then ADWIN starts over from the younger half of them."""


class RiverAdwin:
    """ADWIN whose state is the inputs since it last started over: fed again, they make the same ADWIN.

    Parameters
    ----------
    delta
        Confidence of ADWIN's test, 0…1, exclusive.
    history
        float64[n], what :attr:`history` gave.

    References
    ----------
    .. [1] A. Bifet, R. Gavaldà, "Learning from time-changing data with adaptive windowing", SDM 2007.
    """

    def __init__(self, delta: float, history: Floats | None = None) -> None:
        self._delta = delta
        self._adwin: Any = None
        self._history: list[float] = []
        self._changed = False
        self._start([] if history is None else history.tolist())

    @property
    def history(self) -> Floats:
        """float64[n]: the inputs that make the present state."""
        return np.array(self._history, np.float64)

    def split(self) -> tuple[float, float]:
        """Means of the inputs before and after the likeliest change among them; NaN for fewer than two.

        ADWIN itself drops one bucket at a time: its mean right after a change is still mostly of what was before.
        """
        x = self.history
        if len(x) < 2:
            return float("nan"), float("nan")
        n = np.arange(1, len(x))
        before = np.cumsum(x)[:-1] / n
        after = (x.sum() - np.cumsum(x)[:-1]) / (len(x) - n)
        best = int(np.argmax((after - before) ** 2 * n * (len(x) - n)))
        return float(before[best]), float(after[best])

    def update(self, value: float) -> bool:
        """Learn ``value``, finite; True where ADWIN finds that the mean has changed: with the next it starts over."""
        if self._changed:
            self._start([])
        if len(self._history) >= MAX_HISTORY:
            self._start(self._history[MAX_HISTORY // 2 :])
        return self._learn(value)

    def _start(self, history: list[float]) -> None:
        # Every value is checked (clock 1): one value is a window of thousands of events, there is time. The others
        # are River's own defaults.
        self._adwin = _ADWIN(delta=self._delta, clock=1, max_buckets=5, min_window_length=5, grace_period=10)
        self._history, self._changed = [], False
        for value in history:
            self._learn(value)

    def _learn(self, value: float) -> bool:
        self._history.append(value)
        self._changed = bool(self._adwin.update(value))
        return self._changed
