"""Synthetic serving models, one file each: requests with correlated features, and what the model answers to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from loadgen.columns import Column, Floats, Ints, Response, Texts


@dataclass(frozen=True, slots=True)
class Requests:
    """n requests: ``segment`` name → text[n], ``features`` name → float64[n] or text[n]."""

    segment: dict[str, Texts]
    features: dict[str, Column]


class ServingModel(Protocol):
    """A model that is served: how often it is asked, what it is asked, what it answers.

    ``rate_per_s`` is the mean rate; the mix adds noise and a daily rhythm.
    """

    @property
    def name(self) -> str:
        """The name its predictions carry."""
        ...

    @property
    def version(self) -> str:
        """The version its predictions carry."""
        ...

    @property
    def rate_per_s(self) -> float:
        """Mean number of requests a second."""
        ...

    def ask(self, rng: np.random.Generator, ts_ms: Ints) -> Requests:
        """Draw one request per event time in ``ts_ms`` (int64[n])."""
        ...

    def answer(self, rng: np.random.Generator, requests: Requests) -> Response:
        """Answer requests, whose features may have been struck by faults (scaled, or NaN)."""
        ...


def choose(rng: np.random.Generator, weights: dict[str, float], n: int) -> Texts:
    """Draw n names by weight; the weights need not add up to 1."""
    names = np.array(list(weights))
    shares = np.array(list(weights.values()))
    return names[rng.choice(len(names), size=n, p=shares / shares.sum())]


def lookup(table: dict[str, float], names: Texts) -> Floats:
    """The table's value for each name."""
    out = np.zeros(len(names))
    for name, value in table.items():
        out[names == name] = value
    return out


def sigmoid(logit: Floats) -> Floats:
    """The logistic function."""
    return 1.0 / (1.0 + np.exp(-logit))


def statuses(rng: np.random.Generator, n: int, error: str, error_ratio: float) -> Texts:
    """``ok`` for all but a random share of n requests."""
    return np.where(rng.random(n) < error_ratio, error, "ok")


def filled(column: Column) -> Floats:
    """A numeric feature with nulls replaced by the mean of the others, as a serving model would; 0 if all are null."""
    values = column.astype(np.float64)
    known = values[~np.isnan(values)]
    return np.where(np.isnan(values), known.mean() if len(known) else 0.0, values)


def local_hours(rng: np.random.Generator, ts_ms: Ints) -> Floats:
    """The caller's hour of day, 0 ≤ h < 24: callers live in all time zones, so that no hour of ours is special."""
    zone_hours = rng.integers(0, 24, size=len(ts_ms))
    return np.floor((ts_ms / 3_600_000 + zone_hours) % 24)


def pick(models: Sequence[ServingModel], name: str) -> ServingModel:
    """The model of this name.

    Raises
    ------
    KeyError
        If there is none.
    """
    for model in models:
        if model.name == name:
            return model
    raise KeyError(f"no model {name!r}; there are {', '.join(model.name for model in models)}")
