"""Objectives and latency histograms on their way through the real windows, against the events themselves."""

import numpy as np

from detectors.registry import make
from detectors.slo.burn import SloParams
from detectors.slo.objectives import Slo, edge_ms
from streams.analyse.build import analyse_rules, detector_params
from streams.analyse.learner import LearnRules
from streams.analyse.partition import AnalyseRules
from streams.config import load_settings
from tests.unit.analyse.pipeline import EPOCH, Pipeline
from tests.unit.analyse.test_pipeline import Events

SLOS = (
    Slo(name="up", model="m[01]", objective_ratio=0.95),
    Slo(name="fast", model="m1", kind="latency", threshold_ms=60.0, segments=True),
)


def played(events: Events, learn: LearnRules | None = None) -> Pipeline:
    rules = AnalyseRules(objectives=SloParams(slos=SLOS), learn=learn or LearnRules(rows=10**9))
    pipeline = Pipeline(2, rules)
    for partition, messages in events.batches(7):
        pipeline.send(partition, messages)
    pipeline.end()
    return pipeline


def test_what_is_counted_is_what_came() -> None:
    events = Events(5, 4_000, 2, span_ms=600_000)
    detector = make("slo", SloParams(slos=SLOS))
    found: dict[tuple[str, str, str, int], tuple[int, float]] = {}
    minutes = [batch for batch in played(events).bench.batches if batch.size_ms == 60_000]
    for batch in minutes:
        scores = detector.step(batch)
        lived_h = (batch.start_ms + 60_000 - minutes[0].start_ms) / 3_600_000
        for i in np.flatnonzero(scores.ready).tolist():
            key = batch.scopes.key[int(scores.scope[i])]
            place = (scores.quantity[i], key.model, key.segment, batch.start_ms)
            assert scores.label is not None
            if scores.label[i] == "14.4x over 1 h":
                found[place] = int(scores.rows[i]), float(scores.value[i]) / lived_h
    last = max(place[3] for place in found)
    for name, model, segment in (
        ("up[errors]", 0, ""),
        ("up[errors]", 1, ""),
        ("fast[latency_ms>60]", 1, "country=DE"),
    ):
        own = (events.model == model) & (events.ts < last + 60_000) & (events.ts >= EPOCH)
        own &= events.country.astype(bool) if segment else True
        bad = ~events.ok[own] if name.startswith("up") else events.latency[own] > edge_ms(60.0)
        rows, ratio = found[name, f"m{model}", segment, last]
        assert rows == own.sum()
        assert ratio == np.mean(bad)
    assert {place[:3] for place in found} == {
        ("up[errors]", "m0", ""), ("up[errors]", "m1", ""),
        *(("fast[latency_ms>60]", "m1", s) for s in ("", "country=DE", "country=FR")),
    }  # fmt: skip


def test_windows_bring_the_histograms_of_latencies_and_of_their_baselines() -> None:
    events = Events(6, 6_000, 2)
    pipeline = played(events, LearnRules(rows=300, panes=5, lead_ms=0))
    batch = [batch for batch in pipeline.bench.batches if batch.size_ms == 60_000][-2]
    latencies, numeric = batch.latencies, batch.numeric
    assert len(latencies.place) == len([name for name in numeric.name if name == "latency_ms"]) > 0
    for k, place in enumerate(latencies.place.tolist()):
        cur, ref = (slice(*cells.offsets[k : k + 2].tolist()) for cells in (latencies.cur, latencies.ref))
        assert latencies.cur.counts[cur].sum() == numeric.count[place]
        assert latencies.ref.counts[ref].sum() == numeric.ref_count[place]
    assert (numeric.ref_count[latencies.place] > 0).any()


def test_the_section_reaches_windows_and_detector() -> None:
    settings = load_settings(
        env={},
        overrides={
            "slos": [{"name": "fast", "kind": "latency", "threshold_ms": 250}],
            "detect": {"slo": {"false_alarm_ratio": 1e-6}},
        },
    )
    rules, detector = analyse_rules(settings), make("slo", detector_params(settings)["slo"])
    assert rules.objectives == detector.params  # type: ignore[attr-defined]
    assert rules.objectives.slos == (Slo(name="fast", kind="latency", threshold_ms=250.0),)
    assert rules.objectives.false_alarm_ratio == 1e-6
