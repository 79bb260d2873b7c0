import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.distributions import Choice, Distribution, Numbers, drawn_from
from loadgen.randomness import Draws, key_of

N = 100_000
NORMAL = Draws.of(key_of("distributions"), np.arange(N), np.zeros(N, np.int64)).normal("x")
SPECS: dict[str, tuple[dict[str, Any], float, float]] = {
    "normal": ({"kind": "normal", "mean": 3, "sigma": 2}, 3, 2),
    "lognormal": (
        {"kind": "lognormal", "median": 30, "sigma": 0.5},
        30 * math.exp(0.125),
        30 * math.exp(0.125) * math.sqrt(math.exp(0.25) - 1),
    ),
    "uniform": ({"kind": "uniform", "from": 2, "to": 8}, 5, 6 / math.sqrt(12)),
    "wholes": ({"kind": "uniform", "from": 0, "to": 24, "whole": True}, 11.5, math.sqrt((24**2 - 1) / 12)),
    "gamma": ({"kind": "gamma", "shape": 2.5, "scale": 4}, 10, math.sqrt(2.5) * 4),
    "gamma of a shape below 1": ({"kind": "gamma", "shape": 0.6, "scale": 5}, 3, math.sqrt(0.6) * 5),
    "poisson": ({"kind": "poisson", "mean": 2.3}, 2.3, math.sqrt(2.3)),
    "geometric": ({"kind": "geometric", "success_ratio": 0.2}, 5, math.sqrt(0.8) / 0.2),
    "mixture": (
        {"kind": "mixture", "parts": [
            {"weight": 3, "of": {"kind": "normal", "mean": 0, "sigma": 1}},
            {"weight": 1, "of": {"kind": "normal", "mean": 20, "sigma": 2}}]},
        5, math.sqrt(0.75 * 1 + 0.25 * 4 + 0.75 * 25 + 0.25 * 225),
    ),
}  # fmt: skip


def read(spec: dict[str, Any]) -> Numbers | Choice:
    return drawn_from(msgspec.convert(spec, Distribution))


def numbers(spec: dict[str, Any]) -> Numbers:
    of = read(spec)
    assert isinstance(of, Numbers)
    return of


@pytest.mark.parametrize("kind", SPECS)
def test_values_have_the_mean_and_the_spread_of_their_distribution(kind: str) -> None:
    spec, mean, sigma = SPECS[kind]
    of = numbers(spec)
    values = of.of(NORMAL)
    assert abs(values.mean() - mean) < 5 * sigma / math.sqrt(N) + 0.002 * sigma
    assert values.std() == pytest.approx(sigma, rel=0.03)
    assert of.mean == pytest.approx(mean, rel=0.005, abs=0.005)
    assert of.sigma == pytest.approx(sigma, rel=0.01)


@pytest.mark.parametrize("kind", SPECS)
@given(places=st.lists(st.floats(-8, 8), min_size=2, max_size=20))
def test_a_value_never_falls_as_its_normal_number_grows(kind: str, places: list[float]) -> None:
    values = numbers(SPECS[kind][0]).of(np.sort(places))
    assert (np.diff(values) >= 0).all()
    assert np.isfinite(values).all()


def test_a_mixture_has_its_parts_in_their_shares() -> None:
    values = numbers(SPECS["mixture"][0]).of(NORMAL)
    assert abs((values > 10).mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / N)


def test_values_keep_to_their_bounds_and_decimals() -> None:
    values = numbers({"kind": "normal", "mean": 0, "sigma": 5, "low": -1, "high": 2.5, "decimals": 1}).of(NORMAL)
    assert (values.min(), values.max()) == (-1, 2.5)
    np.testing.assert_array_equal(values, np.round(values, 1))


def test_texts_come_by_their_weights() -> None:
    of = read({"kind": "categorical", "weights": {"DE": 3, "FR": 1}})
    assert isinstance(of, Choice)
    assert abs((of.of(NORMAL) == "DE").mean() - 0.75) < 5 * math.sqrt(0.75 * 0.25 / N)


def test_keys_are_hot_as_zipf_says() -> None:
    of = read({"kind": "zipf", "count": 50, "exponent": 1.2, "prefix": "tenant"})
    texts, counts = np.unique(of.of(NORMAL), return_counts=True)
    seen = dict(zip(texts.tolist(), counts.tolist(), strict=True))
    assert seen["tenant-1"] / seen["tenant-8"] == pytest.approx(8**1.2, rel=0.1)
    assert len(seen) == 50


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"kind": "normal", "mean": 0, "sigma": 0}, "> 0.0.*sigma"),
        ({"kind": "lognormal", "median": -3, "sigma": 1}, "> 0.0.*median"),
        ({"kind": "gamma", "shape": 0, "scale": 1}, "0.001.*shape"),
        ({"kind": "poisson", "mean": 0}, "> 0.0.*mean"),
        ({"kind": "geometric", "success_ratio": 1.5}, "<= 1.0.*success_ratio"),
        ({"kind": "uniform", "from": 2, "to": 2}, "nothing is between"),
        ({"kind": "uniform", "from": 2, "to": 3, "whole": True}, "nothing is between"),
        ({"kind": "mixture", "parts": []}, "length >= 1"),
        ({"kind": "categorical", "weights": {}}, "one of the weights"),
        ({"kind": "categorical", "weights": {"a": -1, "b": 2}}, ">= 0.0.*weights"),
    ],
)
def test_what_is_no_distribution_is_refused(spec: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, msgspec.ValidationError), match=words):
        read(spec)
