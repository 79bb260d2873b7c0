r"""A conformal test martingale per quantity: slow drift that no single window shows, at any volume.

Every value is a bet against the baseline. Its conformity is its rank there, by bins: $u = $ share of the baseline
below its cell plus half the cell's own, and $\ell = (2u - 1) / \operatorname{sd}(2u - 1)$, which has mean 0 and
variance 1 under the baseline whatever its ties: the half and the variance take the place of the random numbers that
break ties elsewhere. Two scores are bet on, the place $b_1 = \ell$ and the width $b_2 \propto \ell^2 - E\,\ell^2$, each
upwards and downwards. A window of N values pays

$$g = \lambda\,N(\pm\bar b - \delta) - N\,\frac{e^{\lambda B} - 1 - \lambda B}{B^2}, \qquad \lambda = a / \sqrt N,$$

the betting function $e^{\lambda (b - \delta)}$ of each value over Bennett's bound of what it pays on average when
$b \le B$: so $E\,e^g \le 1$ for every N, with no normal approximation, while the mean of $b$ has moved by no more than
$\delta$. That is what a baseline of M values may be wrong by: $z / \sqrt M$. The stakes a = 0.7 and 2 suit evidence
that trickles and evidence that pours. No window pays more than a third of what it takes, so none decides alone.

Bets are opened anew with every window, in the way of Shiryaev and Roberts: $R \leftarrow (R + 1) e^g$, so a long quiet
past costs nothing. $R_n - n$ is a supermartingale, and by Doob's (for one start, Ville's) inequality
$P(\max_{k \le n} \bar R_k \ge c) \le n / c$, at whatever window one looks: c = 1 / ``false_alarm_ratio``. What is
held is cut above c, so that a finding ends soon after its cause.

References
----------
.. [1] V. Vovk, I. Petej, I. Nouretdinov, E. Ahlberg, L. Carlsson, A. Gammerman, "Retrain or not retrain: conformal
   test martingales for change-point detection", COPA 2021.
.. [2] V. Fedorova, A. Gammerman, I. Nouretdinov, V. Vovk, "Plug-in martingales for testing exchangeability on-line",
   ICML 2012.
.. [3] G. Bennett, "Probability inequalities for the sum of independent random variables", 1962.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import scoring
from detectors.drift.betting import QUIET, STARTED, carried
from detectors.drift.compared import Compared, blocks, cells, dot, floors, running
from detectors.drift.dispersion import DesignEffect
from detectors.drift.reference import fingerprint
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Ints, NumericColumns, Scores, WindowBatch
from detectors.state import Columns, pack, unpack

_STAKES: Final = (0.7, 2.0)
_LABELS: Final = ("higher", "lower", "wider", "narrower")
_BETS: Final = len(_LABELS) * len(_STAKES)
_WINDOWS: Final = 3
"""Windows that it takes at least."""
_BLANK: Final[dict[str, NDArray[Any]]] = {
    "capital": np.full(_BETS, -np.inf, np.float32),
    "place": np.zeros((), np.float32),
    "width": np.zeros((), np.float32),
    "since_s": np.zeros((), np.uint32),
    "reference": np.zeros((), np.uint32),
}


class MartingaleParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor`` in standard deviations of ranks: 0.1 is a shift of about 0.1 σ of a normal.

    ``memory_rows`` is how many of the last values tell the effect; ``ref_z`` how many standard errors the baseline may
    be wrong by; ``false_alarm_ratio`` how many false alarms there may be, per series and window.
    """

    window_s: int = 60
    floor: float = 0.1
    min_rows: int = 5
    min_ref_rows: int = 200
    memory_rows: int = 1_000
    ref_z: float = 4.0
    false_alarm_ratio: float = 1e-6

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor=(0, 100), min_rows=(1, 10**9), min_ref_rows=(50, 10**9))
        check_bounds(self, memory_rows=(1, 10**9), ref_z=(0, 100), false_alarm_ratio=(1e-12, 0.1))


@dataclass(frozen=True, slots=True)
class RankScores:
    """What a window's values score by their ranks in the baseline.

    ``mean`` float64[2, n]: of place and width, 0 and standard deviation 1 under the baseline; NaN where the baseline
    leaves no room for it. ``most`` float64[4, n]: the most that one value can score higher, lower, wider, narrower.
    """

    mean: Floats
    most: Floats


