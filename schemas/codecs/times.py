"""Which event times can be believed."""

from typing import Final

import numpy as np

from schemas.columns import Ints, Reason

YEAR_2000_MS: Final = 946_684_800_000
YEAR_2200_MS: Final = 7_258_118_400_000
"""Later than this is refused even where the append time is not known."""

Problem = tuple[int, Reason, str]
"""(place, reason, message) of an event that cannot be used."""


def problems(ts_ms: Ints, append_ms: Ints, max_future_s: int) -> list[Problem]:
    """What is wrong with the times of events.

    Parameters
    ----------
    ts_ms
        int64[n].
    append_ms
        int64[n], the broker's append time; ≤ 0 where it is not known.
    """
    latest = np.where(append_ms > 0, append_ms + max_future_s * 1000, YEAR_2200_MS)
    # a first look that costs two passes: nearly always nothing is wrong
    wrong = np.flatnonzero((ts_ms < YEAR_2000_MS) | (ts_ms > latest))
    found: list[Problem] = []
    for place in wrong.tolist():
        ts = int(ts_ms[place])
        if ts < YEAR_2000_MS:
            found.append((place, Reason.TIME_BEFORE_2000, f"ts_ms is {ts}, before the year 2000{_guess(ts)}"))
        else:
            ahead = f"more than {max_future_s} s after the broker's {int(append_ms[place])}"
            known = ahead if append_ms[place] > 0 else "after the year 2200"
            found.append((place, Reason.TIME_IN_FUTURE, f"ts_ms is {ts}, {known}{_guess(ts)}"))
    return found


def _guess(ts: int) -> str:
    if YEAR_2000_MS <= ts * 1000 <= YEAR_2200_MS:
        return ": these look like seconds, send milliseconds"
    for divisor, unit in ((1000, "microseconds"), (1_000_000, "nanoseconds")):
        if YEAR_2000_MS <= ts // divisor <= YEAR_2200_MS:
            return f": these look like {unit}, send milliseconds"
    return ""
