"""Streams with known drift from River's generators, as one series: how wrong a model is that no longer learns."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from detectors.protocol import Floats, Ints

FITTED_ROWS: Final = 1_000
"""Rows that the model is fitted to."""


@dataclass(frozen=True, slots=True)
class DriftStream:
    """``error`` float64[n], |target − prediction| of each row after the fit; ``onsets`` int64[k], where drifts begin.

    ``until`` int64[k]: where each has ended, the row after the last at which it is news.
    """

    name: str
    error: Floats
    onsets: Ints
    until: Ints


def drift_stream(name: str, rows: int, seed: int) -> DriftStream:
    """A stream of :data:`STREAMS`, of ``rows`` rows after those the model is fitted to.

    A linear model is fitted to the first :data:`FITTED_ROWS` rows by least squares and kept: what follows is the error
    of a model in production, of a regression (Friedman) or of a classifier (SEA).

    Raises
    ------
    KeyError
        If there is no stream of that name.
    """
    drifts, make = STREAMS[name]
    places = [FITTED_ROWS + int(share * rows) for share in drifts]
    width = max(rows // 20, 1)
    x, y = _table(make(places, width, seed), FITTED_ROWS + rows)
    fitted, *_ = np.linalg.lstsq(x[:FITTED_ROWS], y[:FITTED_ROWS], rcond=None)
    onsets = np.array(places, np.int64) - FITTED_ROWS
    # The sigmoid of a gradual drift begins half its width before its middle.
    onsets -= width // 2 if name.endswith("gradual") and name.startswith("sea") else 0
    return DriftStream(name, np.abs(y - x @ fitted)[FITTED_ROWS:], onsets, np.append(onsets[1:], rows)[: len(onsets)])


def _table(stream: Iterable[tuple[Mapping[Any, Any], Any]], rows: int) -> tuple[Floats, Floats]:
    taken = list(itertools.islice(stream, rows))
    x = np.array([[1.0, *map(float, features.values())] for features, _ in taken])
    return x, np.array([float(target) for _, target in taken])


def _friedman(places: list[int], width: int, seed: int) -> Any:  # noqa: ANN401, ARG001 - River's streams have no common public type
    from river.datasets import synth  # noqa: PLC0415 - seconds and 150 MB: only for who compares

    return synth.Friedman(seed=seed)


def _friedman_drift(kind: str, drifts: int) -> Callable[[list[int], int, int], Any]:
    def make(places: list[int], width: int, seed: int) -> Any:  # noqa: ANN401 - likewise
        from river.datasets import synth  # noqa: PLC0415 - likewise

        # "lea" takes three positions, the others two: what is not wanted lies beyond the end.
        given = (*places, 10**9, 10**9 + 1, 10**9 + 2)[:drifts]
        return synth.FriedmanDrift(drift_type=kind, position=given, transition_window=width, seed=seed)

    return make


def _sea(places: list[int], width: int, seed: int) -> Any:  # noqa: ANN401, ARG001 - likewise
    from river.datasets import synth  # noqa: PLC0415 - likewise

    return synth.SEA(seed=seed, variant=2)


def _sea_drift(*, gradual: bool) -> Callable[[list[int], int, int], Any]:
    def make(places: list[int], width: int, seed: int) -> Any:  # noqa: ANN401 - likewise
        from river.datasets import synth  # noqa: PLC0415 - likewise

        before, after = synth.SEA(seed=seed, variant=2), synth.SEA(seed=seed + 1, variant=3)
        if not gradual:
            # River's drifts are sigmoids, whose exponent overflows long before one of width 1.
            return itertools.chain(itertools.islice(before, places[0]), after)
        return synth.ConceptDriftStream(before, after, position=places[0], width=width, seed=seed)

    return make


STREAMS: Final[Mapping[str, tuple[tuple[float, ...], Callable[[list[int], int, int], Any]]]] = {
    "friedman_none": ((), _friedman),
    "friedman_local": ((0.4, 0.6, 0.8), _friedman_drift("lea", 3)),
    "friedman_gradual": ((0.5,), _friedman_drift("gsg", 2)),
    "friedman_recurring": ((0.4, 0.7), _friedman_drift("gra", 2)),
    "sea_none": ((), _sea),
    "sea_abrupt": ((0.5,), _sea_drift(gradual=False)),
    "sea_gradual": ((0.5,), _sea_drift(gradual=True)),
}
"""Name → where drifts are, as shares of the rows, and the generator from their rows, a width and a seed.

Local: abrupt, in a hundredth of the space, that expands twice. Recurring: abrupt, and at the second drift the first
concept comes back.
"""
