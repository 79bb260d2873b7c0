"""Findings in words."""

from dataclasses import replace

import numpy as np
import pytest

from detectors.explain import Segments, contributions, explain
from detectors.registry import make
from schemas.scopes import Family, Scope
from tests.unit.detectors.test_decision import scored

SINCE_MS = 1_781_519_530_000  # 2026-06-15 10:32:10 UTC
MODEL = Scope(Family.PREDICTION, "fraud-scorer", "3")


def test_a_drift_says_how_far_from_where_to_where_on_how_much_and_since_when() -> None:
    scores = replace(scored(0.41), mean=np.array([118.4]), ref_mean=np.array([61.2]), rows=np.array([12_345]))
    assert explain(scores, 0, MODEL, SINCE_MS) == (
        "features.f0 of fraud-scorer 3: PSI 0.41 against 0.1, mean 61.2 → 118 over 12,345 events since 10:32:10 UTC"
    )


def test_a_latency_says_which_quantile_and_its_milliseconds() -> None:
    scores = replace(
        scored(0.7, label="p99"), unit="ms", quantity=["latency_ms"], value=np.array([1520.0]),
        threshold=np.array([650.0]), reference=np.array([500.0]),
    )  # fmt: skip
    assert explain(scores, 0, Scope(Family.PREDICTION, "llm", "", "region=eu"), SINCE_MS) == (
        "latency_ms (p99) of llm region=eu: 1,520 ms against 650, baseline 500 over 1,000 events since 10:32:10 UTC"
    )


def test_contributions_are_shares_of_what_is_over_its_limit_largest_first() -> None:
    scores = scored([0.3, 0.05, 0.6, 0.1, 9.0], scope=[0, 0, 0, 0, 1])
    found = contributions(scores, 0)
    assert [c.name for c in found] == ["features.f2", "features.f0", "features.f3"]
    assert [c.share_ratio for c in found] == pytest.approx([0.6, 0.3, 0.1])
    assert contributions(scores, 0, most=1)[0].share_ratio == pytest.approx(0.6)
    assert contributions(scored([0.01]), 0) == ()


def test_segments_are_ranked_by_what_changed_there_times_how_many_it_concerns() -> None:
    scores = replace(
        scored([0.3, 0.9, 0.5, 0.04, 0.9], scope=[0, 1, 2, 3, 4]), quantity=["features.a"] * 4 + ["features.b"],
        rows=np.array([1_000, 100, 600, 300, 600], np.int64),
    )  # fmt: skip
    keys = [MODEL, *(Scope(Family.PREDICTION, "fraud-scorer", "3", f"country={c}") for c in ("fr", "de", "it", "es"))]
    segments = Segments(scores, keys)
    ranked = segments.ranked(MODEL, "features.a")
    # Noise is 0.05: 600 × 0.45 beside 100 × 0.85; the third is within its noise.
    assert [part.name for part in ranked] == ["country=de", "country=fr"]
    assert [part.share_ratio for part in ranked] == pytest.approx([270 / 355, 85 / 355])
    assert segments.ranked(keys[1], "features.a") == ()
    told = explain(scores, 0, MODEL, SINCE_MS, ranked)
    assert told.endswith("since 10:32:10 UTC; most of it in country=de (76%), country=fr (24%)")


def test_segments_without_an_event_have_no_share() -> None:
    scores = replace(scored([0.9, 0.9], scope=[0, 1]), quantity=["rows"] * 2, rows=np.zeros(2, np.int64))
    keys = [MODEL, Scope(Family.PREDICTION, "fraud-scorer", "3", "country=fr")]
    assert Segments(scores, keys).ranked(MODEL, "rows") == ()


def test_every_detector_is_made_by_its_name() -> None:
    assert make("psi", {"floor": 0.2}).window_s == 60