def rank_scores(cur: NDArray[np.integer], ref: NDArray[np.integer]) -> RankScores:
    """Mean rank scores of int[n, k] counts against int[n, k] of a baseline, each row of each with a count.

    Examples
    --------
    >>> ref = np.array([[0, 100, 100, 100, 100, 0]])
    >>> rank_scores(np.array([[0, 10, 10, 10, 10, 0]]), ref).mean.round(2).tolist()
    [[0.0], [0.0]]
    >>> rank_scores(np.array([[0, 0, 0, 20, 20, 0]]), ref).mean.round(2).tolist()
    [[0.89], [0.0]]
    """
    mean, most = np.empty((2, len(cur))), np.empty((4, len(cur)))
    for block in blocks(len(cur)):
        mean[:, block], most[:, block] = _rank_block(cells(cur, block), cells(ref, block))
    return RankScores(mean, most)


def _rank_block(c: Floats, r: Floats) -> tuple[Floats, Floats]:
    N, M = c.sum(axis=0), r.sum(axis=0)
    r /= M
    place = running(r.copy())
    place *= 2
    place -= r
    place -= 1
    square = place * place
    variance = dot(r, square)
    with np.errstate(divide="ignore", invalid="ignore"):
        per_place = 1 / np.sqrt(np.where(variance > 1e-12, variance, np.nan))
        r *= square
        fourth = dot(r, square) - variance * variance
        per_width = 1 / np.sqrt(np.where(fourth > 1e-9 * variance, fourth, np.nan))
    mean = np.stack(
        (
            dot(c, place) / N * per_place,
            (dot(c, square) / N - variance) * per_width,
        )
    )
    # Ranks ascend: the outermost cells score the most.
    widest = np.maximum(square[0], square[-1]) - variance
    most = np.stack(
        (place[-1] * per_place, -place[0] * per_place, widest * per_width, (variance - square.min(axis=0)) * per_width)
    )
    return mean, most


def payments(scores: RankScores, rows: Floats, tolerance: Floats, cap: float) -> Floats:
    """The logarithm of what each bet pays: float64[4, stakes, n], at most ``cap``; what cannot be bet on pays nothing.

    Parameters
    ----------
    rows, tolerance
        float64[n]: values in the window, and how far the mean score may be off for other reasons.
    """
    root = np.sqrt(rows)
    signed = np.stack((scores.mean[0], -scores.mean[0], scores.mean[1], -scores.mean[1]))
    z = (signed - tolerance) * root
    most = np.maximum(scores.most, 1e-6)
    paid = np.empty((len(_LABELS), len(_STAKES), len(rows)))
    for i, stake in enumerate(_STAKES):
        x = np.minimum(stake * most / root, 50.0)
        cost = (np.expm1(x) - x) * rows / (most * most)
        paid[:, i] = np.minimum(stake * z - cost, cap)
    return np.nan_to_num(paid, nan=-np.inf, posinf=cap, neginf=-np.inf)


