"""Effects on what is asked: features that drift, are null or new, change their schema; requests of a new kind."""

from dataclasses import replace
from typing import Literal

import numpy as np

from loadgen.columns import Column, Floats, Texts
from loadgen.distributions import Choice, Distribution, Numbers, Positive, is_text
from loadgen.effects.struck import EffectData, Struck
from loadgen.models.sampling import Asked, compiled
from schemas.common import Ratio


class Scale(EffectData, frozen=True, tag="scale"):
    """A numeric feature is multiplied by ``factor``, > 0."""

    feature: str
    factor: Positive

    def strike(self, asked: Asked, struck: Struck) -> Asked:
        """The requests as the model sees them."""
        return _with(asked, self.feature, _numbers(asked, self.feature) * struck.factor(self.factor))

    def describe(self) -> str:
        """What is done, in words."""
        return f"features.{self.feature} × {self.factor:g}"

    @property
    def magnitude(self) -> float:
        """The factor."""
        return self.factor


class Shift(EffectData, frozen=True, tag="shift"):
    """A numeric feature is moved by so many of its own standard deviations; it keeps its bounds."""

    feature: str
    sigmas: float

    def strike(self, asked: Asked, struck: Struck) -> Asked:
        """The requests as the model sees them."""
        values, of = _numbers(asked, self.feature), asked.known[self.feature]
        if isinstance(of, Numbers):
            values = np.where(struck.strength > 0, of.shaped(values + self.sigmas * of.sigma * struck.strength), values)
        return _with(asked, self.feature, values)

    def describe(self) -> str:
        """What is done, in words."""
        return f"features.{self.feature} {self.sigmas:+g} σ"

    @property
    def magnitude(self) -> float:
        """Standard deviations."""
        return self.sigmas


class Nulls(EffectData, frozen=True, tag="nulls"):
    """A numeric feature is null in a share of the requests."""

    feature: str
    ratio: Ratio

    def strike(self, asked: Asked, struck: Struck) -> Asked:
        """The requests as the model sees them."""
        values = _numbers(asked, self.feature)
        return _with(asked, self.feature, np.where(struck.share("nulls", self.ratio), np.nan, values))

    def describe(self) -> str:
        """What is done, in words."""
        return f"features.{self.feature} null in {self.ratio:.0%}"

    @property
    def magnitude(self) -> float:
        """Share of the requests."""
        return self.ratio


class Category(EffectData, frozen=True, tag="category"):
    """A text feature has this text in a share of the requests: one that it never had, or one that it has too often."""

    feature: str
    text: str
    ratio: Ratio

    def strike(self, asked: Asked, struck: Struck) -> Asked:
        """The requests as the model sees them."""
        column = _texts(asked, self.feature)
        return _with(asked, self.feature, np.where(struck.share("category", self.ratio), self.text, column))

    def describe(self) -> str:
        """What is done, in words."""
        return f"features.{self.feature} = {self.text} in {self.ratio:.0%}"

    @property
    def magnitude(self) -> float:
        """Share of the requests."""
        return self.ratio


class Crowd(EffectData, frozen=True, tag="crowd"):
    """A share of the requests comes from others: these features have other distributions there.

    ``label`` is what their label always is: true for an attack that the model does not know.
    """

    ratio: Ratio
    features: dict[str, Distribution]
    label: bool | None = None

    def strike(self, asked: Asked, struck: Struck) -> Asked:
        """The requests as the model sees them."""
        member = struck.share("crowd", self.ratio)
        features = dict(asked.features)
        for name, spec in self.features.items():
            of, normal = compiled(name, spec), struck.normal(f"crowd.{name}")
            usual = _texts(asked, name) if isinstance(of, Choice) else _numbers(asked, name)
            features[name] = np.where(member, of.of(normal), usual)
        label = asked.label if self.label is None else np.where(member, int(self.label), asked.label)
        return replace(asked, features=features, label=label)

    def describe(self) -> str:
        """What is done, in words."""
        return f"{self.ratio:.1%} of requests with other {', '.join(self.features)}"

    @property
    def feature(self) -> str:
        """The features that differ."""
        return ", ".join(self.features)

    @property
    def magnitude(self) -> float:
        """Share of the requests."""
        return self.ratio


class Field(EffectData, frozen=True, tag="field"):
    """A feature appears, disappears, or comes as text where it was a number, in all rows: of one version, or of all."""

    feature: str
    change: Literal["appears", "disappears", "turns_text"]

    def strike(self, asked: Asked, struck: Struck) -> Asked:
        """The requests as the model sees them: what is gone is null to it, what it does not know it does not see."""
        del struck
        if self.change != "disappears":
            return asked
        column = asked.features.get(self.feature)
        if column is None:
            raise _unknown(asked, self.feature)
        empty: Column = np.full(len(column), "") if is_text(column) else np.full(len(column), np.nan)
        return _with(asked, self.feature, empty)

    def on_wire(self, features: dict[str, Column], struck: Struck) -> dict[str, Column]:
        """The features as they are sent."""
        if self.change == "appears":
            return {**features, self.feature: struck.normal("field")}
        if self.change == "disappears":
            return {name: column for name, column in features.items() if name != self.feature}
        return {**features, self.feature: as_texts(features[self.feature])}

    def describe(self) -> str:
        """What is done, in words."""
        return f"features.{self.feature} {self.change.replace('_', ' ')}"

    @property
    def magnitude(self) -> float:
        """Of all rows."""
        return 1.0


Misread = Scale | Shift | Nulls | Category
"""What the model is told is wrong; what turns out to be true follows from what was right."""
RequestEffect = Misread | Crowd


def as_texts(column: Column) -> Texts:
    """Numbers as a careless producer writes them; a null is an empty text."""
    return np.array(["" if value != value else f"{value:g}" for value in column.tolist()], np.str_)  # noqa: PLR0124 - NaN


def _with(asked: Asked, feature: str, column: Column) -> Asked:
    return replace(asked, features={**asked.features, feature: column})


def _numbers(asked: Asked, feature: str) -> Floats:
    column = asked.features.get(feature)
    if column is None or is_text(column):
        raise _unknown(asked, feature, "numeric")
    return column.astype(np.float64)


def _texts(asked: Asked, feature: str) -> Texts:
    column = asked.features.get(feature)
    if column is None or not is_text(column):
        raise _unknown(asked, feature, "text")
    return column.astype(np.str_)


def _unknown(asked: Asked, feature: str, kind: str = "") -> ValueError:
    return ValueError(f"there is no {kind} feature {feature!r}; there are {', '.join(asked.features)}")
