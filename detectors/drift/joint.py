r"""What the detectors of pairs share: correlations of a window's row sample beside those of the baseline.

Every window's row sample gives the rank correlations $q_t$ of the pairs (:mod:`detectors.drift.pairs`), on Fisher's
scale, each with the error $\sqrt{v / (n - 3)}$. They are averaged over about the last ``memory_rows`` rows,
$Z \leftarrow Z + a\,(q_t - Z)$ with the squared error (in units of v) $V \leftarrow (1 - a)^2 V + a^2 / (n - 3)$, and
compared with the baseline's of M rows: the effect is $|Z - q|$, its noise

$$z_{\alpha / 2P} \sqrt{D\,v\,(V + 1 / (M - 3))},$$

by Bonferroni over the P pairs of a scope: sampling alone takes a scope over it in no more than α of its windows, at any
volume and however the pairs hang together. D is how many times more $q_t$ varies from window to window than that (rows
that come in bursts, mixtures that change), learned per pair from $(q_t - Z)^2$ beside its error, as
:mod:`detectors.drift.dispersion` does for means.

References
----------
.. [1] R. A. Fisher, "On the 'probable error' of a coefficient of correlation", 1921.
.. [2] J. Cohen, "Statistical power analysis for the behavioral sciences", 1988 (effects on Fisher's scale).
.. [3] S. W. Roberts, "Control chart tests based on geometric moving averages", 1959.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import scoring, special, state
from detectors.drift import pairs
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Ints, NumericColumns, Scores, WindowBatch
from schemas.baselines import Baseline

_EFFECT_MEMORY: Final = 60.0
_PRIOR_EFFECT: Final = 2.0
_PRIOR_WINDOWS: Final = 4.0
_WILD: Final = 10.0
"""As for means: what is to be found must not be allowed for."""


class JointParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor`` on Fisher's scale: 0.2 is between Cohen's small and medium effect, as from 0.5 to 0.33 or 0 to 0.2.

    ``memory_rows`` is about how many of the last sampled rows tell; it takes ``min_rows`` of them.
    ``false_alarm_ratio`` is per scope and window. The first ``max_scopes`` scopes that get a baseline are watched.
    """

    window_s: int = 60
    floor: float = 0.2
    min_rows: int = 200
    memory_rows: int = 1_000
    max_scopes: int = 200
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor=(0, 6), min_rows=(pairs.MIN_ROWS, 10**6))
        check_bounds(self, memory_rows=(pairs.MIN_ROWS, 10**7), max_scopes=(0, 10**5))
        check_bounds(self, false_alarm_ratio=(1e-12, 0.1))


@dataclass(slots=True)
class WatchedPairs:
    """P pairs of a scope's quantities: ``first`` and ``second`` int64[P], places in ``names``.

    ``ref`` float32[3, P] are q, v and M of the baseline, ``moving`` float32[3, P] Z, V (infinite before the first
    window) and D, ``windows`` how many have told of D. ``series`` int64[k] are the quantities' own, once seen.
    """

    names: tuple[str, ...]
    first: Ints
    second: Ints
    ref: NDArray[np.float32]
    moving: NDArray[np.float32]
    windows: float = _PRIOR_WINDOWS
    series: Ints | None = None

    @classmethod
    def of(cls, names: tuple[str, ...], first: Ints, second: Ints, ref: NDArray[np.float32]) -> Self:
        """Pairs that have not been looked at yet."""
        return cls(names, first, second, ref, _blank(len(first)))

    def start_over(self) -> None:
        """Forget all but the baseline."""
        self.moving, self.windows, self.series = _blank(len(self.first)), _PRIOR_WINDOWS, None


