"""From a detector's numbers to its :class:`~detectors.protocol.Scores`: what is not ready is NaN everywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    names = [numeric.name[i] for i in places.tolist()]
    return Subject(numeric.series[places], numeric.scope[places], names, numeric.count[places])


def category_subject(categories: CategoryColumns, places: Ints) -> Subject:
    """The categorical series of a window at ``places``."""
    names = [categories.name[i] for i in places.tolist()]
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
    )


def spread(values: Floats, places: Ints, n: int) -> Floats:
    """Values of the ready series at their ``places`` among n, NaN elsewhere."""
    result = np.full(n, np.nan)
    result[places] = values
    return result
