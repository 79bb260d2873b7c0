r"""Skew between serving and scoring: whether a model is given what the feature store serves it, in the same minutes.

Another unit, a default in place of a value, a join that went wrong, a feature read from another set: the store is
right, the model is wrong, and each of the two looks as ever. Nothing is learned: what is skewed from the first day is
seen on the first day.

Five aspects of each feature are looked at, $\mu, s, \nu$ being mean, standard deviation and null ratio:

- *mean*: $|\mu_g - \mu_s| / s_s$, given against served. Noise is Welch's.
- *scale*: $|\ln(\mu_g / \mu_s)|$, where tails are heavy and a standard deviation says little. Its variance is that of
  $s^2 / n\mu^2$ of both sides (the delta method), by the larger $s / \mu$ of the two.
- *spread*: $|\ln(s_g / s_s)|$. The variance of $\ln s$ is $(\kappa - 1) / 4n$, with the kurtosis κ not known but at
  most $\max |x - \mu|^2 / s^2$.
- *nulls*: $\nu_g - \nu_s$. Fewer nulls than were served are a default that was filled in, which shows in mean or texts.
- *texts*: the Jensen-Shannon distance of the counts of texts (:mod:`detectors.drift.categories`), numbers being one of
  them.

What one value makes of a side, more or less, is nothing to go by where tails are heavy or a flag is rare: one more is
imagined there, as far out as any.

The requests behind the two need not be the same: a cache answers some, a batch reads more. Let the smaller number of
events be the share ρ of the larger one. Then a part that was chosen by the worst of rules lies
$\sqrt{(1 - \rho) / \rho}$ standard deviations from its whole at most (Cauchy and Schwarz), and its variance is at most
that of the whole over ρ, at least what is left when all that is gone lay as far out as the farthest value; of texts, it
lacks a share 1 - ρ at most. Less than that is no skew, however sure it is. Where it allows for any factor, as it soon
does below heavy tails, one of 30 is taken for another unit.

References
----------
.. [1] B. L. Welch, "The generalization of Student's problem when several different population variances are involved",
   1947.
.. [2] E. Breck, N. Polyzotis, S. Roy, S. E. Whang, M. Zinkevich, "Data validation for machine learning", 2019.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar, Final, Self

import msgspec
import numpy as np

from detectors import moments, scoring, special
from detectors.drift.categories import chi_square, grouped, jensen_shannon
from detectors.parameters import check_bounds
from detectors.protocol import Bools, Floats, Ints, ReadColumns, Scores, WindowBatch
from detectors.stateless import Stateless
from schemas.scopes import OTHER

ASPECTS: Final = ("mean", "scale", "spread", "nulls", "texts")
_FEATURE: Final = "features."
_GRAIN: Final = 1e-4
"""Of its mean: what a constant is rounded by."""
_UNITS: Final = 30.0
"""A factor that no choice of requests explains: minutes are 60 seconds, and euros 100 cents."""
_MIN_EXPECTED: Final = 5.0


class SkewParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The differences from which on they matter, and what is left out.

    ``floor_sigmas`` of what is served, that the mean may be off; ``floor_factor``, by which values may be larger or
    smaller in the mean, or spread more or less; ``floor_nulls``, the share of values that may be lost;
    ``floor_distance``, of texts. ``ignored`` are patterns of features (``amount_log``), or of ``model/feature``, that a
    model writes down otherwise than it is served them, on purpose. ``window_s`` is the length of one of the longer
    windows: 60, 300 or 3,600.
    """

    window_s: int = 300
    floor_sigmas: float = 0.25
    floor_factor: float = 1.5
    floor_nulls: float = 0.05
    floor_distance: float = 0.1
    min_rows: int = 50
    design_effect: float = 2.0
    false_alarm_ratio: float = 1e-4
    ignored: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(60, 3_600), floor_sigmas=(1e-3, 100), floor_factor=(1.01, 1_000))
        check_bounds(self, floor_nulls=(1e-3, 1), floor_distance=(1e-3, 1), min_rows=(10, 10**9))
        check_bounds(self, design_effect=(1, 100), false_alarm_ratio=(1e-12, 0.1))


