"""What an alarm at fixed intervals would have scored: whoever alarms often enough finds everything.

It alarms at the end of every N-th window, about every entity, and is granted what no real detector is: whatever is on
just then, it is taken to have named. A score that does not stand clear of it is no skill.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from loadgen.score.run import Run
from loadgen.truth import Expectation

WINDOW_MS: Final = 60_000
"""The window in which most detectors look."""


class IntervalScore(msgspec.Struct, frozen=True):
    """An alarm every ``every_windows`` windows on every entity, and what it would have scored.

    ``alarms`` leaves out those during injections that may alert: they count neither way. ``delay_p50_s`` is None where
    nothing was detected.
    """

    every_windows: int
    alarms: int
    recall: float
    precision: float
    f1: float
    delay_p50_s: float | None


def f1(recall: float | None, precision: float | None) -> float:
    """The harmonic mean of both; 0 where either is 0 or unknown.

    Examples
    --------
    >>> f1(1.0, 0.5)
    0.6666666666666666
    >>> f1(None, 1.0)
    0.0
    """
    return 2 * recall * precision / (recall + precision) if recall and precision else 0.0


def of_as_many(runs: Sequence[Run], alarms: int, window_ms: int = WINDOW_MS) -> IntervalScore | None:
    """The interval at which about as many alarms come as there were; None where there were none."""
    grounds = _grounds(runs, window_ms)
    if not alarms or not grounds:
        return None
    windows = sum(ground.windows for ground in grounds)
    return _score(grounds, max(1, round(windows / alarms)), window_ms)


def best(runs: Sequence[Run], window_ms: int = WINDOW_MS) -> IntervalScore | None:
    """The interval that would have done best by F1, known only in hindsight; the longest of several that do."""
    grounds = _grounds(runs, window_ms)
    if not grounds:
        return None
    longest = max(ground.windows for ground in grounds)
    scores = (_score(grounds, every, window_ms) for every in range(longest, 0, -1))
    return max(scores, key=lambda score: score.f1)


@dataclass(frozen=True, slots=True)
class _Ground:
    """An entity in a run, by the ends of its windows, numbered from 1.

    ``true`` and ``neutral`` say of each whether a fault that must, or an injection that may alert is on; ``faults``
    holds, per fault, its first and last window and how long after its onset window 0 ends, in ms.
    """

    windows: int
    true: NDArray[np.bool_]
    neutral: NDArray[np.bool_]
    faults: tuple[tuple[int, int, int], ...]


def _grounds(runs: Sequence[Run], window_ms: int) -> list[_Ground]:
    return [_ground(run, entity, window_ms) for run in runs for entity in run.watched.entities]


def _ground(run: Run, entity: str, window_ms: int) -> _Ground:
    start_ms = run.watched.start_ms
    windows = max(0, (run.watched.end_ms - start_ms) // window_ms)
    on = {expectation: np.zeros(windows + 1, np.bool_) for expectation in Expectation}
    faults = []
    for fault in run.card.faults:
        truth = fault.truth
        if truth.entity != entity:
            continue
        first = max(1, -(-(truth.onset_ms - start_ms) // window_ms))
        last = min(windows, (truth.end_ms + run.card.grace_ms - start_ms) // window_ms)
        on[truth.expectation][first : last + 1] = True
        if truth.expectation is Expectation.MUST:
            faults.append((first, last, start_ms - truth.onset_ms))
    true = on[Expectation.MUST]
    return _Ground(windows, true, on[Expectation.MAY] & ~true, tuple(faults))


def _score(grounds: Sequence[_Ground], every: int, window_ms: int) -> IntervalScore:
    alarms = true = faults = 0
    delays = []
    for ground in grounds:
        at = np.arange(every, ground.windows + 1, every)
        true += int(ground.true[at].sum())
        alarms += len(at) - int(ground.neutral[at].sum())
        faults += len(ground.faults)
        for first, last, lead_ms in ground.faults:
            hit = -(-first // every) * every
            if hit <= last:
                delays.append((hit * window_ms + lead_ms) / 1000)
    recall = len(delays) / faults if faults else 0.0
    precision = true / alarms if alarms else 0.0
    delay_s = float(np.median(delays)) if delays else None
    return IntervalScore(every, alarms, recall, precision, f1(recall, precision), delay_s)
