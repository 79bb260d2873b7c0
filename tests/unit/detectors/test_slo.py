"""Objectives: when a burn is told, when it ends, what is left, and what is no news."""

import math
import re
from collections.abc import Iterable, Mapping

import numpy as np
import pytest

from detectors.decision import DecisionBank
from detectors.explain import explain
from detectors.parameters import ParameterError
from detectors.protocol import (
    Detector,
    NumericColumns,
    SampleColumns,
    ScopeColumns,
    Scores,
    WindowBatch,
)
from detectors.registry import make, restore
from detectors.slo.objectives import TIERS, Slo, edge_ms, parse_subject, span
from schemas.scopes import Family, Scope
from tests.laws.crowd import NOTHING
from tests.laws.world import Seen, World, model

MINUTE = 60_000
START = 1_700_000_000_000 // 86_400_000 * 86_400_000
_I, _F, _B = np.empty(0, np.int64), np.empty(0), np.empty(0, np.bool_)
NO_NUMBERS = NumericColumns(
    _I, _I, [], _I, _I, _I, _F, _F, _F, _F, np.empty((0, 3)), _B, _B, np.empty((0, 34), np.int64),
    np.empty((0, 34), np.int64), np.empty((0, 33)), _I, _I, _F, _F, np.empty((0, 3)),
)  # fmt: skip
SCOPE = model("checkout")


def up(objective_ratio: float, window_days: int = 30) -> dict[str, object]:
    return {"slos": [{"name": "up", "objective_ratio": objective_ratio, "window_days": window_days}]}


class Watch:
    """One objective of one scope, fed window by window; ``at`` is the next minute."""

    def __init__(self, params: Mapping[str, object]) -> None:
        self.params = params
        self.detector: Detector = make("slo", params)
        self.bank = DecisionBank()
        self.at = 0
        self.scores: Scores | None = None

    def see(self, bad: int, total: int) -> str:
        """``P`` while it pages, ``t`` while it is a ticket, else a dot."""
        start = START + self.at * MINUTE
        self.at += 1
        one = np.array([0])
        scopes = ScopeColumns(
            id=one, family=[Family.PREDICTION], rows=one + total, late=one, errors=one + bad, age_windows=one,
            ref_rows=_F, ref_error_ratio=_F, series={"slo.up": one + 7}, key=[SCOPE],
        )  # fmt: skip
        self.scores = self.detector.step(
            WindowBatch(start, MINUTE, scopes, NO_NUMBERS, NOTHING, SampleColumns([], [], [], []))
        )
        decided = self.bank.decide(self.scores, start, MINUTE)
        # What has been promised is over or not: the alert stage must not make a ticket of a page.
        assert decided.confidence[0] == 1.0 or total == 0
        if not decided.firing[0]:
            return "."
        return "P" if decided.severity[0] == 2 else "t"

    def run(self, minutes: Iterable[tuple[int, int]]) -> str:
        return "".join(self.see(bad, total) for bad, total in minutes)

    def clean(self, hours: int, total: int = 10_000) -> None:
        """Good traffic: the last hour minute by minute, six before it by five, what is older by the hour."""
        for minutes, times in ((60, hours - 7), (5, 72), (1, 60)):
            for _ in range(times):
                assert self.see(0, minutes * total) == "."
                self.at += minutes - 1

    def sentence(self) -> str:
        assert self.scores is not None
        return explain(self.scores, 0, SCOPE, START)


@pytest.mark.parametrize("burn", [15, 20, 60, 200, 900])
def test_a_fast_burn_pages_when_two_percent_of_the_budget_are_gone(burn: int) -> None:
    watch = Watch(up(0.999))
    watch.clean(72)
    marks = watch.run([(10 * burn, 10_000)] * 61)
    # 14.4 times over an hour: after 60 · 14.4 / burn minutes, and the window must close.
    assert marks.index("P") + 1 == math.ceil(60 * 14.4 / burn)
    assert set(marks[marks.index("P") :]) == {"P"}


@pytest.mark.parametrize("burn", [7, 9, 13])
def test_a_middling_burn_pages_when_five_percent_are_gone(burn: int) -> None:
    watch = Watch(up(0.999))
    watch.clean(72)
    marks = watch.run([(10 * burn, 10_000)] * 361)
    told, promised = marks.index("P") + 1, math.ceil(360 * 6 / burn)
    # Buckets of five minutes: the six hours may be short by one.
    assert promised * 355 / 360 - 5 <= told <= promised + 1


