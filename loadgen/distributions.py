"""Distributions of features as data, each a rising function of one standard normal number.

That makes a Gaussian copula of any of them: correlate the normals, and every feature keeps its own distribution. What
has no closed form is a table of its quantiles over a grid of normal numbers, made once.
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from loadgen.columns import Column, Floats, Texts
from schemas.common import NonNegative, Ratio

_REACH: Final = 6.0
_POINTS: Final = 2401
_GRID: Final = np.linspace(-_REACH, _REACH, _POINTS)
_STEP: Final = 2 * _REACH / (_POINTS - 1)
_BELOW: Final[Floats] = np.array([0.5 * math.erfc(-z / math.sqrt(2)) for z in _GRID])
_DENSITY: Final = np.exp(-_GRID * _GRID / 2) / np.exp(-_GRID * _GRID / 2).sum()


Positive = Annotated[float, msgspec.Meta(gt=0)]


class Data(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scenario file can say: immutable, and no key that is not known."""


class Numeric(Data, frozen=True, kw_only=True):
    """What all numeric distributions can say besides.

    ``low`` and ``high`` bound the values; ``decimals`` rounds them; ``daily_ratio`` lets them rise and fall by so much
    of themselves in the course of a day; ``by`` multiplies them by a factor that another text feature or a segment
    tells: name → text → factor.
    """

    low: float | None = None
    high: float | None = None
    decimals: Annotated[int, msgspec.Meta(ge=0)] | None = None
    daily_ratio: Ratio = 0.0
    by: dict[str, dict[str, NonNegative]] = msgspec.field(default_factory=dict)


class Normal(Numeric, frozen=True, tag_field="kind", tag="normal"):
    """The normal distribution."""

    mean: float
    sigma: Positive


class Lognormal(Numeric, frozen=True, tag_field="kind", tag="lognormal"):
    """exp of a normal distribution around ln ``median`` with the standard deviation ``sigma``."""

    median: Positive
    sigma: Positive


class Uniform(Numeric, frozen=True, tag_field="kind", tag="uniform"):
    """Between ``from`` and ``to``; ``whole`` takes the whole numbers from <= x < to."""

    from_: float = msgspec.field(name="from")
    to: float
    whole: bool = False


class Gamma(Numeric, frozen=True, tag_field="kind", tag="gamma"):
    """The gamma distribution; its mean is ``shape`` times ``scale``."""

    shape: Annotated[float, msgspec.Meta(ge=1e-3)]
    scale: Positive


class Poisson(Numeric, frozen=True, tag_field="kind", tag="poisson"):
    """Counts with this mean, > 0."""

    mean: Positive


class Geometric(Numeric, frozen=True, tag_field="kind", tag="geometric"):
    """Tries until the first success, 1 and more, each with this probability."""

    success_ratio: Annotated[float, msgspec.Meta(gt=0, le=1)]


class Part(Data, frozen=True):
    """One distribution of a mixture; weights need not add up to 1."""

    weight: Positive
    of: Normal | Lognormal | Uniform | Gamma


class Mixture(Numeric, frozen=True, tag_field="kind", tag="mixture"):
    """Each value comes from one of the parts, by weight."""

    parts: Annotated[tuple[Part, ...], msgspec.Meta(min_length=1)]


class Categorical(Data, frozen=True, tag_field="kind", tag="categorical"):
    """Texts by weight; the weights need not add up to 1."""

    weights: dict[str, NonNegative]


class Zipf(Data, frozen=True, tag_field="kind", tag="zipf"):
    """``count`` texts ``prefix-1``, ``prefix-2``, …; the k-th has the weight k to the power of −``exponent``."""

    count: Annotated[int, msgspec.Meta(ge=1)]
    exponent: NonNegative = 1.0
    prefix: str = "key"


AnyNumeric = Normal | Lognormal | Uniform | Gamma | Poisson | Geometric | Mixture
Names = Categorical | Zipf
Distribution = AnyNumeric | Names


class Numbers:
    """A numeric distribution, ready to draw from.

    Attributes
    ----------
    mean, sigma
        Of the values within their bounds, before ``daily_ratio`` and ``by``.
    raw
        As :meth:`of`, before bounds and rounding.
    """

    def __init__(self, spec: AnyNumeric) -> None:
        self.spec = spec
        self.raw = _transform(spec)
        table = self.of(_GRID)
        self.mean = float(table @ _DENSITY)
        self.sigma = float(np.sqrt((table - self.mean) ** 2 @ _DENSITY))

    def of(self, normal: Floats) -> Floats:
        """The values, float64[n], that belong to standard normal numbers, float64[n]."""
        return self.shaped(self.raw(normal))

    def shaped(self, values: Floats) -> Floats:
        """Values within the bounds and rounded."""
        spec = self.spec
        if spec.low is not None or spec.high is not None:
            values = np.clip(values, spec.low, spec.high)
        if spec.decimals is not None:
            values = np.round(values, spec.decimals)
        return values


