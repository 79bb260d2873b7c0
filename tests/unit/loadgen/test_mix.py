from itertools import pairwise

import numpy as np
import pytest

from loadgen.faults import Effect, Fault, truths
from loadgen.mix import Mix
from loadgen.models import pick
from loadgen.scenarios import demo, serving_models
from schemas.findings import Kind

START_MS = 1_780_000_000_000 - 1_780_000_000_000 % 60_000


def fault(effect: Effect, magnitude: float, **more: object) -> Fault:
    given = {"name": "f", "model": "fraud-scorer", "onset_s": 10, "end_s": 20, "kinds": (Kind.DRIFT,), **more}
    return Fault(effect=effect, magnitude=magnitude, **given)  # type: ignore[arg-type]


def place(mix: Mix, name: str) -> int:
    return [model.name for model in mix.models].index(name)


def gathered(mix: Mix, name: str, first: int, last: int, column: str) -> np.ndarray:
    parts = [mix.second(place(mix, name), second) for second in range(first, last)]
    return np.concatenate(
        [getattr(p.response, column, None) if column == "latency_ms" else p.features[column] for p in parts]
    )


def test_a_second_is_the_same_alone_and_among_others() -> None:
    mix = demo().mix(START_MS)
    alone = mix.second(1, 137)
    among = list(mix.seconds(130, 140))[7][1]
    assert alone.event_id == among.event_id
    np.testing.assert_array_equal(alone.ts_ms, among.ts_ms)
    np.testing.assert_array_equal(alone.response.latency_ms, among.response.latency_ms)


def test_seeds_and_seconds_differ() -> None:
    models = serving_models()
    one, two = Mix(models, (), START_MS, 1), Mix(models, (), START_MS, 2)
    assert one.second(0, 0).response.latency_ms.tolist() != two.second(0, 0).response.latency_ms.tolist()
    assert one.second(0, 0).response.latency_ms.tolist() != one.second(0, 1).response.latency_ms.tolist()


def test_event_times_are_ascending_and_within_their_second() -> None:
    mix = demo().mix(START_MS)
    for second in (0, 59, 3599):
        for predictions in next(mix.seconds(second, second + 1)):
            ts = predictions.ts_ms
            assert (np.diff(ts) >= 0).all()
            assert (ts >= START_MS + second * 1000).all()
            assert (ts < START_MS + (second + 1) * 1000).all()


def test_a_fault_changes_nothing_outside_its_time_and_model() -> None:
    models = serving_models()
    struck = Mix(models, (fault(Effect.SCALE, 3.0, target="amount"),), START_MS)
    clean = Mix(models, (), START_MS)
    for second, number in ((9, 0), (20, 0), (15, 1), (15, 2)):
        one, two = struck.second(number, second), clean.second(number, second)
        assert one.event_id == two.event_id
        np.testing.assert_array_equal(one.response.latency_ms, two.response.latency_ms)


def test_a_scaled_feature_is_scaled_and_moves_the_score() -> None:
    models = serving_models()
    struck = Mix(models, (fault(Effect.SCALE, 3.0, target="amount"),), START_MS).second(0, 12)
    clean = Mix(models, (), START_MS).second(0, 12)
    np.testing.assert_allclose(struck.features["amount"].astype(float), 3 * clean.features["amount"].astype(float))
    assert struck.response.score is not None
    assert clean.response.score is not None
    assert (struck.response.score > clean.response.score).all()


def test_nulls_come_at_their_share() -> None:
    mix = Mix(
        serving_models(),
        (fault(Effect.NULLS, 0.3, model="recommender", target="user_embedding_norm", end_s=110),),
        START_MS,
    )
    values = gathered(mix, "recommender", 10, 110, "user_embedding_norm")
    ratio = np.isnan(values).mean()
    # Four standard deviations of a share of this many rows.
    assert abs(ratio - 0.3) < 4 * np.sqrt(0.3 * 0.7 / len(values))


def test_only_the_tail_slows_down() -> None:
    slow = fault(Effect.SLOW_TAIL, 1.8, model="chat-llm", tail_over_ms=6000.0, end_s=110)
    struck = gathered(Mix(serving_models(), (slow,), START_MS), "chat-llm", 10, 110, "latency_ms")
    clean = gathered(Mix(serving_models(), (), START_MS), "chat-llm", 10, 110, "latency_ms")
    np.testing.assert_array_equal(struck, np.where(clean > 6000.0, clean * 1.8, clean))
    assert (clean > 6000.0).any()
    assert (clean <= 6000.0).any()


def test_traffic_falls_to_its_share() -> None:
    mix = Mix(serving_models(), (fault(Effect.VOLUME, 0.3, model="recommender", end_s=110),), START_MS)
    clean = Mix(serving_models(), (), START_MS)
    number = place(mix, "recommender")
    struck = sum(len(mix.second(number, s)) for s in range(10, 110))
    usual = sum(len(clean.second(number, s)) for s in range(10, 110))
    assert abs(struck - 0.3 * usual) < 5 * np.sqrt(usual)


def test_failures_come_at_their_share() -> None:
    mix = Mix(serving_models(), (fault(Effect.ERRORS, 1.0),), START_MS)
    assert set(mix.second(0, 10).response.status.tolist()) == {"upstream_timeout"}
    assert "upstream_timeout" not in set(mix.second(0, 9).response.status.tolist())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"effect": Effect.SCALE, "magnitude": 2.0}, "needs the feature"),
        ({"effect": Effect.NULLS, "magnitude": 1.5, "target": "amount"}, "share"),
        ({"effect": Effect.VOLUME, "magnitude": -1.0}, "nothing real"),
        ({"effect": Effect.VOLUME, "magnitude": 0.5, "end_s": 10}, "end after its onset"),
    ],
)
def test_impossible_faults_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fault(**wrong)  # type: ignore[arg-type]


def test_a_fault_about_an_unknown_model_or_feature_is_refused() -> None:
    with pytest.raises(ValueError, match="fraud-scorer"):
        Mix(serving_models(), (fault(Effect.VOLUME, 0.5, model="nobody"),), START_MS)
    with pytest.raises(ValueError, match="velocity_24h"):
        Mix(serving_models(), (fault(Effect.SCALE, 2.0, target="velocity"),), START_MS).second(0, 10)


def test_models_are_found_by_name() -> None:
    assert pick(serving_models(), "chat-llm").version == "llama-70b-2"
    with pytest.raises(KeyError, match="recommender"):
        pick(serving_models(), "none")


def test_truths_stand_where_the_faults_are() -> None:
    placed = truths(demo().faults, START_MS)
    assert [t.onset_ms for t in placed] == sorted(t.onset_ms for t in placed)
    assert placed[0].onset_ms == START_MS + demo().faults[0].onset_s * 1000


def test_faults_of_one_model_do_not_overlap_in_the_demo() -> None:
    # The scorecard could not tell which of two a late alert belongs to.
    faults = sorted(demo().faults, key=lambda f: f.onset_s)
    assert all(one.end_s <= two.onset_s for one, two in pairwise(faults))
