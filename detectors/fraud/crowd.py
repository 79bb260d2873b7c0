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

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import scoring, special
from detectors.drift.compared import Compared, Counts, blocks, cells, total
from detectors.parameters import check_bounds
from detectors.protocol import Bools, Floats, Ints, NumericColumns, Role, SampleColumns, Scores, WindowBatch
from detectors.stateless import Stateless
from schemas.baselines import CELLS
from schemas.scopes import Family

Reals = NDArray[np.floating[Any]]

_PLACES: Final = 2 * CELLS - 1
"""All bins, then all pairs of neighbours."""
_LARGE: Final = 1e6
"""Values, of window and baseline together, from which on numbers of four bytes are not near enough."""


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


def crowds(cur: Counts, ref: Counts, z: float, floor_ratio: float, floor_relative: float) -> Crowds:
    """The place of each series where most is over its limit: int[n, 34] counts of windows and baselines.

    Examples
    --------
    >>> ref = np.full((1, 34), 100)
    >>> found = crowds(ref + 150 * (np.arange(34) == 20), ref, 4.8, 0.02, 0.5)
    >>> found.first, found.last, found.count, found.expected, found.widen.round(1)
    (array([20]), array([20]), array([250.]), array([100.5]), array([1.4]))
    """
    place = np.empty(len(cur), np.int64)
    columns = tuple(np.empty(len(cur)) for _ in range(4))
    limits = z * z, floor_ratio, floor_relative
    for block in blocks(len(cur)):
        place[block], *found = _block(cells(cur, block), cells(ref, block), limits)
        for column, part in zip(columns, found, strict=True):
            column[block] = part
    first = np.where(place < CELLS, place, place - CELLS)
    count, expected, widen, bins = columns
    return Crowds(first, first + (place >= CELLS), count, expected, widen, bins.astype(np.int64))


@dataclass(frozen=True, slots=True)
class _Sums:
    """What lies in b series, float[k, b], and in all of their bins, float[b]: counts, chi-square parts, bins in use."""

    c: Reals
    r: Reals
    joint: Reals
    used: Reals
    N: Reals
    M: Reals
    all_joint: Reals
    all_used: Reals

    @classmethod
    def of(cls, c: Floats, r: Floats) -> Self:
        """Of the bins' counts float64[34, b]."""
        both = c + r
        used = both > 0
        joint = c * r
        joint /= np.where(used, both, 1.0)
        all_used = used.sum(axis=0).astype(np.float64)
        return cls(c, r, joint, used.astype(np.float64), c.sum(axis=0), r.sum(axis=0), total(joint), all_used)

    def each(self, change: Callable[[Reals], Reals]) -> Self:
        """With the columns of bins as ``change`` makes them."""
        c, r, joint, used = map(change, (self.c, self.r, self.joint, self.used))
        return replace(self, c=c, r=r, joint=joint, used=used)

    def only(self, which: Bools) -> Self:
        """The columns of which ``which`` bool[b] holds."""
        return type(self)(*(getattr(self, name)[..., which] for name in _Sums.__slots__))

    def as_singles(self) -> Self:
        """In four bytes, which takes half as long."""
        return type(self)(*(getattr(self, name).astype(np.float32) for name in _Sums.__slots__))


def _block(c: Floats, r: Floats, limits: tuple[float, float, float]) -> tuple[NDArray[Any], ...]:
    """The worst place of each column of float64[34, b] counts: which, count, expected, widening, bins besides it."""
    sums = _Sums.of(c, r)
    worst = np.empty(c.shape[1], np.int64)
    large = sums.N + sums.M > _LARGE
    for which, chosen in ((large, sums), (~large, sums.as_singles())):
        if which.all():
            worst = _worst(chosen.each(_places), limits)
        elif which.any():
            worst[which] = _worst(chosen.only(which).each(_places), limits)
    own = sums.each(lambda x: _at(x, worst))
    expected, variance, used = _expected(own)
    return worst, own.c, expected, np.sqrt(variance), used


def _expected(at: _Sums) -> tuple[Reals, Reals, Reals]:
    r"""What other bins let expect of places, by how much the variance is widened, and other bins in use; `at` is spent.

    With J the sum of c r / (c + r) over the other bins, which hold C and R values, their chi-square is
    $(C + R)\,(C R - J (C + R)) / (C R)$.
    """
    C, R = at.N - at.c, at.M - at.r
    S = C + R
    J = np.subtract(at.all_joint, at.joint, out=at.joint)
    used = np.subtract(at.all_used, at.used, out=at.used)
    product = C * R
    J *= S
    variance = np.subtract(product, J, out=J)
    variance *= S
    product *= np.maximum(np.subtract(used, 1, out=S), 1, out=S)
    variance /= np.maximum(product, 0.5, out=product)
    np.maximum(variance, 1, out=variance)
    variance *= 1 + at.N / np.maximum(at.M, 1)
    expected = np.add(at.r, 0.5, out=at.r)
    expected *= np.maximum(C, 0.5, out=C)
    expected /= np.maximum(R, 0.5, out=R)
    return expected, variance, used


def _worst(at: _Sums, limits: tuple[float, float, float]) -> Ints:
    """The place of each column that is most over its limit, int64[b]; `at` float[67, b] is spent."""
    square_z, floor_ratio, floor_relative = limits
    expected, wide, _ = _expected(at)
    over = np.subtract(at.c, expected, out=at.c)
    # What `count_upper` makes of it, less the expectation.
    wide *= square_z
    limit = expected + 0.375
    limit *= wide
    np.sqrt(limit, out=limit)
    wide /= 4
    limit += wide
    limit += 0.5
    np.maximum(limit, floor_ratio * at.N, out=limit)
    expected *= floor_relative
    np.maximum(limit, expected, out=limit)
    over /= limit
    worst: Ints = over.argmax(axis=0)
    return worst


def _places(x: Reals) -> Reals:
    """The bins float[34, b], then the pairs of neighbours: float[67, b]."""
    places = np.empty((_PLACES, x.shape[1]), x.dtype)
    places[:CELLS] = x
    np.add(x[:-1], x[1:], out=places[CELLS:])
    return places


def _at(x: Reals, place: Ints) -> Reals:
    """What lies in one place of each column: float[b]."""
    first, column = np.where(place < CELLS, place, place - CELLS), np.arange(len(place))
    return x[first, column] + np.where(place < CELLS, 0, x[np.minimum(first + 1, CELLS - 1), column])


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
        compared = compared.take(
            (numeric.role[compared.places] == Role.FEATURE) & asked[numeric.scope[compared.places]]
        )
        places, N = compared.places, compared.N.astype(np.float64)
        found = crowds(compared.cur, compared.ref, self._z, params.floor_ratio, params.floor_relative)
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
    below, above = np.maximum(found.first - 1, 0), np.minimum(found.last, CELLS - 2)
    low = np.where(found.first == 0, -np.inf, numeric.edges[places, below])
    return low, np.where(found.last == CELLS - 1, np.inf, numeric.edges[places, above])


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
