"""River's ADWIN on one series, with a state of plain numbers."""

from typing import Any, Final

import numpy as np
from river.drift import ADWIN

from detectors.protocol import Floats

_ADWIN: Final[Any] = ADWIN  # River is typed in part only
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
        self._history: list[float] = []
        self._start([] if history is None else history.tolist())

    @property
    def history(self) -> Floats:
        """float64[n]: the inputs that make the present state."""
        return np.array(self._history, np.float64)

    @property
    def mean(self) -> float:
        """Mean of ADWIN's window, NaN while it is empty."""
        return float(self._adwin.estimation) if self._adwin.width else float("nan")

    def update(self, value: float) -> bool:
        """Learn ``value``, finite; True where ADWIN finds that the mean has changed."""
        if self._adwin.drift_detected:
            # River starts over by itself with the next value: so does the history.
            self._history.clear()
        if len(self._history) >= MAX_HISTORY:
            self._start(self._history[MAX_HISTORY // 2 :])
        self._history.append(value)
        self._adwin.update(value)
        return bool(self._adwin.drift_detected)

    def _start(self, history: list[float]) -> None:
        # Every value is checked (clock 1): one value is a window of thousands of events, there is time.
        self._adwin = _ADWIN(delta=self._delta, clock=1)
        self._history = []
        for value in history:
            if self._adwin.drift_detected:
                self._history.clear()
            self._history.append(value)
            self._adwin.update(value)