class RankMartingale:
    """Capital won by betting against the baseline on every series that has its bins, once a minute.

    The score is the effect: how far the mean rank, or the width of the ranks, of about the last ``memory_rows`` values
    is off, in standard deviations. Noise is the effect that the capital does not carry yet: the score over the part of
    the logarithm of c that is won. The label says which way it went; ``since_ms`` when the bets began to win.

    Parameters
    ----------
    params
        See :class:`MartingaleParams`.

    Notes
    -----
    O(34 N) for N series; 64 bytes of state per series. Values that come in bursts count for fewer
    (:mod:`detectors.drift.dispersion`). A window of fewer than ``min_rows`` values is neither ready nor
    learned. A baseline that is one value has no ranks and is not ready: PSI watches it. A new baseline, by its counts
    and mean, begins anew. The effect starts at nothing, so that the first windows after a start understate it.
    """

    kind: ClassVar[str] = "martingale"
    state_version: ClassVar[int] = 1

    def __init__(self, params: MartingaleParams | None = None) -> None:
        self.params = params or MartingaleParams()
        self.window_s = self.params.window_s
        self._limit = -float(np.log(self.params.false_alarm_ratio))
        self._cap = (self._limit + float(np.log(_BETS))) / _WINDOWS
        self._state = Columns(_BLANK)
        self._alike = DesignEffect()

    def step(self, windows: WindowBatch) -> Scores:
        """Score every series with edges, ``min_rows`` values and ``min_ref_rows`` in the baseline."""
        numeric, params = windows.numeric, self.params
        found = Compared.of(numeric, params.min_rows, params.min_ref_rows)
        places, N, M = found.places, found.N, found.M
        ranked = rank_scores(found.cur, found.ref)
        series = numeric.series[places]
        alike = self._alike.of(series)
        # Values that come together are alike: they count for as many as are independent, in the baseline too.
        rows, error = np.maximum(N / alike, 1.0), np.sqrt(alike / M)
        self._begin_anew(series, fingerprint(numeric, places, M))
        won = self._bet(series, payments(ranked, rows, params.ref_z * error, self._cap))
        effect = self._remember(series, ranked.mean, rows)
        self._alike.learn(series, numeric.mean[places], numeric.m2[places], numeric.count[places])
        self._date(series, won, windows.start_ms)
        worst = np.where(np.isnan(effect), -1.0, effect).argmax(axis=0)
        score = np.take_along_axis(effect, worst[None], axis=0)[0] if len(series) else np.empty(0)
        return self._scores(numeric, places, won, score, error, worst)

    def _begin_anew(self, series: Ints, reference: NDArray[np.uint32]) -> None:
        self._state.reserve(series)
        self._state.forget(series[self._state["reference"][series] != reference])
        self._state["reference"][series] = reference

    def _bet(self, series: Ints, paid: Floats) -> Floats:
        """The logarithm of each series' mean capital float64[n], after the window has paid float64[4, stakes, n]."""
        capital = self._state["capital"]
        most = self._limit + float(np.log(_BETS)) + self._cap
        held = np.take(capital, series, axis=0).astype(np.float64, order="F")
        capital[series], won = carried(held, paid.reshape(_BETS, -1).T, most)
        return won

    def _remember(self, series: Ints, mean: Floats, rows: Floats) -> Floats:
        """The effect in each direction of :data:`_LABELS`: float64[4, n], NaN where there is none."""
        share = rows / (rows + self.params.memory_rows)
        place, width = self._state["place"], self._state["width"]
        for column, now in ((place, mean[0]), (width, mean[1])):
            before = column[series].astype(np.float64)
            column[series] = before + share * np.nan_to_num(now - before)
        p, w = place[series].astype(np.float64), width[series].astype(np.float64)
        effect = np.stack((p, -p, w, -w))
        effect[:, np.isnan(mean[0])] = np.nan
        return effect

    def _date(self, series: Ints, won: Floats, start_ms: int) -> None:
        since = self._state["since_s"]
        before = since[series]
        since[series] = np.where(won <= STARTED, 0, np.where(before == 0, start_ms // 1_000, before))

    def _scores(
        self, numeric: NumericColumns, places: Ints, won: Floats, score: Floats, error: Floats, worst: Ints
    ) -> Scores:
        n = len(numeric.series)
        ready = np.zeros(n, np.bool_)
        ready[places] = True
        since = np.zeros(n, np.int64)
        since[places] = self._state["since_s"][numeric.series[places]].astype(np.int64) * 1_000
        floor = np.maximum(floors(self.params.floor, self.kind, numeric, places), 3.7 * error)
        directions = np.full(n, len(_LABELS))
        directions[places] = worst
        measured = scoring.Measured(
            score=scoring.spread(score, places, n),
            floor=scoring.spread(floor, places, n),
            noise=scoring.spread(score * self._limit / np.maximum(won, self._limit / QUIET), places, n),
            threshold=scoring.spread(floor, places, n),
            mean=numeric.mean,
            ref_mean=numeric.ref_mean,
            label=[*map((*_LABELS, "").__getitem__, directions.tolist())],
            since_ms=since,
        )
        return scoring.scores(self.kind, "σ", scoring.numeric_subject(numeric), ready, measured)

    def forget(self, series: Ints) -> None:
        """Drop the capital of ``series``."""
        self._state.forget(series)
        self._alike.forget(series)

    def to_bytes(self) -> bytes:
        """All capital, and how alike values are."""
        parts = (("capital", self._state), ("alike", self._alike))
        arrays = {name: np.frombuffer(part.to_bytes(self.kind, self.state_version), np.uint8) for name, part in parts}
        return pack(self.kind, self.state_version, arrays)

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector = cls(msgspec.convert(params, MartingaleParams))
        parts = unpack(raw, cls.kind, cls.state_version)
        raw_state, raw_alike = (parts[name].tobytes() for name in ("capital", "alike"))
        detector._state = Columns.from_bytes(raw_state, cls.kind, cls.state_version, _BLANK)
        detector._alike = DesignEffect.from_bytes(raw_alike, cls.kind, cls.state_version)
        return detector
