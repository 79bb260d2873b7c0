"""From a detector's numbers to its :class:`~detectors.protocol.Scores`: what is not ready is NaN everywhere."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors import special
from detectors.protocol import Bools, CategoryColumns, Floats, Ints, NumericColumns, Scores


@dataclass(frozen=True, slots=True)
class Subject:
    """What n scores are about: ``series``, ``scope`` and ``rows`` int64[n], and the quantities' names."""

    series: Ints
    scope: Ints
    quantity: Sequence[str]
    rows: Ints


def numeric_subject(numeric: NumericColumns, places: Ints | None = None) -> Subject:
    """All numeric series of a window, or those at ``places``; rows are the events with a value."""
    if places is None:
        return Subject(numeric.series, numeric.scope, numeric.name, numeric.count)
    names = [*map(numeric.name.__getitem__, places.tolist())]
    return Subject(numeric.series[places], numeric.scope[places], names, numeric.count[places])


def category_subject(categories: CategoryColumns, places: Ints) -> Subject:
    """The categorical series of a window at ``places``."""
    names = [*map(categories.name.__getitem__, places.tolist())]
    return Subject(categories.series[places], categories.scope[places], names, categories.rows[places])


@dataclass(frozen=True, slots=True)
class Measured:
    """A detector's numbers for n series, each float64[n] or one number for all; whatever where not ready.

    The fields are those of :class:`~detectors.protocol.Scores`. ``value`` left out is the score itself, ``threshold``
    left out the larger of floor and noise.
    """

    score: Floats
    floor: Floats | float
    noise: Floats | float = 0.0
    p_value: Floats | float = np.nan
    value: Floats | None = None
    reference: Floats | float = np.nan
    threshold: Floats | float | None = None
    mean: Floats | None = None
    ref_mean: Floats | None = None
    label: Sequence[str] | None = None
    exemplars: Mapping[int, tuple[str, ...]] | None = None
    since_ms: Ints | None = None
    note: Callable[[int], str] | None = None
    felt: Bools | None = None


def scores(detector: str, unit: str, subject: Subject, ready: Bools, measured: Measured) -> Scores:
    """The scores of all series of ``subject``; a series whose score is not a number is not ready."""
    ready = ready & ~np.isnan(measured.score)

    def shown(value: NDArray[np.float64] | float) -> Floats:
        return np.where(ready, value, np.nan)

    limit = np.maximum(measured.floor, measured.noise) if measured.threshold is None else measured.threshold
    return Scores(
        detector=detector,
        unit=unit,
        series=subject.series,
        scope=subject.scope,
        quantity=subject.quantity,
        ready=ready,
        score=shown(measured.score),
        floor=shown(measured.floor),
        noise=shown(measured.noise),
        p_value=shown(measured.p_value),
        value=shown(measured.score if measured.value is None else measured.value),
        reference=shown(measured.reference),
        rows=subject.rows,
        exemplars=measured.exemplars,
        threshold=shown(limit),
        mean=None if measured.mean is None else shown(measured.mean),
        ref_mean=None if measured.ref_mean is None else shown(measured.ref_mean),
        label=measured.label,
        since_ms=measured.since_ms,
        note=measured.note,
        felt=None if measured.felt is None else measured.felt & ready,
    )


def distances(
    detector: str, unit: str, numeric: NumericColumns, places: Ints, ready: Bools, measured: Measured
) -> Scores:
    """The scores of distances between distributions, measured for the series at ``places`` int64[k] alone.

    Parameters
    ----------
    ready
        bool[k]; all other series are not ready.
    measured
        Of these k: score, noise, p-value, and as the reference what sampling alone would make of the distance.
    """
    n = len(numeric.series)
    all_ready = np.zeros(n, np.bool_)
    all_ready[places] = ready

    def spread_out(values: Floats | float) -> Floats:
        return spread(np.broadcast_to(values, places.shape), places, n)

    whole = replace(
        measured,
        score=spread_out(measured.score),
        floor=spread_out(measured.floor),
        noise=spread_out(measured.noise),
        p_value=spread_out(measured.p_value),
        reference=spread_out(measured.reference),
        mean=numeric.mean,
        ref_mean=numeric.ref_mean,
    )
    return scores(detector, unit, numeric_subject(numeric), all_ready, whole)


def excess_ratio(
    counted: Ints | Floats,
    of: Ints | Floats,
    reference: Floats,
    ref_of: Floats | float,
    floor: Floats | float,
    z: float,
) -> Measured:
    """How far a share of events is above its reference, against what chance makes of so few events.

    Parameters
    ----------
    counted, of
        int64[n]: the events counted, of how many; float64[n] where several count as one.
    reference, ref_of
        float64[n], the share in the reference and how many events it is of; NaN where there is none.
    floor
        The excess below which nobody cares.
    z
        Standard deviations that chance may reach.
    """
    N = np.maximum(of, 1).astype(np.float64)
    ratio = counted / N
    expected = N * np.minimum(np.nan_to_num(reference) + 0.5 / ref_of, 1)
    widen = np.sqrt(1 + N / ref_of)
    noise = special.count_upper(expected, z, widen) / N - reference
    return Measured(
        score=np.maximum(ratio - reference, 0),
        floor=floor,
        noise=noise,
        p_value=special.normal_sf(special.count_z(counted.astype(np.float64), expected, widen)),
        value=ratio,
        reference=reference,
        threshold=reference + np.maximum(floor, noise),
    )


def spread(values: Floats, places: Ints, n: int) -> Floats:
    """Values of the ready series at their ``places`` among n, NaN elsewhere."""
    result = np.full(n, np.nan)
    result[places] = values
    return result
