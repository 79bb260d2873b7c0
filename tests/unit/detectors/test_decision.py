"""Decisions: k of m, hysteresis, not ready, false discoveries, severity, and how sure."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.decision import SEVERITIES, DecisionBank, Decisions, discoveries
from detectors.protocol import Scores
from detectors.registry import Rule
from detectors.state import StateError
from schemas.findings import Severity

WINDOW_MS = 60_000


def scored(
    score: float | list[float],
    *,
    detector: str = "psi",
    floor: float = 0.1,
    noise: float = 0.05,
    p_value: float | list[float] = np.nan,
    value: float | None = None,
    scope: list[int] | None = None,
    label: str = "",
) -> Scores:
    """Scores of one detector; a NaN score is not ready."""
    s = np.atleast_1d(np.asarray(score, np.float64))
    n = len(s)

    def column(x: float | list[float]) -> NDArray[np.float64]:
        return np.where(np.isnan(s), np.nan, np.broadcast_to(np.asarray(x, np.float64), (n,)))

    return Scores(
        detector=detector, unit="PSI", series=np.arange(n), scope=np.array(scope or [0] * n), ready=~np.isnan(s),
        quantity=[f"features.f{i}" for i in range(n)], score=s, floor=column(floor), noise=column(noise),
        p_value=column(p_value), value=s if value is None else column(value), reference=column(0.02),
        rows=np.full(n, 1_000), label=[label] * n, threshold=column(floor),
    )  # fmt: skip


def run(bank: DecisionBank, marks: str, detector: str = "psi") -> list[Decisions]:
    """One decision per mark: ``x`` is evidence, ``.`` is none, ``?`` is not ready."""
    score = {"x": 0.4, ".": 0.01, "?": np.nan}
    return [
        bank.decide(scored(score[mark], detector=detector), i * WINDOW_MS, WINDOW_MS) for i, mark in enumerate(marks)
    ]


def firing(marks: str, rules: dict[str, Rule] | None = None) -> str:
    return "".join("F" if d.firing[0] else "." for d in run(DecisionBank(rules), marks))


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ("xx.x", "...F"),  # three of five
        ("xx...x", "......"),  # two of the last five
        ("xxx....", "..FFFF."),  # ends when fewer than two of five are left
        ("xx???x", ".....F"),  # not ready neither counts nor ages
        ("xxx????????", "..FFFFFFFFF"),  # nor does it clear
        ("?????", "....."),
    ],
)
def test_findings_start_at_three_of_five_and_end_below_two(marks: str, expected: str) -> None:
    assert firing(marks) == expected


def test_a_rule_of_one_of_one_starts_and_ends_at_once() -> None:
    assert firing(".x.", {"psi": Rule(k=1, m=1, clear_below=1)}) == ".F."


def test_what_has_gathered_its_evidence_itself_is_strong_at_once_and_ends_late() -> None:
    rules = {"psi": Rule(k=1, m=4, clear_below=1, full=1)}
    assert firing(".x..x....", rules) == ".FFFFFFF."
    first, at_once = (DecisionBank(r).decide(scored(0.4), 0, WINDOW_MS) for r in (None, rules))
    assert at_once.strength[0] == pytest.approx(5 * first.strength[0])


def test_started_and_cleared_are_told_once_and_since_is_the_first_evidence() -> None:
    decisions = run(DecisionBank(), "..x.xx......")
    assert [i for i, d in enumerate(decisions) if d.started[0]] == [5]
    assert [i for i, d in enumerate(decisions) if d.cleared[0]] == [9]
    assert {int(d.since_ms[0]) for d in decisions if d.firing[0]} == {2 * WINDOW_MS}
    assert decisions[-1].since_ms[0] == 0


@pytest.mark.parametrize(
    ("score", "floor", "noise", "evidence"),
    [(0.2, 0.1, 0.05, True), (0.2, 0.3, 0.05, False), (0.2, 0.1, 0.25, False), (0.1, 0.1, 0.05, True)],
)
def test_evidence_needs_the_floor_and_more_than_noise(score: float, floor: float, noise: float, evidence: bool) -> None:
    decided = DecisionBank().decide(scored(score, floor=floor, noise=noise), 0, WINDOW_MS)
    assert decided.evidence[0] == evidence


def test_one_small_p_value_among_many_is_no_discovery_and_many_are() -> None:
    scores = scored([0.4] * 50, p_value=[0.005] + [0.9] * 49)
    assert not DecisionBank().decide(scores, 0, WINDOW_MS).evidence.any()
    scores = scored([0.4] * 50, p_value=[0.005] * 26 + [0.9] * 24)
    assert DecisionBank().decide(scores, 0, WINDOW_MS).evidence.sum() == 26


def test_false_discoveries_are_controlled_within_each_scope() -> None:
    p_value = np.array([0.004, 0.5, 0.004, np.nan, 0.009, 0.0001])
    group = np.array([0, 1, 1, 1, 2, 2])
    # Group 0: 0.004 of 1 test. Group 1: 0.004 ≤ 0.01 · 1/2. Group 2: 0.009 ≤ 0.01 · 2/2.
    assert discoveries(p_value, group).tolist() == [True, False, True, False, True, True]
    assert discoveries(np.array([0.02, 0.5]), np.array([0, 0])).tolist() == [False, False]


def test_the_step_up_procedure_agrees_with_its_definition() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        p = rng.random(20) ** 4
        order = np.sort(p)
        k = max((i + 1 for i in range(20) if order[i] <= 0.05 * (i + 1) / 20), default=0)
        expected = p <= (order[k - 1] if k else -1)
        assert discoveries(p, np.zeros(20, np.int64), 0.05).tolist() == expected.tolist()


def test_confidence_grows_with_the_margin_and_with_persistence() -> None:
    by_margin = [DecisionBank().decide(scored(s), 0, WINDOW_MS).confidence[0] for s in (0.1, 0.2, 0.4, 4.0)]
    by_persistence = [float(d.confidence[0]) for d in run(DecisionBank(), "xxxxx")]
    for rising in (by_margin, by_persistence):
        assert (np.diff(rising) > 0).all()
        assert min(rising) >= 0
        assert max(rising) <= 1
    assert np.isnan(run(DecisionBank(), "?")[0].confidence[0])


def severity(decided: Decisions) -> Severity:
    return SEVERITIES[int(decided.severity[0])]


def test_drift_never_pages() -> None:
    bank = DecisionBank()
    decided = [bank.decide(scored(50.0), i * WINDOW_MS, WINDOW_MS) for i in range(10)]
    assert decided[-1].firing[0]
    assert {severity(d) for d in decided} == {Severity.TICKET}


def test_a_doubled_tail_pages_when_it_lasts() -> None:
    bank = DecisionBank()
    slow = scored(0.7, detector="latency", floor=0.26, label="p99")
    told = [severity(bank.decide(slow, i * WINDOW_MS, WINDOW_MS)) for i in range(5)]
    assert told == [Severity.TICKET] * 4 + [Severity.PAGE]
    median = replace(slow, label=["p50"])
    assert severity(bank.decide(median, 5 * WINDOW_MS, WINDOW_MS)) is Severity.TICKET


def test_silence_fires_at_two_of_three_and_pages_and_a_drop_waits() -> None:
    bank = DecisionBank()
    gone = scored(8.0, detector="volume", floor=0.7, value=0.0)
    first, second = (bank.decide(gone, i * WINDOW_MS, WINDOW_MS) for i in range(2))
    assert not first.firing[0]
    assert second.firing[0]
    assert severity(second) is Severity.PAGE
    fewer = scored(1.0, detector="volume", floor=0.7, value=400.0)
    bank = DecisionBank()
    assert [bool(bank.decide(fewer, i, WINDOW_MS).firing[0]) for i in range(3)] == [False, False, True]


def test_one_critical_xid_pages_at_once_and_another_is_a_ticket() -> None:
    critical = scored(100.0, detector="gpu_xid", floor=1.0, noise=0.0, value=1.0)
    decided = DecisionBank().decide(critical, 0, WINDOW_MS)
    assert decided.started[0]
    assert severity(decided) is Severity.PAGE
    other = scored(3.0, detector="gpu_xid", floor=1.0, noise=0.0, value=3.0)
    decided = DecisionBank().decide(other, 0, WINDOW_MS)
    assert decided.started[0]
    assert severity(decided) is Severity.TICKET


def test_a_saved_bank_continues_exactly() -> None:
    marks = "x.xx..x??xx....x"
    for cut in range(len(marks)):
        through, saved = DecisionBank(), DecisionBank()
        for i, mark in enumerate(marks):
            if i == cut:
                saved = DecisionBank.from_bytes(saved.to_bytes())
            score = {"x": 0.4, ".": 0.01, "?": np.nan}[mark]
            for detector in ("psi", "errors"):
                a, b = (bank.decide(scored(score, detector=detector), i, 1) for bank in (through, saved))
                assert np.array_equal(a.firing, b.firing)
                assert np.array_equal(a.since_ms, b.since_ms)


def test_forgotten_series_start_over() -> None:
    bank = DecisionBank()
    run(bank, "xxx")
    bank.forget(np.array([0, 7]))
    assert not bank.decide(scored(0.4), 0, WINDOW_MS).firing[0]


def test_an_unknown_detector_and_foreign_bytes_are_refused() -> None:
    with pytest.raises(KeyError):
        DecisionBank().decide(scored(1.0, detector="unheard_of"), 0, WINDOW_MS)
    with pytest.raises(StateError, match="start without it"):
        DecisionBank.from_bytes(b"nonsense")
    with pytest.raises(StateError, match="1 to 32"):
        DecisionBank({"psi": Rule(m=40)}).decide(scored(1.0), 0, WINDOW_MS)


def test_what_is_felt_for_long_pages_however_weak_each_window_and_a_saved_bank_remembers_it() -> None:
    rules = {"latency": Rule(lasting_k=3, lasting_m=4)}
    bank, told = DecisionBank(rules), []
    for i, mark in enumerate("x.x?xx"):
        slow = scored(np.nan if mark == "?" else 0.3, detector="latency", floor=0.26, label="p50")
        slow = replace(slow, felt=np.array([mark == "x"]))
        told.append(severity(bank.decide(slow, i * WINDOW_MS, WINDOW_MS)))
        bank = DecisionBank.from_bytes(bank.to_bytes(), rules)
    assert told == [Severity.TICKET] * 4 + [Severity.PAGE] * 2, "a window that is not ready neither adds nor takes"
    bank.forget(np.array([0]))
    again = replace(scored(0.3, detector="latency", floor=0.26, label="p50"), felt=np.array([True]))
    assert severity(bank.decide(again, 6 * WINDOW_MS, WINDOW_MS)) is Severity.TICKET