@pytest.mark.parametrize("burn", [2, 4])
def test_a_slow_burn_is_a_ticket_when_a_tenth_is_gone(burn: int) -> None:
    watch = Watch(up(0.999))
    watch.clean(72)
    marks = ""
    for _ in range(40):
        marks += watch.see(30 * 10 * burn, 300_000)
        marks += watch.see(30 * 10 * burn, 300_000)
        watch.at += 58
    assert "P" not in marks
    promised_h = 72 / burn
    assert promised_h * 71 / 72 - 2 <= marks.index("t") / 2 <= promised_h + 1


def test_a_blip_that_costs_less_than_two_percent_does_not_page() -> None:
    for minutes, pages in ((8, False), (9, True)):
        watch = Watch(up(0.99))
        watch.clean(72, 1_000)
        marks = watch.run([(1_000, 1_000)] * minutes + [(0, 1_000)] * 90)
        # Of an hour of equal traffic: 100 · minutes / 60 against 14.4.
        assert ("P" in marks) is pages


def test_it_ends_when_the_short_window_is_clean() -> None:
    watch = Watch(up(0.99))
    watch.clean(72, 1_000)
    marks = watch.run([(1_000, 1_000)] * 15 + [(0, 1_000)] * 60)
    assert marks[14] == "P"
    assert marks[15:].rstrip(".") == "P" * 4
    assert "P" not in marks[20:]


@pytest.mark.parametrize("bad", [1, 2, 3])
def test_a_few_failures_at_night_are_no_news(bad: int) -> None:
    watch = Watch(up(0.999))
    watch.clean(24, 1)
    night = [(0, 0)] * 20 + [(bad, 3)] + [(0, 0), (0, 1)] * 60
    assert set(watch.run(night)) == {"."}


def test_an_outage_of_little_traffic_pages_all_the_same() -> None:
    watch = Watch(up(0.999))
    watch.clean(24, 1)
    marks = watch.run([(1, 1)] * 20)
    assert "P" in marks
    assert marks.index("P") + 1 == 7  # one more than chance explains where none is expected


def test_a_warm_up_does_not_page_but_an_outage_from_the_start_does() -> None:
    warming = Watch(up(0.999)).run([(500, 10_000)] * 3 + [(0, 10_000)] * 60)
    assert "P" not in warming
    assert Watch(up(0.999)).run([(10_000, 10_000)] * 3)[:1] == "P"


def test_missing_windows_are_no_errors_and_age_what_was_counted() -> None:
    watch = Watch(up(0.99))
    watch.clean(72, 1_000)
    assert watch.run([(1_000, 1_000)] * 15)[-1] == "P"
    watch.at += 24 * 60
    assert watch.see(0, 1_000) == "."
    assert watch.scores is not None
    assert watch.scores.score[0] == 0
    gone = Watch(up(0.99))
    gone.clean(72, 1_000)
    gone.at += 30 * 24 * 60
    assert gone.see(0, 1_000) == "."
    assert gone.scores is not None
    assert gone.scores.rows[0] == 1_000


def test_a_window_without_events_holds_what_fires_and_says_nothing() -> None:
    watch = Watch(up(0.99))
    watch.clean(72, 1_000)
    marks = watch.run([(1_000, 1_000)] * 15 + [(0, 0)] * 3)
    assert marks[14] == "P"
    assert "." not in marks[14:]
    assert watch.scores is not None
    assert not watch.scores.ready.any()


def test_the_sentence_says_how_fast_how_much_is_left_and_for_how_long() -> None:
    watch = Watch(up(0.999))
    watch.clean(29 * 24)
    watch.run([(200, 10_000)] * 60)
    left = 1 - 20 / 720
    text = watch.sentence()
    assert text.startswith("up[errors] (14.4x over 1 h) of checkout 1: 0.02 share of events against 0.0144")
    assert "burns the budget of 30 d 20x as fast as allowed, 20x over the last 5 min" in text
    # The month so far is 29 days and an hour long, and is carried on to 30 days.
    found = re.search(r"([\d.]+) % of it left, gone in ([\d.]+) h at this rate", text)
    assert found is not None
    assert float(found[1]) == pytest.approx(100 * left, abs=0.2)
    assert float(found[2]) == pytest.approx(left * 720 / 20, rel=0.01)


def test_a_spent_budget_says_so() -> None:
    watch = Watch(up(0.999, window_days=3))
    watch.clean(70)
    watch.run([(2_000, 10_000)] * 120)
    assert "it is spent 5.56 times" in watch.sentence()  # 200 times the rate over 2 of 72 hours


def test_counts_survive_a_restart_and_stay_small() -> None:
    watch, other = Watch(up(0.999)), Watch(up(0.999))
    for each in (watch, other):
        each.clean(72)
    other.detector = restore("slo", other.detector.to_bytes(), other.params)
    burning = [(150, 10_000)] * 70
    assert watch.run(burning) == other.run(burning)
    assert watch.sentence() == other.sentence()
    assert len(watch.detector.to_bytes()) <= 4_096


