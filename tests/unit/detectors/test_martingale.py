"""Bets against the baseline: fair at any volume while it holds, won when it does not, and honest about since when."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.decision import DecisionBank
from detectors.drift.martingale import RankMartingale, RankScores, payments, rank_scores
from detectors.protocol import WindowBatch
from detectors.registry import make
from tests.laws.crowd import Crowd, at

MINUTE_MS = 60_000
counts = st.lists(st.integers(0, 1_000) | st.just(0), min_size=34, max_size=34).filter(lambda c: sum(c) >= 200)


@settings(max_examples=60, deadline=None)
@given(ref=counts, rows=st.sampled_from([1, 3, 20, 200, 20_000]))
def test_no_bet_pays_on_average_while_the_baseline_holds(ref: list[int], rows: int) -> None:
    # Of independent values the mean payment is the N-th power of one value's: no simulation, no normal approximation.
    r = np.array([ref])
    one_each = rank_scores(np.eye(34, dtype=np.int64), np.repeat(r, 34, axis=0))
    q = r[0] / r[0].sum()
    places = one_each.mean[:, q > 0]
    if np.isnan(places[0]).any():
        assert (q > 0).sum() == 1
        return
    for i, signed in enumerate((places[0], -places[0], places[1], -places[1])):
        if np.isnan(signed).any():
            continue
        for j, stake in enumerate((0.7, 2.0)):
            zero = RankScores(np.zeros((2, 1)), one_each.most[:, :1])
            cost = -payments(zero, np.array([float(rows)]), np.zeros(1), np.inf)[i, j, 0]
            paid = rows * np.log((q[q > 0] * np.exp(stake / np.sqrt(rows) * signed)).sum())
            assert paid <= cost + 1e-6


def run(kind: str, rows: int, moved: float, windows: int, since: int, seed: int = 3) -> list[int]:
    """The windows in which something fires, of a crowd whose features move by ``moved`` σ in window ``since``."""
    crowd, detector, bank = Crowd(np.random.default_rng(seed), 2, 5), make(kind), DecisionBank()
    feature = crowd.role == 0
    found = []
    for i in range(windows):
        window = at(crowd.window(rows, shift=np.where(feature, moved if i >= since else 0.0, 0.0)), i * MINUTE_MS)
        decided = bank.decide(detector.step(window), window.start_ms, MINUTE_MS)
        found.append(int(decided.firing[feature].sum()))
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_no_single_window_shows_adds_up(seed: int) -> None:
    for blind in ("psi", "wasserstein"):
        assert not any(run(blind, 200, 0.25, 60, 10, seed))
    found = run("martingale", 200, 0.25, 60, 10, seed)
    assert not any(found[:12])
    assert found[-1] == 10


@pytest.mark.parametrize("rows", [10, 200, 200_000])
def test_nothing_is_won_while_nothing_changes_however_few_or_many_come(rows: int) -> None:
    assert not any(run("martingale", rows, 0.0, 300, 0))


def test_no_window_decides_alone() -> None:
    found = run("martingale", 200_000, 5.0, 10, 5)
    assert found[:7] == [0] * 7
    assert found[7] == 10


def test_it_says_since_when_and_ends_soon_after_the_cause() -> None:
    crowd, detector, bank = Crowd(np.random.default_rng(1), 1, 3), make("martingale"), DecisionBank()
    feature = crowd.role == 0
    fired = []
    for i in range(60):
        shift = 0.5 if 20 <= i < 40 else 0.0
        window = at(crowd.window(1_000, shift=np.where(feature, shift, 0.0)), i * MINUTE_MS)
        scores = detector.step(window)
        decided = bank.decide(scores, window.start_ms, MINUTE_MS)
        fired.append(bool(decided.firing[0]))
        if i == 30:
            assert scores.label is not None
            assert scores.label[0] == "higher"
            assert decided.since_ms[0] == 20 * MINUTE_MS
            assert scores.score[0] == pytest.approx(0.5, abs=0.1)
    assert 22 <= fired.index(True) <= 24
    assert fired[30:41] == [True] * 11
    assert not any(fired[50:])


def widened(crowd: Crowd, window: WindowBatch, factor: float) -> WindowBatch:
    cells = crowd.rng.normal(size=(crowd.n, 2_000)) * factor
    cur = np.stack([np.bincount(np.searchsorted(crowd.edges, row), minlength=34) for row in cells])
    return replace(window, numeric=replace(window.numeric, cur=cur, count=cur.sum(axis=1)))


@pytest.mark.parametrize(("factor", "label"), [(1.4, "wider"), (0.7, "narrower")])
def test_a_change_of_width_is_seen_and_named(factor: float, label: str) -> None:
    crowd, detector = Crowd(np.random.default_rng(2), 1, 2), make("martingale")
    windows = [at(widened(crowd, crowd.window(2_000), factor), i * MINUTE_MS) for i in range(6)]
    scores = [detector.step(window) for window in windows][-1]
    assert scores.label is not None
    assert list(scores.label)[:2] == [label] * 2
    assert (scores.score[:2] > np.maximum(scores.floor, scores.noise)[:2]).all()


def test_a_new_baseline_begins_anew() -> None:
    crowd, detector = Crowd(np.random.default_rng(4), 1, 2), RankMartingale()
    scores = [detector.step(at(crowd.window(2_000, shift=0.5), i * MINUTE_MS)) for i in range(8)][-1]
    assert (scores.score > np.maximum(scores.floor, scores.noise))[:2].all()
    window = at(crowd.window(2_000, shift=0.5), 8 * MINUTE_MS)
    moved = replace(window.numeric, ref=window.numeric.cur, ref_mean=window.numeric.mean)
    scores = detector.step(replace(window, numeric=moved))
    assert (scores.score < 0.05)[:2].all()
    assert scores.since_ms is not None
    assert not scores.since_ms[:2].any()


def test_state_is_at_most_64_bytes_a_series_and_little_more_when_saved() -> None:
    sizes = []
    for scopes in (1, 101):
        crowd, detector = Crowd(np.random.default_rng(4), scopes, 8), RankMartingale()
        detector.step(crowd.window(500))
        sizes.append((len(detector.to_bytes()), scopes * 9))  # eight features and a score have ranks
    (small, few), (large, many) = sizes
    assert (large - small) / (many - few) < 64 + 2 * 8 + 1  # whose it is stands beside each of two parts


def bursts(crowd: Crowd, rows: int, size: int, shift: float = 0.0) -> WindowBatch:
    """A window of values that come ``size`` at a time."""
    window = crowd.window(rows)
    cur = crowd.rng.multinomial(np.full(crowd.n, rows // size), crowd.shares(shift)) * size
    middle = np.concatenate(([-4.3], (crowd.edges[1:] + crowd.edges[:-1]) / 2, [4.3]))
    count = cur.sum(axis=1)
    mean = (cur * middle).sum(axis=1) / count
    m2 = (cur * (middle - mean[:, None]) ** 2).sum(axis=1)
    return replace(window, numeric=replace(window.numeric, cur=cur, count=count, mean=mean, m2=m2))


@pytest.mark.parametrize("size", [2, 4])
def test_bursts_of_the_same_value_are_no_drift_and_do_not_hide_one(size: int) -> None:
    crowd, detector, bank = Crowd(np.random.default_rng(7), 4, 25), make("martingale"), DecisionBank()
    crowd.ref = crowd.rng.multinomial(5_000 // size, crowd.share, size=crowd.n) * size
    ranked = crowd.role != 2
    told = []
    for i in range(80):
        window = at(bursts(crowd, 400, size, 0.5 if i >= 60 else 0.0), i * MINUTE_MS)
        told.append(bank.decide(detector.step(window), window.start_ms, MINUTE_MS).firing[ranked].mean())
    assert max(told[:60]) == 0
    assert told[-1] == 1


def test_a_constant_has_no_ranks() -> None:
    crowd = Crowd(np.random.default_rng(4), 1, 1)
    window = crowd.window(500)
    ref = np.zeros_like(window.numeric.ref)
    ref[:, 7] = 1_000
    scores = RankMartingale().step(replace(window, numeric=replace(window.numeric, ref=ref)))
    assert not scores.ready.any()
