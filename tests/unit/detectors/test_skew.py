"""Skew: each aspect of a feature at its own size, what the number of reads allows for, and what it is told as."""

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.decision import evidence
from detectors.explain import explain
from detectors.parameters import ParameterError
from detectors.protocol import NUMBER, ReadColumns, Scores
from detectors.quality.skew import FeatureSkew, SkewParams
from schemas.scopes import OTHER
from tests.laws.skew_alarms import READS, VALUES, found, reads, texts, window

Floats = NDArray[np.float64]
ROWS = 2_000


def asked(seed: int = 1, rows: int = ROWS, sigma: float = 1.0) -> Floats:
    return np.random.default_rng(seed).lognormal(3, sigma, (1, rows))


def scored(columns: ReadColumns, **params: object) -> Scores:
    return FeatureSkew(SkewParams(**params)).step(window(columns))  # type: ignore[arg-type]


def told(columns: ReadColumns, **params: object) -> tuple[bool, str, str]:
    """Whether a window speaks against the first feature, by which aspect, and in which words."""
    scores = scored(columns, **params)
    words = explain(scores, 0, READS, 0) if scores.ready[0] else ""
    return bool(evidence(scores)[0]), (scores.label or [""])[0], words


def test_the_same_values_are_no_skew() -> None:
    for sigma in (0.2, 1.0, 2.5):
        values = asked(sigma=sigma)
        scores = scored(reads(values, values))
        assert scores.ready.all()
        assert scores.score[0] == 0


def test_another_unit() -> None:
    values = asked() + 4
    fires, aspect, words = told(reads(values, values / 100))
    assert (fires, aspect) == (True, "scale")
    assert f"the model is given {values.mean() / 100:.3g}, feature set card-history serves {values.mean():.3g}" in words
    assert f"mean {values.mean():.3g} → {values.mean() / 100:.3g}" in words


def test_a_default_at_the_mean_shows_in_the_spread() -> None:
    values = np.random.default_rng(2).normal(0, 1, (1, ROWS))
    fires, aspect, words = told(reads(values, np.full_like(values, values.mean())))
    assert (fires, aspect) == (True, "spread")
    assert "the model is given a standard deviation of" in words


def test_values_that_are_lost_count_and_those_that_are_filled_in_do_not() -> None:
    values = asked()
    holes = np.where(np.arange(ROWS) % 5 == 0, np.nan, values)
    fires, aspect, words = told(reads(values, holes))
    assert (fires, aspect) == (True, "nulls")
    assert "20.0% of what the model is given is null, feature set card-history serves 0.0%" in words
    filled = np.where(np.isnan(holes), np.nanmedian(holes), holes)
    assert not told(reads(holes, filled))[0]


def test_other_texts_and_numbers_that_became_texts() -> None:
    served = np.array([[600, 400, 0]])
    fires, aspect, words = told(texts(served, np.array([[300, 400, 300]])))
    assert (fires, aspect) == (True, "texts")
    assert "30.0% of what the model is given is '0', feature set card-history serves 60.0%" in words
    values = asked()
    both = reads(values, values)
    counts = np.array([[ROWS, 0]])
    kept = both.given.copy()
    kept[:, 1] = ROWS / 2
    mixed = ReadColumns(
        both.place, both.series, both.name, both.sets, both.served, kept, [(NUMBER, "12")], counts,
        np.array([[ROWS // 2, ROWS // 2]]),
    )  # fmt: skip
    assert told(mixed)[:2] == (True, "texts")


def test_texts_that_one_side_does_not_name_may_be_among_those_it_has_put_together() -> None:
    columns = texts(np.array([[500, 300, 200, 0]]), np.array([[500, 0, 0, 500]]))
    named = ReadColumns(
        columns.place, columns.series, columns.name, columns.sets, columns.served, columns.given,
        [("a", "b", "c", OTHER)], columns.served_counts, columns.given_counts,
    )  # fmt: skip
    assert not told(named)[0]
    assert told(columns)[0]


def test_a_part_of_the_reads_may_differ_as_far_as_a_part_can() -> None:
    values = np.sort(asked(rows=4_000))
    highest, lowest = values[:, 2_000:], values[:, :2_000]
    # The worst of all rules: the cache answers all that is small, or all that is large.
    assert not told(reads(highest, values))[0]
    assert not told(reads(lowest, values))[0]
    for part in (0.3, 0.6, 0.9):
        assert not told(reads(values[:, : int(part * 4_000)], values))[0]
        assert not told(reads(values, values[:, : int(part * 4_000)]))[0]
    # The same means with as many events on both sides are no cache.
    assert told(reads(highest, np.concatenate((lowest[:, ::2], highest[:, ::2]), axis=1)))[0]
    # What no part of the values could be is told however few of them are read.
    assert told(reads(highest[:, :200] * 1_000, values))[0]


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("rows", [50, 2_000])
def test_chance_alone_is_hardly_ever_told_of(name: str, rows: int) -> None:
    rng = np.random.default_rng(5)
    draw = VALUES[name]
    share, _ = found(reads(draw(rng, (400, rows)), draw(rng, (400, rows))))
    assert share <= 1 / 400


def test_what_is_too_little_or_on_one_side_is_not_ready() -> None:
    values = asked(rows=49)
    assert not scored(reads(values, values * 100)).ready.any()
    nothing = np.full((1, ROWS), np.nan)
    assert not scored(reads(asked(), nothing)).ready.any()
    assert len(scored(ReadColumns()).series) == 0


@pytest.mark.parametrize(
    ("pattern", "ready"), [("f0", False), ("f*", False), ("model-0/f0", False), ("other/*", True), ("f1", True)]
)
def test_what_a_model_writes_down_otherwise_on_purpose_is_left_out(pattern: str, ready: bool) -> None:
    values = asked()
    assert scored(reads(values, values * 100), ignored=(pattern,)).ready[0] == ready


def test_constants_are_compared_but_for_their_rounding() -> None:
    five = np.full((1, ROWS), 5.0)
    assert not told(reads(five, five + 1e-5))[0]
    assert told(reads(five, five + 1))[0]


def test_several_sets_are_named() -> None:
    values = asked()
    columns = reads(values, values * 100)
    both = ReadColumns(
        columns.place, columns.series, columns.name, [("card-24h", "card-live")], columns.served, columns.given,
        columns.values, columns.served_counts, columns.given_counts,
    )  # fmt: skip
    assert "feature sets card-24h, card-live serve " in told(both)[2]


def test_bounds() -> None:
    with pytest.raises(ParameterError, match=r"SkewParams.floor_factor = 1.0: give 1.01 to 1000"):
        SkewParams(floor_factor=1.0)