@dataclass(frozen=True, slots=True)
class _Values:
    """One side of k features: float64[k] each; moments are those of its numbers, ``none`` the share of its nulls."""

    rows: Floats
    count: Floats
    mean: Floats
    std: Floats
    farthest: Floats
    none: Floats

    @classmethod
    def of(cls, told: Floats, counts: Ints) -> Self:
        rows, stats = told[:, 0], told[:, 1:]
        count, mean = stats[:, moments.COUNT], stats[:, moments.MEAN]
        std = np.sqrt(stats[:, moments.M2] / np.maximum(count, 1))
        farthest = np.fmax(stats[:, moments.MAX] - mean, mean - stats[:, moments.MIN])
        none = np.clip(1 - counts.sum(axis=1) / np.maximum(rows, 1), 0, 1)
        return cls(rows, count, mean, std, farthest, none)


@dataclass(frozen=True, slots=True)
class _Aspect:
    """How far k features are off, from where on it matters, and what sampling explains: float64[k], all in one unit."""

    effect: Floats
    floor: Floats
    noise: Floats
    ready: Bools


class FeatureSkew(Stateless[SkewParams]):
    """The worst aspect of each feature that a model is given and a feature set serves it, once in five minutes.

    Parameters
    ----------
    params
        See :class:`SkewParams`.

    Notes
    -----
    O(k K) for k features of K texts, no state; no baseline is needed. The score is in units of what matters of its
    aspect. Ready where both sides have ``min_rows`` values, all versions of the model and all sets that serve it the
    feature together. Blind to values that are another request's: the two sides are not joined event by event.
    """

    kind: ClassVar[str] = "skew"
    state_version: ClassVar[int] = 1
    params_type = SkewParams

    def __init__(self, params: SkewParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio / len(ASPECTS))

    def step(self, windows: WindowBatch) -> Scores:
        """Score every feature that is there on both sides."""
        reads = windows.reads
        served = _Values.of(reads.served, reads.served_counts)
        given = _Values.of(reads.given, reads.given_counts)
        share = np.minimum(served.rows, given.rows) / np.maximum(np.maximum(served.rows, given.rows), 1)
        share = np.maximum(share, 1e-9)
        apart = np.sqrt((1 - share) / share)
        aspects = [
            self._mean(served, given, apart),
            self._scale(served, given, apart),
            self._spread(served, given, share),
            self._nulls(served, given, apart),
            self._texts(reads, share),
        ]
        least = self.params.min_rows
        valued = [counts.sum(axis=1) >= least for counts in (reads.served_counts, reads.given_counts)]
        ready = np.stack([a.ready for a in aspects]) & valued[0] & valued[1] & ~self._ignored(windows)
        over = np.where(ready, [a.effect / np.maximum(a.floor, a.noise) for a in aspects], -1.0)
        worst, row = over.argmax(axis=0), np.arange(len(reads.name))
        effect, floor, noise = (
            np.stack([getattr(a, name) for a in aspects])[worst, row] for name in ("effect", "floor", "noise")
        )
        numbers = np.minimum(served.count, given.count) > 0
        measured = scoring.Measured(
            score=effect / floor,
            floor=1.0,
            noise=noise / floor,
            mean=np.where(numbers, given.mean, np.nan),
            ref_mean=np.where(numbers, served.mean, np.nan),
            label=[ASPECTS[i] for i in worst.tolist()],
            note=lambda place: _told(ASPECTS[int(worst[place])], reads, (served, given), place),
        )
        subject = scoring.Subject(reads.series, reads.place, list(reads.name), given.rows.astype(np.int64))
        return scoring.scores(self.kind, "times the tolerance", subject, ready.any(axis=0), measured)

    def _mean(self, served: _Values, given: _Values, apart: Floats) -> _Aspect:
        scale, other = _widened(served, given)
        variance = scale**2 / np.maximum(served.count, 1) + other**2 / np.maximum(given.count, 1)
        error = np.sqrt(self.params.design_effect * variance)
        # A part is so far from its whole in standard deviations of the whole: of the side with more events.
        whole = np.where(served.rows >= given.rows, served.std, given.std)
        floor = np.maximum(self.params.floor_sigmas, apart * whole / scale)
        return _Aspect(
            np.abs(given.mean - served.mean) / scale, floor, self._z * error / scale, self._both(served, given)
        )

    def _scale(self, served: _Values, given: _Values, apart: Floats) -> _Aspect:
        low, high = np.fmin(served.farthest, given.farthest), np.fmax(served.farthest, given.farthest)
        one_more = np.where(low > 0, low, high)
        sizes, ratios = [], []
        for side in (served, given):
            n = np.maximum(side.count, 1)
            sizes.append(np.maximum(np.abs(side.mean) + one_more / n, 1e-300))
            ratios.append(np.hypot(side.std, side.farthest / np.sqrt(n)) / sizes[-1])
        varied = np.maximum(*ratios)
        parts = 1 / np.maximum(served.count, 1) + 1 / np.maximum(given.count, 1)
        many = served.rows >= given.rows
        far = apart * np.where(many, *ratios)
        # Below its whole a part can lie as deep as above it, in the mean: in logarithms, that is deeper.
        lower = (sizes[0] > sizes[1]) == many
        allowed = np.where(lower, -np.log1p(-np.minimum(far, 1 - 1 / _UNITS)), np.log1p(far))
        floor = np.maximum(np.log(self.params.floor_factor), allowed)
        noise = self._z * varied * np.sqrt(self.params.design_effect * parts)
        ready = self._both(served, given) & (served.mean * given.mean >= 0) & (one_more > 0)
        return _Aspect(np.abs(np.log(sizes[1] / sizes[0])), floor, noise, ready)

    def _spread(self, served: _Values, given: _Values, share: Floats) -> _Aspect:
        one, other = _widened(served, given)
        # A side of few values, or of one alone, does not show its tails: the other's are taken to be its own.
        kurtosis = np.fmax(*((v.farthest / np.maximum(v.std, 1e-300)) ** 2 for v in (served, given)))
        variance = np.zeros(len(one))
        for n in (np.maximum(served.count, 1), np.maximum(given.count, 1)):
            variance += (np.clip(kurtosis, 1, n) - 1) / (4 * n)
        many = served.rows >= given.rows
        whole = np.where(many, one, other)
        # What is gone lay no farther out than the farthest: that much at least is left of the variance.
        gone = (1 - share) * np.where(many, served.farthest, given.farthest) ** 2
        moved = np.minimum((given.mean - served.mean) ** 2, (1 - share) / share * whole**2)
        left = ((whole**2 - gone) / share - moved) / whole**2
        narrow = (one > other) == many
        allowed = np.where(narrow, -np.log(np.clip(left, _UNITS**-2.0, 1)) / 2, -np.log(share) / 2)
        floor = np.maximum(np.log(self.params.floor_factor), allowed)
        noise = self._z * np.sqrt(self.params.design_effect * variance)
        return _Aspect(np.abs(np.log(other / one)), floor, noise, self._both(served, given))

    def _nulls(self, served: _Values, given: _Values, apart: Floats) -> _Aspect:
        n, m = np.maximum(given.rows, 1), np.maximum(served.rows, 1)
        ratio = (n * given.none + m * served.none + 0.5) / (n + m + 1)
        deviation = np.sqrt(ratio * (1 - ratio))
        whole = np.where(served.rows >= given.rows, served.none, given.none)
        floor = np.maximum(self.params.floor_nulls, apart * np.sqrt(whole * (1 - whole)))
        noise = self._z * deviation * np.sqrt(self.params.design_effect * (1 / n + 1 / m))
        lost = np.maximum(given.none - served.none, 0.0)
        return _Aspect(lost, floor, noise, np.minimum(served.rows, given.rows) >= self.params.min_rows)

    def _texts(self, reads: ReadColumns, share: Floats) -> _Aspect:
        served, given = _named(reads)
        several = (served + given > 0).sum(axis=1) > 1
        ready = several & (np.minimum(served.sum(axis=1), given.sum(axis=1)) >= self.params.min_rows)
        # Rows that are not ready are computed with a count of one each, so as not to divide by nothing, then masked.
        served, given = (np.where(ready[:, None], counts, 1) for counts in (served, given))
        c, r = grouped(given, served, _MIN_EXPECTED)
        _, dof = chi_square(c, r)
        scale = self.params.design_effect * (1 / c.sum(axis=1) + 1 / r.sum(axis=1)) / (8 * np.log(2))
        noise = np.sqrt(special.chi2_quantile(dof, self._z) * scale)
        # A whole beside what is left of it when its share 1 - ρ of other texts is gone.
        part = np.column_stack((np.ones(len(share)), np.zeros(len(share))))
        least = jensen_shannon(np.column_stack((share, 1 - share)), part)
        return _Aspect(jensen_shannon(c, r), np.maximum(self.params.floor_distance, least), noise, ready)

    def _both(self, served: _Values, given: _Values) -> Bools:
        """Where both sides have numbers whose moments are known."""
        known = np.isfinite(served.std + given.std + served.mean + given.mean)
        return known & (np.minimum(served.count, given.count) >= self.params.min_rows)

    def _ignored(self, windows: WindowBatch) -> Bools:
        reads, patterns = windows.reads, self.params.ignored
        found = np.zeros(len(reads.name), np.bool_)
        for at, (place, name) in enumerate(zip(reads.place.tolist(), reads.name, strict=True)):
            feature = name.removeprefix(_FEATURE)
            full = f"{windows.scopes.key[place].model}/{feature}"
            found[at] = any(fnmatchcase(full if "/" in pattern else feature, pattern) for pattern in patterns)
        return found


