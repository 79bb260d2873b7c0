r"""Population stability index of a feature or score against its baseline.

$PSI = \sum_g (p_g - q_g) \ln(p_g / q_g)$ over groups of the baseline's quantile bins. Bins are joined with their right
neighbours until a group expects at least five events on either side; what fell where the baseline has nothing or a
single value (under, over, or in a gap between its values) is a group of its own, with one event granted to the
baseline: by Good and Turing's estimate its singletons are as many as what it has not seen. The smaller side gets one
pseudo-event per group and the larger as many in proportion, so that an empty group is no infinity and shares
stay comparable.

Under no change $PSI \approx \chi^2_{G-1} (1/N + 1/M)$: that gives the noise bound, the p-value, and the reference.

References
----------
.. [1] B. Yurdakul, "Statistical properties of population stability index", Western Michigan University, 2018.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import scoring, special
from detectors.drift.compared import BLOCK, BinnedDistance, Compared, blocks, cells, floors, total
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Ints, NumericColumns, Scores, WindowBatch


class PsiParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor`` is the folklore's "some change"; ``min_rows`` holds for the window and the baseline alike.

    ``false_alarm_ratio`` is how often sampling alone may cross the noise bound, per series and window.
    """

    window_s: int = 60
    floor: float = 0.1
    min_rows: int = 200
    min_expected: float = 5.0
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor=(0, 100), min_rows=(50, 10**9))
        check_bounds(self, min_expected=(1, 1e6), false_alarm_ratio=(1e-12, 0.1))


def psi(cur: NDArray[np.integer], ref: NDArray[np.integer], min_expected: Floats | float = 5.0) -> tuple[Floats, Ints]:
    """PSI of each series.

    Parameters
    ----------
    cur, ref
        int[n, k] counts in the same k cells, each row of each with at least one count.
    min_expected
        Events each group expects at least, given the smaller of the two samples; one number, or float64[n].

    Returns
    -------
    float64[n], ≥ 0, and int64[n], the number of groups compared.

    Examples
    --------
    >>> ref = np.array([[0, 100, 100, 100, 100, 0]] * 2)
    >>> cur = np.array([[0, 100, 100, 100, 100, 0], [0, 40, 80, 120, 150, 10]])
    >>> value, groups = psi(cur, ref)
    >>> value.round(3), groups
    (array([0.002, 0.241]), array([5, 5]))
    """
    expected = np.broadcast_to(min_expected, len(cur))
    values, groups = np.empty(len(cur)), np.empty(len(cur), np.int64)
    sparse = []
    for block in blocks(len(cur)):
        c, r = cells(cur, block), cells(ref, block)
        tables = _Tables.of(c, r)
        few = np.flatnonzero(tables.least < tables.wanted(expected[block]))
        sparse.append(few + block.start)
        values[block], groups[block] = tables.psi()
    # Together: there are few of them in a block, and joining takes many steps.
    joined = np.concatenate(sparse) if sparse else groups
    for start in range(0, len(joined), BLOCK):
        some = joined[start : start + BLOCK]
        tables = _Tables.of(*(np.asarray(counts[some].T, np.float64, order="C") for counts in (cur, ref)))
        values[some], groups[some] = tables.joined(tables.wanted(expected[some])).psi()
    return values, groups


