"""Data quality: what is found, what is let pass, and when it ends."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detectors.baseline import from_table
from detectors.parameters import ParameterError
from detectors.protocol import Scores
from detectors.quality.freshness import FreshnessLimit, FreshnessParams
from detectors.registry import make
from schemas.scopes import Family, Scope
from tests.laws.quality_alarms import MINUTE_MS, STORE, Draw, Stream, ages, sawtooth, stationary
from tests.laws.world import Seen, World

MODEL = Scope(Family.PREDICTION, "m", "1")


@pytest.mark.parametrize(("rows", "ref"), [(60, 500), (2_000, 2_000)])
@pytest.mark.parametrize("repeated", [0.0, 0.2])
def test_nothing_is_said_while_nothing_changes(rows: int, ref: int, repeated: float) -> None:
    assert not stationary(3, rows, ref, 60, repeated)


@pytest.mark.parametrize("period", [0, 5, 20])
def test_refreshes_at_intervals_are_no_news_after_the_warm_up(period: int) -> None:
    assert ages(2, 300, period, 90) == 0


def with_texts(seen: Seen, name: str, share: float) -> Seen:
    """That share of the values come as text."""
    values = seen.numeric[name].copy()
    count = int(len(values) * share)
    values[:count] = np.nan
    return replace(seen, numeric={**seen.numeric, name: values}, categories={name: {"1.5": count}})


def without(seen: Seen, name: str) -> Seen:
    return replace(seen, numeric={key: values for key, values in seen.numeric.items() if key != name})


def changed(seen: Seen, name: str, values: Any) -> Seen:
    return replace(seen, numeric={**seen.numeric, name: values})


def begun(stream: Stream, harm: Any, windows: int = 6) -> list[tuple[str, str]]:
    for _ in range(20):
        assert not stream.step(stream.seen())
    return [found for _ in range(windows) for found in stream.step(harm(stream.seen()))]


def test_a_field_that_is_gone_is_found_and_one_that_is_optional_is_let_pass() -> None:
    stream = Stream(1, 300, 2_000)
    rare = without(without(stream.seen(), "features.rare"), "features.never")
    assert not begun(stream, lambda seen: replace(rare, rows=seen.rows))
    assert begun(Stream(1, 300, 2_000), lambda seen: without(seen, "features.optional")) == [
        ("schema", "features.optional")
    ]


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_numbers_that_come_as_text_are_of_another_type_and_not_gone(share: float) -> None:
    stream = Stream(1, 300, 2_000)
    found = begun(stream, lambda seen: with_texts(seen, "features.normal", share))
    assert found == [("schema", "features.normal")]
    said = stream.detectors["schema"].step(
        stream.world.window({stream.scope: with_texts(stream.seen(), "features.normal", share)})
    )
    at = said.quantity.index("features.normal")
    assert said.label is not None
    assert said.label[at] == "type"
    assert said.value[at] == pytest.approx(share, abs=0.01)


def test_a_field_that_comes_back_ends_its_finding() -> None:
    stream = Stream(1, 300, 2_000)
    begun(stream, lambda seen: without(seen, "features.normal"))
    for _ in range(5):
        stream.step(stream.seen())
    window = stream.world.window({stream.scope: stream.seen()})
    scores = stream.detectors["schema"].step(window)
    assert not stream.bank.decide(scores, 0, MINUTE_MS).firing.any()


def test_a_new_field_is_found_from_the_share_on_that_matters() -> None:
    for share, wanted in ((0.02, []), (0.3, [("new_field", "features.new")])):
        stream = Stream(1, 1_000, 2_000)

        def with_new(seen: Seen, share: float = share) -> Seen:
            return changed(seen, "features.new", np.where(np.arange(seen.rows) < share * seen.rows, 1.0, np.nan))

        assert begun(stream, with_new) == wanted


def test_a_text_feature_is_known_by_its_baseline() -> None:
    base = from_table(
        MODEL, {"features.a": np.arange(500.0), "features.t": ["x", "y"] * 250}, built_from="test", effective_from_ms=0
    )
    world = World({MODEL: base})
    usual = Seen(100, {"features.a": np.arange(100.0)}, categories={"features.t": {"x": 60, "y": 40}})
    more = replace(usual, categories={"features.t": {"x": 100}, "features.u": {"x": 80}})
    schema, fresh = make("schema"), make("new_field")
    assert not schema.step(world.window({MODEL: usual})).score.any()
    assert not fresh.step(world.window({MODEL: usual})).ready.any()
    said = fresh.step(world.window({MODEL: more}))
    assert [said.quantity[i] for i in np.flatnonzero(said.ready).tolist()] == ["features.u"]
    assert said.score[said.ready].tolist() == [0.8]


def test_values_in_another_unit_are_out_of_range_and_a_shift_is_not() -> None:
    def in_cents(seen: Seen) -> Seen:
        values = seen.numeric["features.normal"].copy()
        values[: len(values) // 40] *= 100
        return changed(seen, "features.normal", values)

    assert begun(Stream(1, 2_000, 2_000), in_cents) == [("range", "features.normal")]
    found = begun(
        Stream(1, 2_000, 2_000), lambda seen: changed(seen, "features.normal", seen.numeric["features.normal"] + 2.5)
    )
    assert not found


def test_a_feature_with_one_value_is_frozen_and_a_rare_flag_without_a_hit_is_not() -> None:
    stream = Stream(1, 200, 2_000)
    assert begun(stream, lambda seen: changed(seen, "features.sessions", np.full(seen.rows, 20.0))) == [
        ("frozen", "features.sessions")
    ]
    flags: dict[str, Draw] = {"features.flag": lambda rng, n: (rng.random(n) < 0.01).astype(np.float64)}
    quiet = begun(
        Stream(1, 100, 2_000, columns=flags), lambda seen: changed(seen, "features.flag", np.zeros(seen.rows))
    )
    assert not quiet


def test_repeated_ids_are_found_beyond_what_is_usual() -> None:
    stream = Stream(1, 300, 2_000)
    assert begun(stream, lambda seen: replace(seen, ids=(200, 30))) == [("duplicates", "event_id")]
    usual = Stream(1, 300, 2_000)
    for _ in range(12):
        usual.step(usual.seen(repeated=0.15))
    assert not [found for _ in range(8) for found in usual.step(usual.seen(repeated=0.15))]
    assert [found for _ in range(8) for found in usual.step(usual.seen(repeated=0.6))]


def test_repeats_that_go_on_for_long_are_usual_in_the_end() -> None:
    detector = make("duplicates", {"patience": 20})
    world = World({MODEL: None})
    said: list[bool] = []
    for i in range(60):
        seen = Seen(300, {}, ids=(200, 0 if i < 12 else 100))
        scores = detector.step(world.window({MODEL: seen}))
        said += (scores.ready & (scores.score >= scores.floor)).tolist()
    assert said.index(True) == 12
    assert not any(said[-15:])


def age_scores(params: dict[str, Any], minutes: list[float], *, before: int = 40) -> list[Scores]:
    """The scores of ages around a minute, and then around others."""
    rng = np.random.default_rng(5)
    base = from_table(
        STORE, {"freshness_ms": rng.lognormal(11, 0.3, 2_000)}, built_from="test", effective_from_ms=0, panes=12
    )
    world, detector = World({STORE: base}), make("freshness", params)
    ages_ms = [60_000.0] * before + [60_000 * minute for minute in minutes]
    return [
        detector.step(world.window({STORE: Seen(300, {"freshness_ms": age * rng.lognormal(0, 0.3, 300)})}))
        for age in ages_ms
    ]


def against(scores: Scores) -> bool:
    return bool((scores.ready & (scores.score >= scores.floor) & (scores.score > scores.noise)).any())


def test_a_job_that_stopped_is_found_however_slowly_ages_rise() -> None:
    # A second a second: had the detector learned what it sees, no window would be twice the last.
    rising = age_scores({}, [1 + 0.25 * i for i in range(40)])
    first = next(i for i, scores in enumerate(rising) if against(scores)) - 40
    assert 4 <= first <= 16
    assert all(against(scores) for scores in rising[40 + 20 :])


def test_ages_fall_back_and_nothing_of_the_stall_is_usual() -> None:
    scores = age_scores({}, [2, 6, 9, 12, 1, 1, 1, 2, 6])
    assert [against(each) for each in scores[40:]] == [False, True, True, True, False, False, False, False, True]


def test_a_limit_holds_in_place_of_what_is_usual() -> None:
    params = {"limits": [{"feature_set": "hist*", "limit_ms": 600_000}]}
    scores = age_scores(params, [3, 20], before=2)
    assert [against(each) for each in scores] == [False, False, False, True]
    assert scores[-1].threshold is not None
    assert scores[-1].threshold.tolist() == [600_000]
    assert not any(
        against(each) for each in age_scores({"limits": [{"feature_set": "x", "limit_ms": 1}]}, [], before=40)
    )


def test_limits_say_what_is_wrong_with_them() -> None:
    with pytest.raises(ParameterError, match="limit_ms"):
        FreshnessLimit(feature_set="a", limit_ms=0)
    with pytest.raises(ParameterError, match="floor_ratio"):
        FreshnessParams(floor_ratio=1.0)


def test_a_feature_set_that_is_refreshed_less_often_than_the_warm_up_knows_looks_stale_once() -> None:
    # Said in the documents; here so that it is noticed when it changes.
    assert ages(1, 300, 150, 150) == 1
    assert next(sawtooth(2))(np.random.default_rng(0), 3).shape == (3,)