def _widened(served: _Values, given: _Values) -> tuple[Floats, Floats]:
    """The standard deviations of both sides as if one value more lay as far out as any; > 0: constants are rounded."""
    farthest = np.fmax(served.farthest, given.farthest)
    grain = np.maximum(_GRAIN * np.fmax(np.abs(served.mean), np.abs(given.mean)), 1e-150)
    one, other = (
        np.hypot(v.std, np.maximum(farthest / np.sqrt(np.maximum(v.count, 1)), grain)) for v in (served, given)
    )
    return one, other


def _named(reads: ReadColumns) -> tuple[Ints, Ints]:
    """The counts of texts, int64[k, K]; where a side has an ``__other__``, all that one does not name is in it."""
    served, given = reads.served_counts.copy(), reads.given_counts.copy()
    for row, values in enumerate(reads.values):
        if OTHER in values:
            unknown = (served[row] == 0) | (given[row] == 0)
            unknown[values.index(OTHER)] = False
            for counts in (served, given):
                counts[row, values.index(OTHER)] += counts[row, unknown].sum()
                counts[row, unknown] = 0
    return served, given


def _told(aspect: str, reads: ReadColumns, sides: tuple[_Values, _Values], place: int) -> str:
    """What the model is given, and what is served, in words."""
    served, given = sides
    names = reads.sets[place]
    sets = f"feature set{'s' if len(names) > 1 else ''} {', '.join(names)} serve{'' if len(names) > 1 else 's'}"
    if aspect in {"mean", "scale"}:
        return f"the model is given {given.mean[place]:.3g}, {sets} {served.mean[place]:.3g} in the mean"
    if aspect == "spread":
        return f"the model is given a standard deviation of {given.std[place]:.3g}, {sets} {served.std[place]:.3g}"
    if aspect == "nulls":
        return f"{given.none[place]:.1%} of what the model is given is null, {sets} {served.none[place]:.1%}"
    c, r = (counts[place] / max(counts[place].sum(), 1) for counts in _named(reads)[::-1])
    values = reads.values[place]
    most = int(np.abs(c[: len(values)] - r[: len(values)]).argmax())
    return f"{c[most]:.1%} of what the model is given is {values[most]!r}, {sets} {r[most]:.1%}"
