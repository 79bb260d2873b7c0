import numpy as np
import pytest

from loadgen.randomness import Draws, key_of

N = 200_000


def draws(key: object = "k", n: int = N) -> Draws:
    return Draws.of(key_of(key), np.arange(n) // 40, np.arange(n) % 40)


def test_uniform_numbers_fill_their_interval_evenly() -> None:
    numbers = draws().uniform("x")
    assert numbers.min() > 0
    assert numbers.max() < 1
    counts = np.bincount((numbers * 100).astype(int), minlength=100)
    # Chi-square with 99 degrees of freedom: mean 99, standard deviation 14.
    assert ((counts - N / 100) ** 2 / (N / 100)).sum() < 99 + 6 * 14


def test_normal_numbers_are_standard_normal() -> None:
    numbers = draws().normal("x")
    assert abs(numbers.mean()) < 5 / np.sqrt(N)
    assert abs(numbers.std() - 1) < 5 / np.sqrt(2 * N)
    assert abs((numbers**3).mean()) < 5 * np.sqrt(15 / N)
    assert abs((np.abs(numbers) > 3).mean() - 0.0027) < 5 * np.sqrt(0.0027 / N)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (draws().uniform("x"), draws().uniform("y")),
        (draws("a").uniform("x"), draws("b").uniform("x")),
        (draws().normal("x"), draws().uniform("x")),
        (draws().uniform("x")[:-1], draws().uniform("x")[1:]),
        (draws().uniform("x")[:-40], draws().uniform("x")[40:]),
    ],
    ids=["what is drawn", "entity", "normal and uniform", "next place", "next second"],
)
def test_draws_are_independent(one: np.ndarray, two: np.ndarray) -> None:
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / np.sqrt(N)


def test_a_row_draws_the_same_in_any_company() -> None:
    few = Draws.of(key_of("k"), np.array([7, 3]), np.array([5, 0]))
    assert few.uniform("x").tolist() == draws().uniform("x")[[7 * 40 + 5, 3 * 40]].tolist()
    assert len(few) == 2


def test_keys_are_the_same_in_every_process() -> None:
    assert int(key_of(7, "model", "cards")) == 0xCFFADB8F0CDC18B0
    assert key_of("ab", "c") != key_of("a", "bc")


@pytest.mark.parametrize("mean", [0.0, 0.3, 4.0, 15.9, 16.1, 60.0, 900.0])
def test_counts_have_mean_and_spread_of_a_poisson_distribution(mean: float) -> None:
    counts = draws().poisson("x", np.full(N, mean))
    assert counts.min() >= 0
    assert abs(counts.mean() - mean) <= 5 * np.sqrt(mean / N) + 1e-12
    assert abs(counts.var() - mean) <= 5 * np.sqrt((mean + 2 * mean**2) / N) + 0.1 * (mean > 0)


def test_rare_counts_have_the_shares_of_a_poisson_distribution() -> None:
    counts = draws().poisson("x", np.full(N, 2.0))
    for count, share in enumerate([0.13534, 0.27067, 0.27067, 0.18045]):
        assert abs((counts == count).mean() - share) < 5 * np.sqrt(share / N)


def test_what_happens_happens_at_its_share() -> None:
    assert abs(draws().happens("x", 0.03).mean() - 0.03) < 5 * np.sqrt(0.03 / N)
    assert not draws().happens("x", 0.0).any()
    assert draws().happens("x", 1.0).all()