def _blank(count: int) -> NDArray[np.float32]:
    return np.repeat(np.array([[0.0], [np.inf], [_PRIOR_EFFECT]], np.float32), count, axis=1)


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of P pairs, float64[P] each: ``now`` is Z, ``error`` of Z - q, ``rows`` behind Z; NaN if nothing."""

    now: Floats
    error: Floats
    rows: Floats


def learned(watched: WatchedPairs, q: Floats, rows: Floats, memory_rows: int, min_rows: int) -> Told:
    """Take in a window's correlations ``q`` of so many ``rows``, float64[P]; what all up to it tell."""
    now, error, effect = watched.moving.astype(np.float64)
    _, v, ref_rows = watched.ref.astype(np.float64)
    seen, first = np.isfinite(q), np.isinf(error)
    own = 1 / np.maximum(rows - 3, 1)
    before = np.where(first, 0.0, error)
    # A window counts for its rows beside the memory's, and for more while there is little to remember.
    share = np.maximum(1 / (1 + memory_rows * own), np.where(first, 1.0, before / (before + own)))
    share = np.where(seen, share, 0.0)
    off = np.nan_to_num(q - now)
    known = seen & ~first
    square = np.minimum(off * off / (v * (before + own)), _WILD * effect)
    watched.windows = min(watched.windows + bool(known.any()), _EFFECT_MEMORY)
    learned_effect = np.where(known, effect + (square - effect) / watched.windows, effect)
    now = now + share * off
    error = np.where(seen, (1 - share) ** 2 * before + share**2 * own, error)
    watched.moving = np.stack((now, error, learned_effect)).astype(np.float32)
    behind = np.where(seen, 1 / error + 3, 0.0)
    enough = behind >= min_rows
    both = np.maximum(effect, 1.0) * v * (error + 1 / np.maximum(ref_rows - 3, 1))
    return Told(*(np.where(enough, part, np.nan) for part in (now, np.sqrt(both), behind)))


class PairDrift:
    """A detector of pairs: one score for each quantity, by that pair of its own which is furthest over its limit.

    Subclasses say which pairs of a baseline are theirs (:meth:`choose`), and to which quantities a pair belongs
    (:meth:`ends`). The state is references and averages by scope id, 40 bytes a pair.
    """

    kind: ClassVar[str]
    state_version: ClassVar[int] = 1
    params_type: ClassVar[type[JointParams]] = JointParams

    def __init__(self, params: JointParams | None = None) -> None:
        self.params = params or self.params_type()
        self.window_s = self.params.window_s
        self._watched: dict[int, WatchedPairs] = {}

    @staticmethod
    def choose(names: tuple[str, ...], first: Ints, second: Ints) -> NDArray[np.bool_]:
        """Which of a baseline's pairs are looked at: bool[P]."""
        raise NotImplementedError

    @staticmethod
    def ends(watched: WatchedPairs) -> tuple[Ints, Ints, Ints]:
        """For each of E ends of pairs: the quantity it belongs to, the pair, and the other quantity, int64[E] each."""
        raise NotImplementedError

    def rebase(self, scope_id: int, baseline: Baseline) -> None:
        """Let a baseline's correlations be the reference of a scope; without any, or over the cap: not watched."""
        self.drop_reference(scope_id)
        joint = baseline.joint
        if joint is None or len(self._watched) >= self.params.max_scopes:
            return
        first, second = np.triu_indices(len(joint.names), 1)
        ref = np.frombuffer(joint.pairs, "<f4").reshape(3, -1)
        chosen = self.choose(joint.names, first, second) & np.isfinite(ref[0])
        if chosen.any():
            own = first[chosen], second[chosen]
            self._watched[scope_id] = WatchedPairs.of(joint.names, *own, ref[:, chosen].astype(np.float32))

    def drop_reference(self, scope_id: int) -> None:
        """Stop watching a scope."""
        self._watched.pop(scope_id, None)

    def step(self, windows: WindowBatch) -> Scores:
        """Score the quantities of every scope that is watched and has a row sample."""
        samples, numeric = windows.samples, windows.numeric
        found: list[_Part] = []
        for at, (place, own) in enumerate(_places(windows, self._watched)):
            watched = self._watched.get(int(windows.scopes.id[place]))
            if watched is not None and len(own):
                row_of = {numeric.name[row]: row for row in own.tolist()}
                rows = np.array([row_of.get(name, -1) for name in watched.names], np.int64)
                watched.series = numeric.series[rows[rows >= 0]]
                # Both kinds look at the same quantities of a scope: their pairs are counted once.
                key = "\n".join(("pairs", str(place), *watched.names))
                if key not in windows.shared:
                    scores = _scores_of(watched.names, rows, numeric, samples.names[at], samples.values[at])
                    windows.shared[key] = pairs.correlations(scores, pairs.others(numeric.ref[rows]))
                found.append(self._told(watched, rows, windows.shared[key]))
        return self._scores(numeric, _Part.joined(found))

    def _told(self, watched: WatchedPairs, rows: Ints, window: pairs.Pairs) -> "_Part":
        params = self.params
        place = pairs.place_of(len(watched.names), watched.first, watched.second)
        told = learned(watched, window.q[place], window.rows[place], params.memory_rows, params.min_rows)
        owner, pair, other = self.ends(watched)
        effect = np.abs(told.now - watched.ref[0])
        noise = told.error * special.z_of(params.false_alarm_ratio / (2 * len(watched.first)))
        excess = np.nan_to_num(effect / np.maximum(params.floor, noise), nan=-1.0)
        order = np.lexsort((excess[pair], owner))
        last = np.flatnonzero(np.diff(owner[order], append=-1))
        worst = order[last]
        worst = worst[rows[owner[worst]] >= 0]
        of = pair[worst]
        tail = special.normal_sf(effect[of] / told.error[of])
        several = np.bincount(owner)[owner[worst]]
        p_value = np.minimum(2 * several * tail, 1.0)
        columns = (effect[of], noise[of], p_value, told.now[of], watched.ref[0][of], told.rows[of])
        label = [f"with {watched.names[i].removeprefix('features.')}" for i in other[worst].tolist()]
        return _Part(rows[owner[worst]], np.stack(columns), label)

    def _scores(self, numeric: NumericColumns, part: "_Part") -> Scores:
        effect, noise, p_value, now, ref, behind = part.columns
        names = [numeric.name[row] for row in part.place.tolist()]
        limit = np.maximum(self.params.floor, noise)
        measured = scoring.Measured(
            score=effect,
            floor=self.params.floor,
            noise=noise,
            p_value=p_value,
            value=np.tanh(now),
            reference=np.tanh(ref),
            threshold=np.tanh(ref + np.where(now < ref, -limit, limit)),
            label=part.label,
        )
        rows = np.nan_to_num(behind).astype(np.int64)
        subject = scoring.Subject(numeric.series[part.place], numeric.scope[part.place], names, rows)
        return scoring.scores(self.kind, "correlation", subject, np.isfinite(effect), measured)

    def forget(self, series: Ints) -> None:
        """Drop what windows have told of the scopes that have any of ``series``; see :meth:`drop_reference`."""
        for watched in self._watched.values():
            if watched.series is not None and np.isin(watched.series, series).any():
                watched.start_over()

    def to_bytes(self) -> bytes:
        """References and averages."""
        arrays = {}
        for scope_id, watched in self._watched.items():
            key = f"{scope_id} " + "\n".join(watched.names)
            arrays["pairs " + key] = np.stack((watched.first, watched.second)).astype(np.int16)
            arrays["told " + key] = np.concatenate((watched.ref, watched.moving))
            arrays["windows " + key] = np.array([watched.windows])
        return state.pack(self.kind, self.state_version, arrays)

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector = cls(msgspec.convert(params, cls.params_type))
        arrays = state.unpack(raw, cls.kind, cls.state_version)
        for name in arrays:
            role, _, key = name.partition(" ")
            if role == "pairs":
                scope_id, _, names = key.partition(" ")
                told = arrays["told " + key]
                first, second = arrays[name].astype(np.int64)
                restored = WatchedPairs(tuple(names.split("\n")), first, second, told[:3], told[3:])
                restored.windows = float(arrays["windows " + key][0])
                detector._watched[int(scope_id)] = restored
        return detector


