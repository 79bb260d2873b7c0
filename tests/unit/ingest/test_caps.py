"""However many names a producer makes up, a pane holds no more than its caps, and every event is counted somewhere."""

import json
from typing import Any

import numpy as np

from schemas.codecs import decode_predictions
from schemas.panes import Pane
from schemas.scopes import OTHER
from streams.binnings import BinningIndex
from streams.ingest.pane import OpenPane
from streams.ingest.scoping import PaneLimits
from streams.windows.samples import row_hash
from tests.unit.ingest.test_panes import KEY

EVENTS = 200
NOW_MS = 1_767_225_600_000
TIGHT = PaneLimits(scopes=5, features=4, categories=3, segments=6, sample_rows=7)


def filled(limits: PaneLimits = TIGHT, **fields: Any) -> OpenPane:
    """A pane of ``EVENTS`` events; a field that is a function is called with the number of each."""
    messages = [
        json.dumps(
            {"ts_ms": NOW_MS + n, "model": "m"} | {k: v(n) if callable(v) else v for k, v in fields.items()}
        ).encode()
        for n in range(EVENTS)
    ]
    columns = decode_predictions(messages).columns
    assert len(columns) == EVENTS
    pane = OpenPane(KEY, 0, 0, limits, BinningIndex())
    pane.add(columns, np.ones(EVENTS, bool), row_hash(3, np.arange(EVENTS), np.zeros(EVENTS, np.int64)))
    return pane


def wholes(pane: OpenPane) -> list[Pane]:
    return [part for part in pane.panes() if not part.scope.segment and part.rows]


def test_models() -> None:
    pane = filled(model=lambda n: f"made-up-{n}")
    found = {part.scope.model: part.rows for part in wholes(pane)}
    assert len(found) == TIGHT.scopes + 1
    assert found[OTHER] == EVENTS - TIGHT.scopes
    assert pane.capped()["scope"] == EVENTS - TIGHT.scopes


def test_versions_of_one_model() -> None:
    found = wholes(filled(model_version=lambda n: f"made-up-{n}"))
    assert len(found) == TIGHT.scopes + 1
    assert sum(part.rows for part in found) == EVENTS


def test_segments() -> None:
    pane = filled(segment=lambda n: {"tenant": f"made-up-{n}"})
    segments = {
        part.scope.segment: part.rows for part in pane.panes() if part.scope.model == "m" and part.scope.segment
    }
    assert len(segments) == TIGHT.segments + 1
    assert segments[OTHER] == EVENTS - TIGHT.segments
    assert [part.rows for part in wholes(pane)] == [EVENTS]


def test_features() -> None:
    pane = filled(features=lambda n: {f"made-up-{n}": 1.0})
    (whole,) = wholes(pane)
    assert sum(name.startswith("features.") for name in whole.numeric.names) == TIGHT.features
    assert pane.capped()["feature"] == EVENTS - TIGHT.features


def test_categories_of_a_feature_and_of_a_counter() -> None:
    pane = filled(features=lambda n: {"kind": f"made-up-{n}"}, status=lambda n: f"made-up-{n}")
    (whole,) = wholes(pane)
    for part in (*whole.categories, *whole.counters):
        if part.name in {"features.kind", "status"}:
            counts = dict(zip(part.values, part.counts, strict=True))
            assert len(counts) == TIGHT.categories + 1, part.name
            assert sum(counts.values()) == EVENTS, part.name
            assert counts[OTHER] == EVENTS - TIGHT.categories, part.name
    assert pane.capped()["category"] == 2 * (EVENTS - TIGHT.categories)


def test_rows_of_the_sample() -> None:
    (whole,) = wholes(filled(latency_ms=5.0, event_id=lambda n: f"e{n}"))
    assert len(whole.sample.event_ids) == TIGHT.sample_rows
