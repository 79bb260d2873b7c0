"""What is wholly null, and which event ids came again: from raw messages to rows."""

import json
from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest

from schemas import panes
from schemas.codecs.hashes import of_texts
from schemas.panes import IdPart, Pane
from schemas.rows import CLOSED
from streams.analyse.learner import LearnRules
from streams.analyse.partition import AnalysePartition, AnalyseRules
from streams.ingest.scoping import PaneLimits
from tests.unit.analyse.pipeline import EPOCH, NoDetectors, Pipeline

RULES = AnalyseRules(learn=LearnRules(rows=40, panes=2, lead_ms=0))
STEP_MS = 100


def event(at: int, **changes: Any) -> bytes:
    """Event number ``at``: ten a second."""
    own: dict[str, Any] = {"amount": float(at % 97), "kind": f"k{at % 3}"}
    body: dict[str, Any] = {
        "event_id": f"e-{at}", "ts_ms": EPOCH + STEP_MS * at, "model": "m", "model_version": "1",
        "latency_ms": 5.0 + at % 7, "segment": {"country": "DE" if at % 5 else "FR"},
        "features": own | changes.pop("features", {}),
    }  # fmt: skip
    return json.dumps({name: value for name, value in (body | changes).items() if value is not None}).encode()


def sent(pipeline: Pipeline, events: list[bytes], batch: int = 50) -> None:
    for first in range(0, len(events), batch):
        pipeline.send((first // batch) % pipeline.partitions, events[first : first + batch])


def rows_of(pipeline: Pipeline, table: str, size_s: int, **where: Any) -> dict[tuple[int, int], dict[str, Any]]:
    return {
        (row["start_ms"] - EPOCH, row["part"]): row
        for row in pipeline.tables[table].values()
        if row["window_s"] == size_s and all(row[name] == value for name, value in where.items())
    }


WHOLE = {"model": "m", "segment": ""}


def test_a_quantity_of_the_baseline_that_nobody_sends_has_rows_of_zero() -> None:
    pipeline = Pipeline(1, RULES)
    sent(pipeline, [event(at) for at in range(600)])
    sent(pipeline, [event(at, features={"amount": None, "kind": None}, latency_ms=None) for at in range(600, 1_200)])
    sent(pipeline, [event(at) for at in range(1_200, 1_900)])
    for quantity in ("features.amount", "latency_ms"):
        for segment in ("", "country=FR"):
            rows = rows_of(pipeline, "numerics", 10, model="m", segment=segment, quantity=quantity)
            null = rows[70_000, CLOSED]
            assert null["rows"] == (100 if not segment else 20)
            assert (null["count"], null["layout"], null["bins"], null["counts"]) == (0, "", [], [])
            assert np.isnan([null["mean"], null["min"], null["max"]]).all()
            assert null["m2"] == 0
            assert rows[50_000, CLOSED]["count"] == rows[130_000, CLOSED]["count"] == null["rows"]
    minute = rows_of(pipeline, "numerics", 60, **WHOLE, quantity="features.amount")
    assert [minute[start, CLOSED]["count"] for start in (0, 60_000, 120_000)] == [600, 0, 600]
    kinds = rows_of(pipeline, "categories", 60, **WHOLE, quantity="features.kind")
    assert (kinds[60_000, CLOSED]["rows"], kinds[60_000, CLOSED]["values"]) == (600, [])
    assert sum(kinds[120_000, CLOSED]["counts"]) == 600


def test_a_scope_without_an_event_has_no_rows_of_zero() -> None:
    pipeline = Pipeline(1, RULES)
    sent(pipeline, [event(at) for at in range(600)])
    sent(pipeline, [event(at, model="other") for at in range(600, 900)])
    starts = {start for start, _ in rows_of(pipeline, "numerics", 10, **WHOLE, quantity="features.amount")}
    assert max(starts) < 60_000


def test_a_late_pane_says_how_many_of_its_events_are_null() -> None:
    pipeline = Pipeline(2, RULES)
    pipeline.send(1, [event(0)])
    sent_to = [event(at) for at in range(600)]
    for first in range(0, 600, 50):
        pipeline.send(0, sent_to[first : first + 50])
        pipeline.flush(1, idle=True)
    pipeline.send(1, [event(at, features={"amount": None}) for at in range(410, 480)])
    pipeline.end()
    rows = rows_of(pipeline, "numerics", 10, **WHOLE, quantity="features.amount")
    parts = {key: row for key, row in rows.items() if key[0] == 40_000}
    volumes = rows_of(pipeline, "volumes", 10, **WHOLE)
    assert sum(row["rows"] for row in parts.values()) == sum(
        volumes[key]["rows"] for key in volumes if key[0] == 40_000
    )
    assert {part for _, part in parts} == {part for start, part in volumes if start == 40_000}
    assert len(parts) > 1
    assert any(row["count"] == 0 < row["rows"] for row in parts.values())


def truth(ids: list[str], row: dict[str, Any], limit: int) -> tuple[int, int, int]:
    hashes = Counter(of_texts(ids).tolist())
    low = {one: count for one, count in hashes.items() if one <= limit}
    return len(low), sum(count > 1 for count in low.values()), sum(low.values())


@pytest.mark.parametrize("partitions", [1, 3])
def test_ids_that_come_again_are_counted_over_panes_and_partitions(partitions: int) -> None:
    pipeline = Pipeline(partitions, RULES)
    ids = [f"e-{at}" if at % 4 else f"e-{max(at - 90, 0)}" for at in range(700)]
    sent(pipeline, [event(at, event_id=ids[at]) for at in range(700)], batch=9)
    pipeline.end()
    row = rows_of(pipeline, "ids", 60, **WHOLE)[0, CLOSED]
    assert (row["rows"], row["events"]) == (600, 600)
    hashes = sorted(set(of_texts(ids[:600]).tolist()))
    known = [truth(ids[:600], row, limit) for limit in hashes]
    assert (row["sampled"], row["repeated"], row["sampled_events"]) in known
    assert row["sampled"] > 60
    whole = truth(ids[:600], row, hashes[-1])
    error = np.sqrt(0.25 / row["sampled"])
    assert abs(row["repeated"] / row["sampled"] - whole[1] / whole[0]) < 4 * error
    assert not rows_of(pipeline, "ids", 60, segment="country=DE")


def test_events_without_an_id_are_not_counted() -> None:
    pipeline = Pipeline(1, RULES)
    sent(pipeline, [event(at, event_id=None if at % 2 else f"e-{at}") for at in range(300)])
    sent(pipeline, [event(at, event_id=None) for at in range(300, 700)])
    assert rows_of(pipeline, "ids", 10, **WHOLE)[0, CLOSED]["events"] == 50
    assert (40_000, CLOSED) not in rows_of(pipeline, "ids", 10, **WHOLE)
    off = Pipeline(1, RULES, limits=PaneLimits(sample_ids=0))
    sent(off, [event(at) for at in range(700)])
    assert "ids" not in off.tables


def test_panes_of_workers_that_know_of_no_ids_are_read_and_they_read_those_that_have_them() -> None:
    pipeline = Pipeline(1, RULES)
    sent(pipeline, [event(at) for at in range(300)])
    for raw in pipeline.log:
        pane = panes.decode(raw)
        if not isinstance(pane, Pane):
            continue
        fields = msgspec.msgpack.decode(raw[1:])
        assert panes.decode(raw[:1] + msgspec.msgpack.encode(fields[:-1])) == msgspec.structs.replace(
            pane, ids=IdPart()
        )
        assert panes.decode(raw[:1] + msgspec.msgpack.encode([*fields, "of the next release"])) == pane
        assert len(pane.ids.hashes) + len(pane.ids.counts) <= 512


def test_a_restored_partition_goes_on_counting_ids() -> None:
    pipeline = Pipeline(1, RULES)
    events = [event(at, event_id=f"e-{at % 400}") for at in range(700)]
    sent(pipeline, events[:450])
    raw = pipeline.analyse.snapshot()
    sent(pipeline, events[450:])
    whole = rows_of(pipeline, "ids", 60, **WHOLE)[0, CLOSED]
    life = AnalysePartition(0, RULES, NoDetectors())
    life.restore(raw, {b.id: b for b in pipeline.baselines})
    again = Pipeline(1, RULES)
    again.analyse, again.log, again.read = life, pipeline.log, 0
    again.analyse_new()
    assert rows_of(again, "ids", 60, **WHOLE)[0, CLOSED] == whole
    older = msgspec.msgpack.decode(raw, strict=False)
    for family in older["families"].values():
        for rollup in family["rollups"].values():
            del rollup["ids"]
    AnalysePartition(0, RULES, NoDetectors()).restore(msgspec.msgpack.encode(older), {})
