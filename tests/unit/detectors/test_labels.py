"""Labels that stay away, and labels that say something else: what is found, how soon, and what is no news."""

import numpy as np
import pytest

from detectors.decision import DecisionBank
from detectors.labels.beside import with_scores
from detectors.protocol import ServedColumns
from detectors.registry import OF_LABELS, REGISTRY, finding_kind, make
from schemas.findings import Kind
from tests.laws.label_streams import MINUTE_MS, STREAMS, daily, started, steady, window

HOUR = 60
UNKNOWN = np.full(1, np.nan)


def found_after(kind: str, counts: list[tuple[int, int, float]], since: int) -> int:
    """Minutes from ``since`` until a finding starts, for (labels, positive, asked) of a model; -1 before, 999 never."""
    detector, bank = make(kind), DecisionBank()
    for minute, (labels, positive, asked) in enumerate(counts):
        batch = window(minute, np.array([labels]), np.array([positive]), np.array([asked]))
        if bank.decide(detector.step(batch), batch.start_ms, batch.size_ms).started.any():
            return minute - since if minute >= since else -1
    return 999


def stream(rng: np.random.Generator, minutes: int, rate: float, positive: float = 0.05) -> list[tuple[int, int, float]]:
    labels = rng.poisson(rate, minutes)
    return list(zip(labels.tolist(), rng.binomial(labels, positive).tolist(), rng.poisson(rate, minutes), strict=True))


@pytest.mark.parametrize("rate", [5.0, 50.0, 500.0])
def test_labels_that_stay_away_are_missed_when_nobody_minds_no_longer(rate: float) -> None:
    rng = np.random.default_rng(1)
    counts = stream(rng, 6 * HOUR, rate) + [(0, 0, rate)] * HOUR
    # Ten minutes are the floor; few labels take a little longer to be sure of.
    assert 9 <= found_after("label_delay", counts, 6 * HOUR) <= 20


def test_a_part_that_stays_away_takes_longer_and_a_quarter_is_no_news() -> None:
    rng = np.random.default_rng(2)
    past = stream(rng, 6 * HOUR, 50.0)
    part = [(labels, positive, 50.0) for labels, positive, _ in stream(rng, 3 * HOUR, 20.0)]
    rest = [(labels, positive, 50.0) for labels, positive, _ in stream(rng, 3 * HOUR, 40.0)]
    assert 10 < found_after("label_delay", past + part, 6 * HOUR) < 60
    assert found_after("label_delay", past + rest, 6 * HOUR) == 999


def test_where_nobody_asks_no_label_is_missed() -> None:
    past = stream(np.random.default_rng(3), 6 * HOUR, 50.0)
    assert found_after("label_delay", past + [(0, 0, 0.0)] * 6 * HOUR, 6 * HOUR) == 999


def test_labels_are_missed_also_where_no_prediction_is_known() -> None:
    rng = np.random.default_rng(4)
    counts = [(labels, positive, np.nan) for labels, positive, _ in stream(rng, 6 * HOUR, 50.0)]
    assert 9 <= found_after("label_delay", counts + [(0, 0, np.nan)] * HOUR, 6 * HOUR) <= 20


def test_a_file_that_comes_every_day_is_awaited_and_missed_once_it_does_not_come() -> None:
    rng, days = np.random.default_rng(5), 8
    files = daily(rng, 1, 5.0)
    counts = [
        (int(labels[0]), int(positive[0]), 5.0) for labels, positive, _ in (next(files) for _ in range(days * 1440))
    ]
    after = found_after("label_delay", counts + [(0, 0, 5.0)] * 4 * 1440, days * 1440)
    # The last came at six in the morning: a day of it is usual.
    assert 0 < after < 3 * 1440


