"""What alarms were worth to whoever gets them: found, missed, how late, how often for nothing."""

import math
from collections.abc import Iterable
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
PER: int = 10_000
"""False alarms are counted per so many windows: rows of a series, or windows of rows."""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Alarms held against anomalies.

    Attributes
    ----------
    anomalies, found
        How many there were, and how many had an alarm between their first and last window.
    alarms, false
        How many were raised, and how many of them in no anomaly.
    delays
        Windows from the beginning of each anomaly found to its first alarm.
    windows, quiet
        How many were scored, and how many of them lie in no anomaly.
    """

    anomalies: int = 0
    found: int = 0
    alarms: int = 0
    false: int = 0
    delays: tuple[int, ...] = ()
    windows: int = 0
    quiet: int = 0

    def __add__(self, other: Self) -> "Tally":
        return Tally(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    @property
    def recall(self) -> float:
        """Share of the anomalies that were found; NaN without one."""
        return self.found / self.anomalies if self.anomalies else math.nan

    @property
    def precision(self) -> float:
        """Share of the alarms that were right; NaN without one."""
        return 1 - self.false / self.alarms if self.alarms else math.nan

    @property
    def delay_p50(self) -> float:
        """Median delay of what was found, windows; NaN where nothing was."""
        return float(np.median(self.delays)) if self.delays else math.nan

    @property
    def false_per_10000(self) -> float:
        """False alarms per 10,000 windows without an anomaly; NaN without such."""
        return PER * self.false / self.quiet if self.quiet else math.nan


def tally(alarms: Ints, anomalies: Ints, windows: int, first: int = 0) -> Tally:
    """Hold alarms of one series against its anomalies.

    Parameters
    ----------
    alarms
        int64[k], the windows at which alarms were raised, ascending.
    anomalies
        int64[w, 2], first and last windows of the anomalies, both included; ascending, not overlapping.
    windows
        How many windows the series has; those before ``first`` do not count, nor do anomalies that end before it.
    """
    raised = alarms[alarms >= first]
    counted = anomalies[anomalies[:, 1] >= first]
    delays = []
    right = np.zeros(len(raised), np.bool_)
    inside = 0
    for begin, end in counted.tolist():
        own = (raised >= begin) & (raised <= end)
        inside += end - max(begin, first) + 1
        right |= own
        if own.any():
            delays.append(int(raised[own][0]) - begin)
    return Tally(
        anomalies=len(counted),
        found=len(delays),
        alarms=len(raised),
        false=int((~right).sum()),
        delays=tuple(delays),
        windows=windows - first,
        quiet=windows - first - inside,
    )


def total(tallies: Iterable[Tally]) -> Tally:
    """All of them together."""
    return sum(tallies, Tally())
