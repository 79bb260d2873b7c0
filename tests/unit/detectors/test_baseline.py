"""Baselines: the same content has the same id, and arrays come back as they went in."""

from typing import Any

import numpy as np
import pytest

from detectors import moments
from detectors.baseline import MAX_SAMPLE_ROWS, build, from_table, is_binned
from detectors.histograms import binned, log
from detectors.references import NumericReference, ReferenceTable, error_ratio, expected_rows, reference_sample
from schemas.baselines import Baseline, decode, encode
from schemas.scopes import OTHER, Family, Scope

SCOPE = Scope(Family.PREDICTION, "fraud", "3")
RNG = np.random.default_rng(8)
AMOUNT = RNG.lognormal(3, 1, 3_000)
SCORE = RNG.random(3_000)
LATENCY = RNG.lognormal(3, 0.5, 3_000)


def learned(**changed: Any) -> Baseline:
    """As a scope's first traffic gives it: a sample of features and score, everything as LogHistograms too."""
    given: dict[str, Any] = {
        "built_from": "first traffic", "effective_from_ms": 60_000, "pane_ms": 10_000, "panes": 10, "rows": 3_000,
        "sample_names": ("features.amount", "score"),
        "sample": np.stack((AMOUNT, SCORE), axis=1).astype(np.float32),
        "log_histograms": {
            name: (*log.histogram(x), moments.of(x))
            for name, x in (("latency_ms", LATENCY), ("features.amount", AMOUNT))
        },
        "categories": {"features.country": {"fr": 10, OTHER: 500, "de": 90, "at": 10}},
        "counters": {"status": {"ok": 2_970, "timeout": 30}},
    }  # fmt: skip
    return build(SCOPE, **{**given, **changed})


def part(baseline: Baseline, name: str) -> dict[str, Any]:
    found = next(p for p in baseline.numeric if p.name == name)
    return {f: getattr(found, f) for f in found.__struct_fields__}


def test_the_id_depends_on_the_content_and_on_nothing_else() -> None:
    assert learned().id == learned().id == learned(built_from="elsewhere").id
    others: list[dict[str, Any]] = [
        {"effective_from_ms": 70_000},
        {"rows": 3_001},
        {"counters": {"status": {"ok": 3_000}}},
    ]
    assert len({learned(**other).id for other in others} | {learned().id}) == 4


def test_it_survives_the_wire() -> None:
    assert decode(encode(learned())) == learned()


def test_features_take_bins_from_the_sample_and_moments_from_all_events() -> None:
    amount = part(learned(), "features.amount")
    counts = np.frombuffer(amount["counts"], "<u4")
    assert counts.sum() == 3_000
    assert counts[1:33].min() > 85
    assert amount["mean"] == pytest.approx(AMOUNT.mean(), rel=1e-12)
    assert amount["log_bins"] == b""


def test_latency_stays_a_log_histogram() -> None:
    latency = part(learned(), "latency_ms")
    assert latency["edges"] == b""
    assert latency["p95"] == pytest.approx(np.quantile(LATENCY, 0.95, method="inverted_cdf"), rel=0.0101)
    assert is_binned("score")
    assert not is_binned("latency_ms")


def test_a_segment_without_a_sample_takes_edges_from_its_log_histogram() -> None:
    amount = part(learned(sample=None, sample_names=()), "features.amount")
    edges = np.frombuffer(amount["edges"], "<f8")
    counts = np.frombuffer(amount["counts"], "<u4")
    assert np.array_equal(counts, binned.histogram(AMOUNT, edges))


def test_a_sample_of_fewer_rows_than_events_stands_for_all_of_them() -> None:
    with_nulls = np.where(np.arange(3_000) % 4 == 0, np.nan, SCORE)[:, None]
    score = part(learned(rows=30_000, sample=with_nulls, sample_names=("score",)), "score")
    assert score["count"] == 22_500
    assert score["m2"] / 22_500 == pytest.approx(np.nanvar(with_nulls), rel=1e-9)


