r"""A crowd: many more values than usual in one narrow place, while all others stand to each other as always.

A ring of accounts, a bot, a card being tried: rows alike in a value or two, and too few to move a mean or a shape. Over
the baseline's quantile bins, each about a thirtieth of what is usual, they stand out.

Each bin, and each two neighbouring ones, is a place with c of the window's N values and r of the baseline's M. If no
crowd is there, what lies elsewhere tells how many to expect: $e = (N - c)\,r / (M - r)$, and the crowd is $(c - e)/N$
of the rows. Noise takes c for a Poisson count, its standard deviation widened by $\sqrt{(1 + N/M)\,\varphi}$ with
$\varphi$ the two-sample chi-square of all other bins over its degrees of freedom, at least 1: where the whole
distribution has moved, or values come in bursts, one bin that is fuller than others is no crowd.

References
----------
.. [1] J. I. Naus, "The distribution of the size of the maximum cluster of points on a line", 1965 (scan statistics).
.. [2] J. H. Friedman, N. I. Fisher, "Bump hunting in high-dimensional data", 1999.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import msgspec
import numpy as np

from detectors import scoring, special
from detectors.drift.compared import Compared
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Ints, NumericColumns, Role, SampleColumns, Scores, WindowBatch
from detectors.stateless import Stateless
from schemas.baselines import CELLS
from schemas.scopes import Family

_BLOCK: Final = 1_024
_PLACES: Final = 2 * CELLS - 1
"""All bins, then all pairs of neighbours."""


class CrowdParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A crowd is ``floor_ratio`` of the rows at least, and ``floor_relative`` times what is usual at its place.

    ``min_rows`` values are wanted in the window and ``min_ref_rows`` in the baseline, in ``min_bins`` bins besides the
    crowd's own. ``false_alarm_ratio`` is per series and window, over all places.
    """

    window_s: int = 60
    floor_ratio: float = 0.02
    floor_relative: float = 0.5
    min_rows: int = 200
    min_ref_rows: int = 500
    min_bins: int = 6
    exemplars: int = 5
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(0, 1), floor_relative=(0, 100), min_rows=(1, 10**9))
        check_bounds(self, min_ref_rows=(50, 10**9), min_bins=(3, CELLS - 2), exemplars=(0, 100))
        check_bounds(self, false_alarm_ratio=(1e-12, 0.1))


@dataclass(frozen=True, slots=True)
class Crowds:
    """The most conspicuous place of each of n series: its first and last bin, int64[n].

    ``count`` and ``expected`` float64[n]: values there, and as many as the others let expect. ``widen`` float64[n]
    multiplies the standard deviation of the count. ``bins`` int64[n]: bins with anything in them besides the place's.
    """

    first: Ints
    last: Ints
    count: Floats
    expected: Floats
    widen: Floats
    bins: Ints


def crowds(cur: Ints, ref: Ints, z: float, floor_ratio: float, floor_relative: float) -> Crowds:
    """The place of each series where most is over its limit: int[n, 34] counts of windows and baselines.

    Examples
    --------
    >>> ref = np.full((1, 34), 100)
    >>> found = crowds(ref + 150 * (np.arange(34) == 20), ref, 4.8, 0.02, 0.5)
    >>> found.first, found.last, found.count, found.expected, found.widen.round(1)
    (array([20]), array([20]), array([250.]), array([100.5]), array([1.4]))
    """
    parts = [
        _block(cur[at : at + _BLOCK], ref[at : at + _BLOCK], z, floor_ratio, floor_relative)
        for at in range(0, max(len(cur), 1), _BLOCK)
    ]
    place, *columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    first = np.where(place < CELLS, place, place - CELLS)
    count, expected, widen, bins = columns
    return Crowds(first, first + (place >= CELLS), count, expected, widen, bins.astype(np.int64))


def _block(cur: Ints, ref: Ints, z: float, floor_ratio: float, floor_relative: float) -> tuple[Floats, ...]:
    c, r = cur.astype(np.float64), ref.astype(np.float64)
    N, M = c.sum(axis=1, keepdims=True), r.sum(axis=1, keepdims=True)
    at_c, at_r = _places(c), _places(r)
    rest_c, rest_r = np.maximum(N - at_c, 0.5), np.maximum(M - at_r, 0.5)
    both = np.where(c + r > 0, c + r, 1.0)
    # The chi-square of all other bins, for every place: what it would be of all, less the place's own terms.
    own, theirs, joint, used = (
        part.sum(axis=1, keepdims=True) - _places(part)
        for part in (c * c / both, r * r / both, c * r / both, (c + r > 0).astype(np.float64))
    )
    square = rest_r / rest_c * own + rest_c / rest_r * theirs - 2 * joint
    spread = np.maximum(square / np.maximum(used - 1, 1), 1.0)
    expected = rest_c * (at_r + 0.5) / rest_r
    widen = np.sqrt(spread * (1 + N / np.maximum(M, 1)))
    noise = special.count_upper(expected, z, widen) - expected
    limit = np.maximum(np.maximum(floor_ratio * N, floor_relative * expected), noise)
    worst = ((at_c - expected) / limit).argmax(axis=1)
    columns = (np.take_along_axis(x, worst[:, None], axis=1)[:, 0] for x in (at_c, expected, widen, used))
    return (worst, *columns)