def test_another_objective_keeps_the_counts_another_threshold_does_not() -> None:
    slo = {"name": "fast", "kind": "latency", "threshold_ms": 100.0, "objective_ratio": 0.99}
    seen = {SCOPE: Seen(1_000, {"latency_ms": np.full(1_000, 150.0)})}
    rows = {}
    for name, change in (("same", {}), ("stricter", {"objective_ratio": 0.995}), ("higher", {"threshold_ms": 120.0})):
        world = World({SCOPE: None}, slos=("fast",))
        detector = make("slo", {"slos": [slo]})
        for i in range(3):
            detector.step(world.window(seen, START + i * MINUTE))
        later = restore("slo", detector.to_bytes(), {"slos": [slo | change]})
        rows[name] = int(later.step(world.window(seen, START + 3 * MINUTE)).rows[0])
    assert rows == {"same": 4_000, "stricter": 4_000, "higher": 1_000}


def test_slow_is_what_lies_beyond_the_nearest_edge_of_a_bin() -> None:
    rng = np.random.default_rng(1)
    values = rng.lognormal(5, 0.5, 20_000)
    world = World({SCOPE: None}, slos=("fast",))
    for threshold in (90.0, 250.0, 251.0, 1_000.0):
        params = {"slos": [{"name": "fast", "kind": "latency", "threshold_ms": threshold, "objective_ratio": 0.9}]}
        scores = make("slo", params).step(world.window({SCOPE: Seen(len(values), {"latency_ms": values})}, START))
        assert edge_ms(threshold) == pytest.approx(threshold, rel=0.0101)
        lived = 60 / next(tier.long_s for tier in TIERS if tier.label == scores.label[0])  # type: ignore[index]
        assert scores.value[0] == pytest.approx((values > edge_ms(threshold)).mean() * lived, rel=1e-12)
        assert "the nearest edge of a bin" in explain(scores, 0, SCOPE, START)


def test_the_share_over_a_threshold_is_as_exact_as_the_page_says() -> None:
    # docs/slo.md: the threshold moves by 1 % at most, for a lognormal of spread 0.5 about a twentieth of 1 % bad.
    rng = np.random.default_rng(2)
    values = rng.lognormal(5, 0.5, 1_000_000)
    for threshold in np.quantile(values, 0.99) * np.exp(np.linspace(0, 0.02, 9)):
        asked, counted = (values > threshold).mean(), (values > edge_ms(float(threshold))).mean()
        assert counted == pytest.approx(asked, rel=0.07)


def test_tokens_have_objectives_of_their_own() -> None:
    name = "gen_ai.time_to_first_token_ms"
    slo = {"name": "first", "kind": "latency", "threshold_ms": 300.0, "quantity": name, "objective_ratio": 0.999}
    world = World({SCOPE: None}, slos=("first",))
    seen = Seen(500, {"latency_ms": np.full(500, 10.0), name: np.full(500, 900.0)})
    scores = make("slo", {"slos": [slo]}).step(world.window({SCOPE: seen}, START))
    assert scores.quantity == [f"first[{name}>300]"]
    assert scores.score[0] > 1


def test_who_is_concerned() -> None:
    slo = Slo(name="up", model="fraud-*")
    assert slo.concerns(model("fraud-cards"))
    assert not slo.concerns(model("ranking"))
    assert not slo.concerns(model("fraud-cards", "country=DE"))
    assert Slo(name="up", segments=True).concerns(model("x", "country=DE"))
    assert not slo.concerns(Scope(Family.GPU, "fraud-1", "GPU-1"))


def test_subjects_can_be_read_back() -> None:
    for slo in (Slo(name="a.b-c"), Slo(name="x", kind="latency", threshold_ms=1_234_567.25)):
        assert parse_subject(slo.subject) == (
            ("errors", None) if not slo.threshold_ms else ("latency_ms", 1_234_567.25)
        )
    assert parse_subject("features.amount") == ("features.amount", None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Up"},
        {"name": "up", "objective_ratio": 1.0},
        {"name": "up", "threshold_ms": 5.0},
        {"name": "up", "kind": "latency"},
        {"name": "up", "quantity": "cost_usd"},
        {"name": "up", "window_days": 2},
    ],
)
def test_objectives_are_checked_where_they_are_made(wrong: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        make("slo", {"slos": [wrong]})
    with pytest.raises(ParameterError, match="name of its own"):
        make("slo", {"slos": [{"name": "up"}, {"name": "up"}]})


def test_durations_are_told_in_one_unit() -> None:
    assert [span(s) for s in (30, 60, 300, 3_600, 86_400, 200_000)] == [
        "30 s",
        "1 min",
        "5 min",
        "1 h",
        "1 d",
        "2.31 d",
    ]
