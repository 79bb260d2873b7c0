"""The stages in one process: what goes in comes out as findings and alerts, at the pace of event time."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from schemas.findings import Finding, Progress
from streams.config import Settings, load_settings
from streams.rehearsal import Rehearsed, Step, fold, record, rehearse
from streams.stage import Batch

START_MS = 1_780_000_020_000
STEP_MS = 10_000
BATCH = 60


def settings(partitions: int = 1) -> Settings:
    return load_settings(env={"HALCYON_TOPICS__PARTITIONS": str(partitions), "HALCYON_KAFKA__TOPIC_PREFIX": "t."})


def events(step: int, share: float) -> list[dict[str, Any]]:
    """Ten seconds of a model whose ``amount`` is null in a share of the events."""
    rng = np.random.default_rng(step)
    at = np.sort(rng.integers(0, STEP_MS, BATCH)) + START_MS + step * STEP_MS
    nulls = rng.random(BATCH) < share
    return [
        {
            "event_id": f"{step}-{i}",
            "ts_ms": int(ts_ms),
            "model": "m",
            "model_version": "1",
            "features": {"amount": None if null else float(rng.normal(100, 10))},
        }
        for i, (ts_ms, null) in enumerate(zip(at, nulls, strict=True))
    ]


def steps(count: int, nulls: Mapping[int, float], *, partitions: int = 1, silent: range = range(0)) -> Iterator[Step]:
    """``nulls``: from which step on, which share of the values is null; nothing comes in the ``silent`` steps."""
    offsets = [0] * partitions
    share = 0.0
    for step in range(count):
        share = nulls.get(step, share)
        rows = [] if step in silent else [json.dumps(event).encode() for event in events(step, share)]
        at_ms = START_MS + (step + 1) * STEP_MS
        batches = []
        for partition in range(partitions):
            own = rows[partition::partitions]
            made = [record("t.predictions", partition, offsets[partition] + i, at_ms, row) for i, row in enumerate(own)]
            offsets[partition] += len(made)
            if made:
                batches.append(Batch("t.predictions", partition, made, offsets[partition]))
        yield Step(at_ms, batches)


def kinds(lived: Rehearsed) -> list[str]:
    return [finding.kind for finding in lived.findings if isinstance(finding, Finding) and finding.firing]


def test_a_fault_becomes_an_alert_and_nothing_else_does() -> None:
    lived = rehearse(settings(), steps(120, {70: 0.5}))
    assert set(kinds(lived)) == {"nulls"}
    assert [alert.labels["alertname"] for alert in lived.alerts][:1] == ["HalcyonNulls"]
    assert lived.dead == ()
    assert rehearse(settings(), steps(120, {})).alerts == []


def test_the_events_are_the_fold_of_the_findings() -> None:
    lived = rehearse(settings(), steps(100, {50: 0.5}))
    assert lived.events
    assert list(lived.events) == fold(settings(), lived.findings)


def test_how_many_partitions_there_are_changes_no_finding() -> None:
    def found(partitions: int) -> list[tuple[str, int, bool]]:
        lived = rehearse(settings(partitions), steps(100, {50: 0.5}, partitions=partitions))
        findings = [finding for finding in lived.findings if isinstance(finding, Finding)]
        return sorted((finding.kind, finding.window_start_ms, finding.firing) for finding in findings)

    assert found(1) == found(3)
    assert found(1)


def test_what_cannot_be_read_is_handed_back_with_its_reason() -> None:
    bad = Batch("t.predictions", 0, [record("t.predictions", 0, 0, START_MS, b"{nonsense")], 1)
    (letter,) = rehearse(settings(), [Step(START_MS, [bad])]).dead
    assert letter.value == b"{nonsense"
    assert any(name.endswith("reason") for name, _ in letter.headers)


def test_topics_that_no_stage_reads_are_passed_over() -> None:
    others = Batch("t.control", 0, [record("t.control", 0, 0, START_MS, b"no JSON")], 1)
    lived = rehearse(settings(), [Step(START_MS, [others]), *steps(5, {})])
    assert lived.dead == ()


def through_ms(lived: Rehearsed) -> int:
    return max(message.through_ms for message in lived.findings if isinstance(message, Progress))


def test_silence_lets_event_time_go_on_where_it_does_in_an_installation() -> None:
    silent = range(30, 60)
    lived = rehearse(settings(), steps(60, {}, silent=silent))
    assert through_ms(lived) > START_MS + 50 * STEP_MS
    stuck = rehearse(settings(), steps(60, {}, silent=silent), idle_closes=False)
    assert through_ms(stuck) < START_MS + 30 * STEP_MS