def _places(x: Floats) -> Floats:
    return np.concatenate((x, x[:, :-1] + x[:, 1:]), axis=1)


class FeatureCrowd(Stateless[CrowdParams]):
    """Share of a model's rows that crowd in one place of a feature, once a minute.

    Parameters
    ----------
    params
        See :class:`CrowdParams`.

    Notes
    -----
    O(67 N) for N series, no state. The label says between which values the crowd stands, the exemplars who is in it.
    A feature of few values has no bins to compare with, and is not ready: `categories` and PSI watch it.
    """

    kind: ClassVar[str] = "crowd"
    state_version: ClassVar[int] = 1
    params_type = CrowdParams

    def __init__(self, params: CrowdParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio / _PLACES)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every feature of predictions with edges, ``min_rows`` values and ``min_ref_rows`` in the baseline."""
        numeric, params = windows.numeric, self.params
        asked = np.array([family is Family.PREDICTION for family in windows.scopes.family], np.bool_)
        compared = Compared.of(numeric, params.min_rows, params.min_ref_rows)
        chosen = (numeric.role[compared.places] == Role.FEATURE) & asked[numeric.scope[compared.places]]
        places, N = compared.places[chosen], compared.N[chosen].astype(np.float64)
        found = crowds(compared.cur[chosen], compared.ref[chosen], self._z, params.floor_ratio, params.floor_relative)
        usual = found.expected / N
        noise = special.count_upper(found.expected, self._z, found.widen) / N - usual
        floor = np.maximum(params.floor_ratio, params.floor_relative * usual)
        score = np.maximum(found.count / N - usual, 0.0)
        tail = special.normal_sf(special.count_z(found.count, found.expected, found.widen))
        seen = np.flatnonzero((score >= floor) & (score > noise))
        low, high = _between(numeric, places, found)
        measured = scoring.Measured(
            score=score,
            floor=floor,
            noise=noise,
            p_value=np.minimum(_PLACES * tail, 1.0),
            value=usual + score,
            reference=usual,
            threshold=usual + np.maximum(floor, noise),
            label=_labels(low, high, seen, len(places)),
            exemplars=_members(windows.samples, numeric, places, (low, high), seen, params.exemplars),
        )
        ready = found.bins >= params.min_bins
        return scoring.scores(self.kind, "of rows", scoring.numeric_subject(numeric, places), ready, measured)


def _between(numeric: NumericColumns, places: Ints, found: Crowds) -> tuple[Floats, Floats]:
    """The values between which each place lies, float64[n] each; infinite below the first edge and above the last."""
    edges = np.concatenate(
        (np.full((len(places), 1), -np.inf), numeric.edges[places], np.full((len(places), 1), np.inf)), axis=1
    )
    rows = np.arange(len(places))
    return edges[rows, found.first], edges[rows, found.last + 1]


def _labels(low: Floats, high: Floats, seen: Ints, n: int) -> list[str]:
    labels = [""] * n
    for i in seen.tolist():
        begin, end = float(low[i]), float(high[i])
        labels[i] = f"below {end:.4g}" if begin == -np.inf else f"over {begin:.4g}"
        if np.isfinite(begin) and np.isfinite(end):
            labels[i] = f"{begin:.4g} to {end:.4g}"
    return labels


def _members(
    samples: SampleColumns, numeric: NumericColumns, places: Ints, between: tuple[Floats, Floats], seen: Ints, most: int
) -> Mapping[int, tuple[str, ...]]:
    """Event ids of sampled rows in each crowd of ``seen``, for scopes that have a sample."""
    members: dict[int, tuple[str, ...]] = {}
    of_scope = {scope: at for at, scope in enumerate(samples.scope)}
    for i in seen.tolist():
        at = of_scope.get(int(numeric.scope[places[i]]))
        name = numeric.name[int(places[i])]
        if at is None or name not in samples.names[at]:
            continue
        values = samples.values[at][:, samples.names[at].index(name)]
        inside = np.flatnonzero((values >= between[0][i]) & (values <= between[1][i]))[:most]
        ids = tuple(samples.event_ids[at][row] for row in inside.tolist())
        members[i] = tuple(event_id for event_id in ids if event_id)
    return members