@pytest.mark.parametrize("minutes", [10, 40])
def test_after_an_outage_the_finding_ends_whether_or_not_what_is_missing_comes(minutes: int) -> None:
    rng, detector, bank = np.random.default_rng(6), make("label_delay"), DecisionBank()
    past, later = stream(rng, 6 * HOUR, 50.0), stream(rng, HOUR, 50.0)
    for catches_up in (True, False):
        detector, bank = make("label_delay"), DecisionBank()
        first = (50 * minutes, 100, 50.0) if catches_up else (50, 2, 50.0)
        firing = np.zeros(1, np.bool_)
        for minute, (labels, positive, asked) in enumerate([*past, *[(0, 0, 50.0)] * (minutes + 5), first, *later]):
            batch = window(minute, np.array([labels]), np.array([positive]), np.array([asked]))
            firing = bank.decide(detector.step(batch), batch.start_ms, batch.size_ms).firing
        assert not firing.any()


def test_what_is_overdue_says_by_how_much_and_since_when() -> None:
    detector, asked = make("label_delay"), np.array([50.0])
    for minute in range(5 * HOUR + 29):
        labels = np.array([50 if minute < 5 * HOUR else 0])
        detector.step(window(minute, labels, labels // 25, asked))
    scores = detector.step(window(5 * HOUR + 29, np.zeros(1, np.int64), np.zeros(1, np.int64), asked))
    assert scores.ready.all()
    assert scores.value[0] == pytest.approx(30, abs=2)
    assert scores.since_ms is not None
    assert scores.since_ms[0] == 5 * HOUR * MINUTE_MS
    assert (scores.label, scores.unit, scores.quantity) == (["no labels"], "min overdue", ["labels"])
    assert scores.note is not None
    assert scores.note(0).endswith("a minute are expected, the last came at 05:00 UTC on 1970-01-01")
    assert float(scores.note(0).split()[0]) == pytest.approx(50, rel=0.1)


@pytest.mark.parametrize(("rate", "most"), [(5.0, 300), (50.0, 60), (500.0, 15)])
@pytest.mark.parametrize("factor", [2.5, 0.25])
def test_other_shares_of_positives_are_found(rate: float, most: int, factor: float) -> None:
    rng = np.random.default_rng(7)
    past = max(12 * HOUR, int(4_000 / rate))
    counts = stream(rng, past, rate, 0.2) + stream(rng, 400, rate, 0.2 * factor)
    assert 2 <= found_after("label_rate", counts, past) <= most


def test_a_tenth_more_positives_is_no_news_at_any_volume() -> None:
    rng = np.random.default_rng(8)
    counts = stream(rng, 6 * HOUR, 50_000.0, 0.2) + stream(rng, 6 * HOUR, 50_000.0, 0.22)
    assert found_after("label_rate", counts, 6 * HOUR) == 999


def test_numbers_and_a_handful_of_positives_are_not_ready() -> None:
    detector, one = make("label_rate"), np.ones(1, np.int64)
    for minute in range(100):
        assert not detector.step(window(minute, 100 * one, 0 * one, UNKNOWN)).ready.any()
    numbers = window(100, 100 * one, 50 * one, UNKNOWN)
    numbers.numeric.m2[:] *= 2
    assert not detector.step(numbers).ready.any()


@pytest.mark.parametrize("rate", [5.0, 50.0, 500.0])
@pytest.mark.parametrize("name", sorted(STREAMS))
def test_nothing_is_found_where_nothing_happens(name: str, rate: float) -> None:
    assert not started(STREAMS[name](np.random.default_rng(9), 5, rate), 600)


def test_findings_about_labels_are_about_the_concept_and_say_what_the_scores_do() -> None:
    assert finding_kind("martingale", "label") is finding_kind("categories", "label") is Kind.CONCEPT_DRIFT
    assert finding_kind("martingale", "features.label") is Kind.DRIFT
    assert set(REGISTRY) >= OF_LABELS
    labels, positive, _ = next(steady(np.random.default_rng(1), 2, 50.0))
    scores = make("label_rate").step(window(0, labels, positive, np.full(2, np.nan)))
    told = with_scores(scores, ServedColumns(np.ones(2), np.array([0.071, np.nan]), np.array([0.0702, np.nan])))
    assert told.note is not None
    assert told.note(0) == "its scores meanwhile: mean 0.071, baseline 0.0702"
    assert told.note(1) == "of its scores nothing is known"
