"""Drawing requests: segments and features from their distributions, correlated, by population and hour of the day."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from loadgen.columns import Bools, Column, Floats, Ints, Texts
from loadgen.distributions import Choice, Distribution, Names, Numbers, drawn_from
from loadgen.models.spec import Correlation, Population
from loadgen.randomness import Draws
from loadgen.traffic import daily


@dataclass(frozen=True, slots=True)
class Asked:
    """n requests.

    ``segment`` is name → text[n], ``features`` name → float64[n] or text[n]; ``label`` is int64[n]: 0 or 1 where a
    population fixes it, else -1; ``known`` are the distributions from which the features usually come.
    """

    segment: dict[str, Texts]
    features: dict[str, Column]
    label: Ints
    known: Mapping[str, Numbers | Choice] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.label)


class Sampler:
    """Draws requests.

    Raises
    ------
    ValueError
        If a distribution, a correlation or a factor names what is not there, or cannot be; the message says which.
    """

    def __init__(
        self,
        features: Mapping[str, Distribution],
        segments: Mapping[str, Names] | None = None,
        correlations: Iterable[Correlation] = (),
        populations: Mapping[str, Population] | None = None,
        daily_peak_hour: float = 15.0,
    ) -> None:
        self._segments = {name: Choice(spec) for name, spec in (segments or {}).items()}
        self._features = {name: compiled(name, spec) for name, spec in features.items()}
        self._populations = populations or {}
        self._overrides = {
            (name, feature): compiled(feature, spec)
            for name, population in self._populations.items()
            for feature, spec in population.features.items()
        }
        self._peak_hour = daily_peak_hour
        self._correlated, self._mix = _mixing(list(correlations), list(features))
        self._check()

    @property
    def known(self) -> Mapping[str, Numbers | Choice]:
        """The distributions of the features."""
        return self._features

    def draw(self, draws: Draws, hours: Floats) -> Asked:
        """One request per row of ``draws``, made at these hours of the day, float64[n]."""
        segment = {name: choice.of(draws.normal(f"segment.{name}")) for name, choice in self._segments.items()}
        normals = self._normals(draws)
        members, label = self._members(draws)
        texts = {
            name: self._texts(name, choice, normals[name], members)
            for name, choice in self._features.items()
            if isinstance(choice, Choice)
        }
        told = {**segment, **texts}
        features: dict[str, Column] = {
            name: texts[name]
            if isinstance(of, Choice)
            else self._numbers(name, of, normals[name], members, told, hours)
            for name, of in self._features.items()
        }
        return Asked(segment, features, label, self._features)

    def _normals(self, draws: Draws) -> dict[str, Floats]:
        normals = {name: draws.normal(f"feature.{name}") for name in self._features}
        if self._correlated:
            mixed = self._mix @ np.stack([normals[name] for name in self._correlated])
            normals.update(zip(self._correlated, mixed, strict=True))
        return normals

    def _members(self, draws: Draws) -> tuple[dict[str, Bools], Ints]:
        label = np.full(len(draws), -1)
        members: dict[str, Bools] = {}
        if not self._populations:
            return members, label
        luck, below = draws.uniform("population"), 0.0
        for name, population in self._populations.items():
            members[name] = (luck >= below) & (luck < below + population.share_ratio)
            below += population.share_ratio
            if population.label is not None:
                label[members[name]] = population.label
        return members, label

    def _texts(self, name: str, choice: Choice, normal: Floats, members: Mapping[str, Bools]) -> Texts:
        column = choice.of(normal)
        for population, member in members.items():
            other = self._overrides.get((population, name))
            if isinstance(other, Choice):
                column = np.where(member, other.of(normal), column)
        return column

    def _numbers(
        self,
        name: str,
        of: Numbers,
        normal: Floats,
        members: Mapping[str, Bools],
        told: Mapping[str, Texts],
        hours: Floats,
    ) -> Floats:
        values = of.raw(normal)
        for population, member in members.items():
            other = self._overrides.get((population, name))
            if isinstance(other, Numbers) and member.any():
                values[member] = other.raw(normal[member])
        for source, factors in of.spec.by.items():
            values = values * looked_up(factors, told[source], otherwise=1.0)
        if of.spec.daily_ratio:
            values = values * daily(hours, of.spec.daily_ratio, self._peak_hour)
        return of.shaped(values)

    def _check(self) -> None:
        texts = [*self._segments, *(name for name, of in self._features.items() if isinstance(of, Choice))]
        for name, of in self._features.items():
            for source in of.spec.by if isinstance(of, Numbers) else ():
                if source not in texts:
                    raise ValueError(f"features.{name}.by.{source}: no segment or text feature; there are {texts}")
        for name, feature in self._overrides:
            if feature not in self._features:
                raise ValueError(
                    f"populations.{name}.features.{feature}: no such feature; there are {[*self._features]}"
                )


def compiled(name: str, spec: Distribution) -> Numbers | Choice:
    """The distribution of a feature; a mistake in it names the feature."""
    try:
        return drawn_from(spec)
    except ValueError as error:
        raise ValueError(f"features.{name}: {error}") from error


def looked_up(table: Mapping[str, float], texts: Texts, otherwise: float = 0.0) -> Floats:
    """The table's value for each text, float64[n]."""
    values = np.full(len(texts), otherwise)
    for text, value in table.items():
        values[texts == text] = value
    return values


def _mixing(correlations: list[Correlation], features: list[str]) -> tuple[list[str], Floats]:
    """The features that are correlated, and the matrix that makes independent normals so."""
    names = list(dict.fromkeys(name for correlation in correlations for name in correlation.of))
    for name in names:
        if name not in features:
            raise ValueError(f"correlations: no feature {name!r}; there are {', '.join(features)}")
    matrix = np.eye(len(names))
    for correlation in correlations:
        one, two = (names.index(name) for name in correlation.of)
        matrix[one, two] = matrix[two, one] = correlation.rho
    try:
        return names, np.asarray(np.linalg.cholesky(matrix), np.float64) if names else matrix
    except np.linalg.LinAlgError as error:
        raise ValueError(f"correlations of {', '.join(names)} contradict each other: make them smaller") from error