def test_a_quantity_without_a_value_is_left_out() -> None:
    empty = learned(sample=np.full((10, 1), np.nan), sample_names=("score",), log_histograms={})
    assert empty.numeric == ()


def test_categories_stand_by_falling_count_with_other_last() -> None:
    assert learned().categories[0].values == ("de", "at", "fr", OTHER)


def test_large_samples_are_thinned_evenly_and_always_alike() -> None:
    rows = np.arange(20_000.0)[:, None]
    kept = [reference_sample(learned(sample=rows, sample_names=("score",)))[:, 0] for _ in range(2)]
    assert len(kept[0]) == MAX_SAMPLE_ROWS
    assert np.array_equal(kept[0], kept[1])
    assert (np.diff(kept[0]) > 0).all()
    assert abs(kept[0].mean() - 10_000) < 300


def test_a_sample_that_does_not_fit_its_names_is_refused() -> None:
    with pytest.raises(ValueError, match="one name per column"):
        learned(sample_names=("score",))


def test_a_table_becomes_a_baseline_by_the_type_of_its_columns() -> None:
    n = 400
    columns: dict[str, Any] = {
        "features.amount": AMOUNT[:n],
        "features.count": np.arange(n),
        "features.gap": [None, 1.5] * (n // 2),
        "features.flag": [True, False] * (n // 2),
        "features.city": [f"c{i % 60}" for i in range(n)],
        "status": ["ok"] * 390 + ["error"] * 10,
    }
    made = from_table(SCOPE, columns, built_from="train.parquet", effective_from_ms=0, max_categories=50)
    assert [p.name for p in made.numeric] == ["features.amount", "features.count", "features.gap"]
    assert part(made, "features.gap")["count"] == n // 2
    city, flag = made.categories
    assert flag.values == ("false", "true")
    assert len(city.values) == 51
    assert city.values[-1] == OTHER
    assert sum(city.counts) == n
    assert error_ratio(made) == pytest.approx(10 / n)
    assert np.isnan(expected_rows(made, 60_000))
    with pytest.raises(ValueError, match="same length"):
        from_table(SCOPE, {"a": [1], "b": [1, 2]}, built_from="x", effective_from_ms=0)


def test_rates_and_errors_are_read_off_a_baseline() -> None:
    assert expected_rows(learned(), 60_000) == 1_800
    assert error_ratio(learned()) == pytest.approx(0.01)
    assert np.isnan(error_ratio(learned(counters={})))


def test_the_reference_table_gathers_many_scopes_and_reuses_rows() -> None:
    table = ReferenceTable()
    rows = table.put(4, learned())
    other = table.put(9, learned(sample=None, sample_names=()))
    reference = NumericReference.of(learned())
    assert np.array_equal(table.edges_of(rows), reference.edges, equal_nan=True)
    assert np.array_equal(table.cells_of(rows), reference.cells)
    assert np.array_equal(table.has_edges[rows], reference.has_edges)
    assert table.has_baseline[rows].all()
    assert (table.ref_rows[rows] == 3_000).all()
    assert not set(rows.tolist()) & set(other.tolist())
    table.drop(4)
    assert sorted(table.put(5, learned()).tolist()) == sorted(rows.tolist())
    assert not table.has_baseline[0]
    assert np.isnan(table.edges_of(np.array([0]))).all()


def test_edges_are_kept_once_for_all_who_share_them_and_outlive_the_first_of_them() -> None:
    table, many = ReferenceTable(), 40
    rows = [table.put(scope, learned()) for scope in range(many)]
    edges = NumericReference.of(learned()).edges
    assert len(table._edges._row) == int(NumericReference.of(learned()).has_edges.sum())
    for scope in range(many - 1):
        table.drop(scope)
    assert np.array_equal(table.edges_of(rows[-1]), edges, equal_nan=True)
    shifted = learned(sample=np.stack((AMOUNT + 1, SCORE), axis=1).astype(np.float32))
    again = table.put(0, shifted)
    assert np.array_equal(table.edges_of(again), NumericReference.of(shifted).edges, equal_nan=True)
    assert np.array_equal(table.edges_of(rows[-1]), edges, equal_nan=True)