class Choice:
    """A distribution of texts, ready to draw from."""

    def __init__(self, spec: Names) -> None:
        if isinstance(spec, Zipf):
            ranks = np.arange(1, spec.count + 1)
            names, weights = [f"{spec.prefix}-{rank}" for rank in ranks], ranks**-spec.exponent
        else:
            names, weights = list(spec.weights), np.array(list(spec.weights.values()), np.float64)
        if not weights.sum() > 0:
            raise ValueError("one of the weights must be over 0")
        self.names: Texts = np.array(names)
        self._cuts = _normal_at(np.cumsum(weights)[:-1] / weights.sum())

    def of(self, normal: Floats) -> Texts:
        """The texts, text[n], that belong to standard normal numbers, float64[n]."""
        return self.names[np.searchsorted(self._cuts, normal)]


def drawn_from(spec: Distribution) -> Numbers | Choice:
    """The distribution, ready to draw from.

    Raises
    ------
    ValueError
        If its parameters describe none; the message says which.
    """
    if isinstance(spec, Categorical | Zipf):
        return Choice(spec)
    if isinstance(spec, Uniform) and not spec.from_ < (math.ceil(spec.to) - 1 if spec.whole else spec.to):
        raise ValueError(f"nothing is between from, {spec.from_:g}, and to, {spec.to:g}: move them apart")
    return Numbers(spec)


def _transform(spec: AnyNumeric) -> Callable[[Floats], Floats]:
    if isinstance(spec, Normal):
        return lambda normal: spec.mean + spec.sigma * normal
    if isinstance(spec, Lognormal):
        shift = math.log(spec.median)
        return lambda normal: np.exp(shift + spec.sigma * normal)
    if isinstance(spec, Poisson | Geometric) or (isinstance(spec, Uniform) and spec.whole):
        return _steps(*_shares(spec))
    return _interpolated(_quantiles(spec))


def _quantiles(spec: Uniform | Gamma | Mixture) -> Floats:
    """Values of a continuous distribution at the grid."""
    match spec:
        case Uniform():
            return np.asarray(spec.from_ + (spec.to - spec.from_) * _BELOW, np.float64)
        case Gamma():
            return _gamma_quantiles(spec.shape, spec.scale)
        case Mixture():
            return _mixture_quantiles(spec.parts)


def _shares(spec: Poisson | Geometric | Uniform) -> tuple[Floats, Floats]:
    """The values of a discrete distribution, ascending, and their shares."""
    match spec:
        case Poisson():
            return _poisson_shares(spec.mean)
        case Geometric():
            tries = np.arange(1, math.ceil(25 / spec.success_ratio) + 1, dtype=np.float64)
            return tries, spec.success_ratio * (1 - spec.success_ratio) ** (tries - 1)
        case Uniform():
            wholes = np.arange(math.ceil(spec.from_), math.ceil(spec.to), dtype=np.float64)
            return wholes, np.ones(len(wholes))


def _interpolated(quantiles: Floats) -> Callable[[Floats], Floats]:
    """The function that has these values on the grid. The grid is even, so that nothing is searched for."""
    slopes = np.append(np.diff(quantiles), 0.0)

    def of(normal: Floats) -> Floats:
        at = (np.clip(normal, -_REACH, _REACH) + _REACH) / _STEP
        place = np.minimum(at.astype(np.int64), _POINTS - 2)
        return np.asarray(quantiles[place] + (at - place) * slopes[place], np.float64)

    return of


def _steps(values: Floats, shares: Floats) -> Callable[[Floats], Floats]:
    cuts = _normal_at(np.cumsum(shares)[:-1] / shares.sum())
    return lambda normal: values[np.searchsorted(cuts, normal)]


def _poisson_shares(mean: float) -> tuple[Floats, Floats]:
    counts = np.arange(math.ceil(mean + 12 * math.sqrt(mean) + 12), dtype=np.float64)
    logs = np.array([math.lgamma(count + 1) for count in counts])
    return counts, np.exp(counts * math.log(mean) - mean - logs)


def _gamma_quantiles(shape: float, scale: float) -> Floats:
    # Over ln x the density is smooth even where shape < 1 and the one over x is not.
    logs = np.linspace(
        -50 / shape if shape < 1 else math.log(shape) - 12, math.log(shape + 40 * math.sqrt(shape) + 60), 40_000
    )
    density = np.exp(shape * logs - np.exp(logs) - math.lgamma(shape))
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(logs))])
    return np.asarray(scale * np.exp(np.interp(_BELOW, below / below[-1], logs)), np.float64)


def _mixture_quantiles(parts: Sequence[Part]) -> Floats:
    tables = [Numbers(part.of).of(_GRID) for part in parts]
    total = sum(part.weight for part in parts)
    values = np.unique(np.concatenate(tables))
    below = sum(
        part.weight / total * np.interp(values, table, _BELOW, left=0.0, right=1.0)
        for part, table in zip(parts, tables, strict=True)
    )
    return np.asarray(np.interp(_BELOW, below, values), np.float64)


def _normal_at(probability: Any) -> Floats:  # noqa: ANN401 - any array of numbers
    return np.asarray(np.interp(probability, _BELOW, _GRID), np.float64)


def is_text(column: Column) -> bool:
    """Whether a feature holds texts rather than numbers."""
    return column.dtype.kind == "U"
