import math

import numpy as np
import pytest

from detectors.adapters.river_streams import STREAMS, drift_stream
from detectors.registry import REGISTRY
from detectors.series.plain import FixedLimit, PeriodicAlarm, RollingZ
from streams.errors import ConfigError
from streams.evaluate.account import on_nab, on_series, on_windows
from streams.evaluate.banks import FIRING, BankOnSeries
from streams.evaluate.contenders import CONTENDERS, PLAIN, Contender, OnMeans, chosen, of_series
from streams.evaluate.drifting import Plan, compare
from streams.evaluate.report import of_nab, of_outcomes, to_json
from streams.evaluate.running import Scored, run
from streams.evaluate.series import LabelledSeries

NONE = np.empty((0, 2), np.int64)


def ticks(rows: int) -> np.ndarray:
    return np.arange(rows, dtype=np.int64) * 1000


def test_a_periodic_alarm_knows_its_place_over_calls() -> None:
    detector = PeriodicAlarm()
    score = np.concatenate([detector.step(ticks(5), np.zeros(5)), detector.step(ticks(11), np.zeros(11))])
    assert np.flatnonzero(score >= 4).tolist() == [3, 7, 11, 15]


def test_a_fixed_limit_is_of_the_first_rows_and_stays() -> None:
    score = FixedLimit(4).step(ticks(7), np.array([1, 3, 1, 3, 2, 6, np.nan]))
    assert np.isnan(score[:4]).all()
    assert score[4:6].tolist() == [0, 4]
    assert np.isnan(score[6])


def test_a_rolling_z_forgets() -> None:
    value = np.concatenate([np.tile([0.0, 2.0], 20), np.tile([100.0, 102.0], 20)])
    score = RollingZ(20).step(ticks(80), value)
    assert score[40] == pytest.approx(99)
    assert score[79] == pytest.approx(1)


def test_means_stand_at_the_last_row_of_their_window() -> None:
    score = OnMeans(FixedLimit(2), 2).step(ticks(6), np.array([0, 2, 3, 3, 9, np.nan]))
    assert np.isnan(score[:5]).all()
    assert score[5] == pytest.approx((9 - 2) / 1)


@pytest.mark.parametrize("kind", ["psi", "wasserstein", "kolmogorov", "martingale", "latency"])
def test_a_registered_detector_finds_a_shift_and_nothing_before_it(kind: str) -> None:
    rng = np.random.default_rng(4)
    value = rng.lognormal(size=40 * 300)
    value[20 * 300 :] *= 3
    score = BankOnSeries(kind, 300, 5 * 300).step(ticks(len(value)), value)[299::300]
    assert np.isnan(score[:5]).all()
    assert np.nanmax(score[5:20]) < FIRING
    assert np.nanmax(score[20:]) > FIRING


@pytest.mark.parametrize("kind", sorted(REGISTRY))
def test_every_registered_detector_can_be_asked(kind: str) -> None:
    value = np.random.default_rng(1).random(600)
    score = CONTENDERS[kind].make(20).step(ticks(600), value)
    assert score.shape == (600,)
    assert not (np.isfinite(score) & (score >= FIRING)).any()


@pytest.mark.parametrize("name", [name for name in CONTENDERS if name.startswith("river_")])
def test_every_river_detector_scores_and_skips_what_is_missing(name: str) -> None:
    value = np.random.default_rng(1).random(150)
    value[120] = np.nan
    score = CONTENDERS[name].make(1).step(ticks(150), value)
    assert np.isnan(score[120])
    assert np.isfinite(np.delete(score, 120)).all()


def test_what_anyone_would_try_is_always_there() -> None:
    assert [one.name for one in chosen(["psi"], of_series())] == ["psi", *PLAIN]
    with pytest.raises(ConfigError, match="no detector oracle"):
        chosen(["oracle"], [])