@dataclass(frozen=True, slots=True)
class _Part:
    """n scores: ``place`` int64[n] among the window's numeric series, and what ``label`` says of each.

    ``columns`` float64[6, n], NaN where not ready: effect, noise, p-value, now, the baseline's, rows.
    """

    place: Ints
    columns: Floats
    label: list[str]

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        place = np.concatenate([np.empty(0, np.int64), *(part.place for part in parts)])
        columns = np.concatenate([np.empty((6, 0)), *(part.columns for part in parts)], axis=1)
        return cls(place, columns, [label for part in parts for label in part.label])


def _places(windows: WindowBatch, watched: dict[int, WatchedPairs]) -> list[tuple[int, Ints]]:
    """(place of the scope, rows of its numeric series) of each row sample."""
    if not watched:
        return []
    scope = windows.numeric.scope
    order = np.argsort(scope, kind="stable")
    bounds = np.searchsorted(scope[order], np.arange(len(windows.scopes.id) + 1))
    return [(place, order[bounds[place] : bounds[place + 1]]) for place in windows.samples.scope]


def _scores_of(
    names: tuple[str, ...], rows: Ints, numeric: NumericColumns, sampled: tuple[str, ...], values: Floats
) -> Floats:
    """Rank scores float64[n, k] of a row sample, for the quantities ``names`` in the series ``rows`` (-1: none)."""
    at = {name: i for i, name in enumerate(sampled)}
    result = np.full((len(values), len(names)), np.nan)
    known = [i for i, name in enumerate(names) if name in at and rows[i] >= 0 and numeric.has_edges[rows[i]]]
    if known:
        own = rows[known]
        column = values[:, [at[names[i]] for i in known]]
        result[:, known] = pairs.ranked(column, numeric.edges[own], pairs.rank_scores(numeric.ref[own]))
    return result
