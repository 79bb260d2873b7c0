"""Segments learn in the bins of their whole, also while some of ingest does not know that baseline yet."""

import numpy as np
from numpy.typing import NDArray

from schemas.baselines import Baseline
from streams.analyse.learner import LearnRules
from streams.analyse.partition import AnalyseRules
from streams.binnings import BinningIndex
from streams.ingest.partition import Commit, PartitionIngest, Source
from streams.ingest.scoping import PaneLimits
from tests.unit.analyse.pipeline import EPOCH, Pipeline
from tests.unit.analyse.test_pipeline import Events

LEARN = AnalyseRules(learn=LearnRules(rows=1_000, panes=5, lead_ms=20_000))
KNOWN_FROM_MS = EPOCH + 300_000


def test_segments_wait_until_every_partition_counts_in_bins() -> None:
    """One partition hears of the baselines four minutes late: its panes are LogHistograms until then."""
    events = Events(6, 30_000, 2)
    pipeline, behind = Pipeline(2, LEARN), BinningIndex()
    source = Source(pipeline.ingest[1].source.family, "predictions", 1, 10_000, 5_000)
    pipeline.ingest[1] = PartitionIngest(source, Commit(), PaneLimits(), behind)
    for partition, values in events.batches(6):
        pipeline.send(partition, values)
        if pipeline.ingest[1].watermark_ms >= KNOWN_FROM_MS:
            behind.offer_all(pipeline.baselines)
    pipeline.end()
    wholes = {b.scope.model: b for b in pipeline.baselines if not b.scope.segment}
    segments = [b for b in pipeline.baselines if b.scope.segment]
    assert max(b.effective_from_ms for b in wholes.values()) < KNOWN_FROM_MS - 60_000
    assert {(b.scope.model, b.scope.segment) for b in segments} == {
        (model, f"country={country}") for model in wholes for country in ("DE", "FR")
    }
    for segment in segments:
        # Panes before that moment were counted in two ways: none of them is in the reference.
        assert segment.effective_from_ms >= KNOWN_FROM_MS + 5 * 10_000
        assert amounts(segment)[0] == amounts(wholes[segment.scope.model])[0]
        assert amounts(segment)[1] == sum(np.isfinite(events.amount[of(segment, events)]))


def amounts(baseline: Baseline) -> tuple[bytes, int]:
    """The edges, and the events counted between them."""
    part = next(q for q in baseline.numeric if q.name == "features.amount")
    return part.edges, int(np.frombuffer(part.counts, "<u4").sum())


def of(segment: Baseline, events: Events) -> NDArray[np.bool_]:
    """The events that a segment's baseline was learned from: the panes before it was made."""
    learned_ms = segment.effective_from_ms - 30_000
    country = 1 if segment.scope.segment == "country=DE" else 0
    inside = (events.ts >= learned_ms - segment.panes * 10_000) & (events.ts < learned_ms)
    places: NDArray[np.bool_] = inside & (events.model == int(segment.scope.model[1])) & (events.country == country)
    return places