def test_scores_are_kept_by_content(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    asked = []

    class Counting:
        def step(self, ts_ms: np.ndarray, value: np.ndarray) -> np.ndarray:
            asked.append(len(value))
            return value

    contender = Contender("counting", lambda _: Counting(), 1.0)
    for length in (3, 3, 4):
        run(contender, LabelledSeries("s", ticks(length), np.ones(length), NONE), cache=folder)
    assert asked == [3, 4]


def test_the_perfect_detector_has_100_by_rows_by_alarms_and_fixed() -> None:
    windows = np.array([[300, 399], [700, 799]], np.int64)
    files = [LabelledSeries(name, ticks(1_000), np.zeros(1_000), windows) for name in ("a", "b")]
    score = np.zeros(1_000)
    score[[300, 700]] = 1
    oracle = Contender("oracle", lambda _: PeriodicAlarm(), 1.0)
    told = on_nab(oracle, files, [Scored(score, 0.001)] * 2)
    for by in (told.by_rows, told.by_alarms, told.fixed or {}):
        assert list(by.values()) == pytest.approx([100, 100, 100])
    assert [told.odd, told.even] == pytest.approx([100, 100])
    assert (told.outcome.recall, told.outcome.precision, told.outcome.delay_p50) == (1, 1, 0)
    assert told.outcome.cpu_us == pytest.approx(1)
    assert b'"by_rows"' in to_json({"scores": [told]})
    assert of_nab([told])[0].row_count == 1


def test_who_says_nothing_has_0() -> None:
    files = [LabelledSeries("a", ticks(1_000), np.zeros(1_000), np.array([[300, 399]], np.int64))]
    told = on_nab(Contender("mute", lambda _: PeriodicAlarm(), 1.0), files, [Scored(np.full(1_000, np.nan), 0.0)])
    assert set(told.by_rows.values()) == set(told.by_alarms.values()) == {0.0}
    assert math.isnan(told.outcome.precision)
    assert b"null" in to_json({"scores": [told]})


def test_one_series_is_held_against_its_labels() -> None:
    labelled = LabelledSeries("a", ticks(1_000), np.zeros(1_000), np.array([[500, 599]], np.int64))
    score = np.zeros(1_000)
    score[[100, 510]] = 5
    told, raised = on_series(Contender("one", lambda _: PeriodicAlarm(), 5.0), labelled, Scored(score, 0.0))
    assert raised.tolist() == [100, 510]
    assert (told.found, told.false, told.delay_p50) == (1, 1, 10)
    assert of_outcomes("", [told]).row_count == 1


def test_an_alarm_of_windows_is_where_they_begin_to_be_over() -> None:
    score = np.full(100, np.nan)
    score[9::10] = [0, 2, 2, 0, 0, 0, 2, 2, 0, 2]
    counted = on_windows(Scored(score, 0.0), 1.0, np.array([[60, 99]], np.int64), 10, first=0)
    assert (counted.alarms, counted.false, counted.found, counted.delays) == (3, 1, 1, (0,))


@pytest.mark.parametrize("name", list(STREAMS))
def test_a_models_error_changes_where_a_stream_drifts_and_nowhere_else(name: str) -> None:
    made = drift_stream(name, 6_000, seed=2)
    assert len(made.error) == 6_000
    calm = made.error[: int(made.onsets[0]) if len(made.onsets) else 6_000]
    halves = [half.mean() for half in np.array_split(calm, 2)]
    spread = calm.std() / math.sqrt(len(calm) / 2)
    assert abs(halves[0] - halves[1]) < 6 * spread
    if len(made.onsets):
        drifted = made.error[
            int(made.onsets[-1 if name == "friedman_local" else 0]) + 300 : int(made.until[0])
            if len(made.onsets) == 2
            else None
        ]
        assert drifted.mean() - calm.mean() > 6 * spread


def test_drift_is_found_and_none_is_not() -> None:
    plan = Plan(("friedman_none", "friedman_recurring"), rows=60_000, seeds=(1,))
    told = compare([CONTENDERS["kolmogorov"], CONTENDERS["periodic"]], plan)
    calm, drifting = told["friedman_none"][0], told["friedman_recurring"][0]
    assert (calm.anomalies, calm.false) == (0, 0)
    assert drifting.recall >= 0.5
