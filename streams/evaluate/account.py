"""What a detector's scores come to: on the benchmark, on drift streams, on one file."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.series.protocol import REFRACTORY_ROWS, alarms
from streams.evaluate import nab
from streams.evaluate.contenders import Contender
from streams.evaluate.running import Scored
from streams.evaluate.series import LabelledSeries, runs
from streams.evaluate.tally import Tally, tally, total

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_THRESHOLDS: Final = 200


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one detector fared; NaN where there is nothing to divide by.

    Attributes
    ----------
    threshold
        From which score on these alarms were raised.
    delay_p50
        Windows from the beginning of an anomaly to its first alarm, median of those found.
    false_per_10000
        False alarms per 10,000 windows without an anomaly.
    cpu_us
        CPU time of a window, µs.
    """

    detector: str
    threshold: float
    anomalies: int
    found: int
    recall: float
    precision: float
    delay_p50: float
    alarms: int
    false: int
    false_per_10000: float
    windows: int
    cpu_us: float


class NabScore(msgspec.Struct, frozen=True, kw_only=True):
    """How one detector fared on the benchmark: profile → score, 100 is perfect.

    Attributes
    ----------
    by_rows
        Every row at the threshold is an alarm, and the threshold is the best for all files: as the benchmark scores.
    by_alarms, thresholds
        The same for alarms, repeats within the refractory period not counted; and those thresholds.
    fixed
        Alarms at the threshold of every day, the same for all profiles and chosen without these files; None for none.
    odd, even
        The standard profile on the odd-numbered files with the threshold best for them, and on the others with it.
    outcome
        At the threshold of every day; where there is none, at the best for the standard profile.
    """

    detector: str
    by_rows: Mapping[str, float]
    by_alarms: Mapping[str, float]
    thresholds: Mapping[str, float]
    fixed: Mapping[str, float] | None
    odd: float
    even: float
    outcome: Outcome


def outcome(contender: Contender, threshold: float, counted: Tally, scored: Sequence[Scored], windows: int) -> Outcome:
    """What a tally says of a detector that took so long for so many ``windows``."""
    return Outcome(
        detector=contender.name,
        threshold=threshold,
        anomalies=counted.anomalies,
        found=counted.found,
        recall=counted.recall,
        precision=counted.precision,
        delay_p50=counted.delay_p50,
        alarms=counted.alarms,
        false=counted.false,
        false_per_10000=counted.false_per_10000,
        windows=counted.windows,
        cpu_us=1e6 * sum(one.cpu_s for one in scored) / max(windows, 1),
    )


def on_nab(contender: Contender, files: Sequence[LabelledSeries], scored: Sequence[Scored]) -> NabScore:
    """The benchmark's scores of one detector over ``files``, in the order of ``scored``."""
    of = nab.worths(files)
    rows = _counted(files, [one.score for one in scored])
    best = {name: _best(files, scored, profile) for name, profile in nab.PROFILES.items()}
    raised = _alarmed(files, scored)
    usual = contender.threshold
    fixed = None if usual is None else {n: nab.score(raised(usual), of, p) for n, p in nab.PROFILES.items()}
    threshold = best["standard"][1] if usual is None else usual
    pairs = list(zip(files, scored, strict=True))
    counted = total(
        tally(alarms(one.score, threshold), file.windows, len(file.value), nab.probation(len(file.value)))
        for file, one in pairs
    )
    odd, even = _halves(files, scored)
    return NabScore(
        detector=contender.name,
        by_rows={name: nab.optimise(rows, of, profile)[0] for name, profile in nab.PROFILES.items()},
        by_alarms={name: found for name, (found, _) in best.items()},
        thresholds={name: chosen for name, (_, chosen) in best.items()},
        fixed=fixed,
        odd=odd,
        even=even,
        outcome=outcome(contender, threshold, counted, scored, sum(len(file.value) for file in files)),
    )


def on_series(contender: Contender, series: LabelledSeries, scored: Scored, first: int = 0) -> tuple[Outcome, Ints]:
    """How a detector with a threshold fared on one series from row ``first`` on, and its alarms there, int64[k].

    Without a threshold the one is taken from which it would alarm at one row in a thousand: to be read with the others.
    """
    threshold = contender.threshold
    if threshold is None:
        ready = scored.score[np.isfinite(scored.score)]
        threshold = float(np.quantile(ready, 0.999)) if len(ready) else math.inf
    raised = alarms(scored.score, threshold)
    counted = tally(raised, series.windows, len(series.value), first)
    return outcome(contender, threshold, counted, [scored], len(series.value)), raised[raised >= first]


def on_windows(scored: Scored, threshold: float, drifts: Ints, window_rows: int, first: int) -> Tally:
    """Alarms where a stream's windows begin to be over the threshold, held against its drifts.

    Parameters
    ----------
    drifts
        int64[k, 2], first and last rows of the drifts, both included.
    first
        The first window that counts.
    """
    windows = scored.score[window_rows - 1 :: window_rows]
    begun = runs(windows >= threshold)[:, 0]
    return tally(begun, drifts // window_rows, len(windows), first)


def _counted(files: Sequence[LabelledSeries], parts: Sequence[NDArray[np.float64]]) -> Floats:
    pairs = zip(files, parts, strict=True)
    return np.concatenate([part[nab.probation(len(file.value)) :] for file, part in pairs])


def _alarmed(files: Sequence[LabelledSeries], scored: Sequence[Scored]) -> Callable[[float], NDArray[np.bool_]]:
    def at(threshold: float) -> NDArray[np.bool_]:
        parts = []
        for file, one in zip(files, scored, strict=True):
            raised = np.zeros(len(file.value), np.bool_)
            raised[alarms(one.score, threshold, REFRACTORY_ROWS)] = True
            parts.append(raised[nab.probation(len(file.value)) :])
        return np.concatenate(parts)

    return at


def _best(files: Sequence[LabelledSeries], scored: Sequence[Scored], profile: nab.Profile) -> tuple[float, float]:
    """The best score by alarms and its threshold: tried at ranks that grow by a constant factor."""
    ready = np.sort(_counted(files, [one.score for one in scored]))[::-1]
    ready = ready[np.isfinite(ready)]
    if not len(ready):
        return 0.0, math.inf
    ranks = np.unique(np.geomspace(1, len(ready), _THRESHOLDS).astype(np.int64)) - 1
    thresholds = np.unique(ready[ranks]).tolist()
    return nab.optimise_alarms(thresholds, _alarmed(files, scored), nab.worths(files), profile)


def _halves(files: Sequence[LabelledSeries], scored: Sequence[Scored]) -> tuple[float, float]:
    profile = nab.PROFILES["standard"]
    odd, threshold = _best(files[0::2], scored[0::2], profile)
    if not len(files[1::2]):
        return odd, math.nan
    alarmed = _alarmed(files[1::2], scored[1::2])(threshold)
    return odd, nab.score(alarmed, nab.worths(files[1::2]), profile)