@dataclass(frozen=True, slots=True)
class _Tables:
    """Counts float64[k, b] of what the baseline knows, and ``rare_c``, ``rare_r`` float64[b] of all else together.

    ``N`` and ``M`` float64[b] are the sums, ``least`` float64[b] the least that the baseline has in a cell it knows.
    """

    c: Floats
    r: Floats
    rare_c: Floats
    rare_r: Floats
    N: Floats
    M: Floats
    least: Floats

    @classmethod
    def of(cls, c: Floats, r: Floats) -> Self:
        """The tables of counts, which are written over."""
        N, M = c.sum(axis=0), r.sum(axis=0)
        unknown = r <= 1
        least = np.where(unknown, np.inf, r).min(axis=0)
        np.copyto(c, 0.0, where=unknown)
        np.copyto(r, 0.0, where=unknown)
        # One event is granted to what the baseline has not seen.
        return cls(c, r, N - c.sum(axis=0), M - r.sum(axis=0) + 1, N, M + 1, least)

    def wanted(self, min_expected: Floats) -> Floats:
        """How much of the baseline a group takes, float64[b], for the smaller sample to expect ``min_expected``."""
        return min_expected * np.maximum(1, self.M / self.N)

    def joined(self, wanted: Floats) -> Self:
        """With neighbours joined."""
        c, r = _joined(self.c, self.r, wanted)
        return replace(self, c=c, r=r)

    def psi(self) -> tuple[Floats, Ints]:
        """The sum over the groups, float64[b], and how many there are, int64[b]; the tables are written over."""
        c, r, N, M = self.c, self.r, self.N, self.M
        empty = r == 0
        groups = len(r) + 1 - np.count_nonzero(empty, axis=0)
        less = np.minimum(N, M)
        per_c, per_r = 1 / (N * (1 + groups / less)), 1 / (M * (1 + groups / less))
        rare = _terms(self.rare_c[None], self.rare_r[None], (N / less, M / less), (per_c, per_r))[0]
        terms = _terms(c, r, (N / less, M / less), (per_c, per_r))
        np.copyto(terms, 0.0, where=empty)
        return rare + total(terms), groups


def _terms(c: Floats, r: Floats, pseudo: tuple[Floats, Floats], per: tuple[Floats, Floats]) -> Floats:
    """(p - q) ln(p / q) of each cell; ``c`` and ``r`` are written over."""
    for counts, more, scale in zip((c, r), pseudo, per, strict=True):
        np.add(counts, more, out=counts)
        np.multiply(counts, scale, out=counts)
    logs = c / r
    np.log(logs, out=logs)
    c -= r
    logs *= c
    return logs


def _joined(c: Floats, r: Floats, least: Floats) -> tuple[Floats, Floats]:
    """Bins joined to the right until the reference has ``least`` in each; what is left over joins the last group."""
    k, n = c.shape
    joined_c, joined_r = np.zeros_like(c), np.zeros_like(r)
    held_c, held_r = np.zeros(n), np.zeros(n)
    last = np.full(n, k - 1)
    for i in range(k):
        held_c += c[i]
        held_r += r[i]
        full = held_r >= least
        joined_c[i], joined_r[i] = np.where(full, held_c, 0.0), np.where(full, held_r, 0.0)
        last[full] = i
        held_c[full] = 0.0
        held_r[full] = 0.0
    column = np.arange(n)
    joined_c[last, column] += held_c
    joined_r[last, column] += held_r
    return joined_c, joined_r


class PopulationStability(BinnedDistance[PsiParams]):
    """PSI of every series that has a baseline's bins, once a minute.

    Parameters
    ----------
    params
        See :class:`PsiParams`.

    Notes
    -----
    O(34 N) for N series; 16 bytes of state per series, for values that come in bursts count for fewer
    (:mod:`detectors.drift.dispersion`). The value shown is the PSI, the reference what sampling alone makes of it on
    average; ``mean`` and ``ref_mean`` say where the quantity moved.
    """

    kind: ClassVar[str] = "psi"
    state_version: ClassVar[int] = 1
    params_type = PsiParams

    def __init__(self, params: PsiParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every series with edges, ``min_rows`` events and as many in the baseline."""
        numeric, least = windows.numeric, self.params.min_rows
        found = Compared.of(numeric, least, least)
        alike = self._allowance(numeric, found)
        value, groups = psi(found.cur, found.ref, self.params.min_expected * alike)
        scale = alike * (1 / found.N + 1 / found.M)
        dof = (groups - 1).astype(np.float64)
        measured = scoring.Measured(
            score=value,
            floor=self._floors(numeric, found, dof * scale),
            noise=special.chi2_quantile(dof, self._z) * scale,
            p_value=special.chi2_sf(value / scale, dof),
            reference=dof * scale,
        )
        return scoring.distances(self.kind, "PSI", numeric, found.places, groups > 1, measured)

    def _floors(self, numeric: NumericColumns, found: Compared, usual: Floats) -> Floats:
        """The floor float64[n], or how far a reference strays: what sampling makes of that comes on top of it."""
        floor = floors(self.params.floor, self.kind, numeric, found.places)
        return np.where(floor > self.params.floor, floor + usual, floor)
