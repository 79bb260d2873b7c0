"""Panes that come after their window closed: counted once, and in windows that are open as if they had been on time."""

from collections import Counter

import numpy as np
import pytest

from schemas.panes import Pane, decode
from schemas.rows import CLOSED
from streams.analyse.partition import AnalysePartition, AnalyseRules
from tests.unit.analyse.pipeline import EPOCH, NoDetectors, Pipeline
from tests.unit.analyse.test_pipeline import Events

BEHIND_MS = 90_000
"""How far one partition is behind the other: more than a minute, less than five."""


def play(pipeline: Pipeline, events: Events) -> None:
    """One partition is idle at first, so nobody waits for it; then its events come, all of them too late."""
    pipeline.flush(1, idle=True)
    for now in range(EPOCH, EPOCH + 600_000 + BEHIND_MS + 10_000, 10_000):
        for partition, behind in ((0, 0), (1, BEHIND_MS)):
            inside = (events.partition == partition) & (events.ts // 10_000 == (now - behind) // 10_000)
            if inside.any():
                pipeline.send(partition, [events.message(i) for i in np.flatnonzero(inside).tolist()])
                # Whoever reads it is silent again at once: its next events are late too.
                pipeline.flush(partition, idle=partition == 1)
    pipeline.end()


@pytest.fixture(scope="module")
def late() -> tuple[Pipeline, Events]:
    events, pipeline = Events(5, 8_000, 2), Pipeline(2)
    play(pipeline, events)
    return pipeline, events


def volumes(pipeline: Pipeline, size_s: int) -> Counter[tuple[str, int]]:
    found: Counter[tuple[str, int]] = Counter()
    for row in pipeline.tables["volumes"].values():
        if row["window_s"] == size_s and not row["segment"] and row["model"].startswith("m"):
            found[row["model"], row["start_ms"]] += row["rows"] + row["late"]
    return found


def parts(pipeline: Pipeline, size_s: int) -> set[int]:
    return {row["part"] for row in pipeline.tables["volumes"].values() if row["window_s"] == size_s}


def test_every_window_has_every_event_once(late: tuple[Pipeline, Events]) -> None:
    pipeline, events = late
    assert pipeline.analyse.late_panes > 100
    for size_s in (10, 60, 300):
        size_ms = size_s * 1000
        starts = (events.ts // size_ms * size_ms).tolist()
        names = [f"m{model}" for model in events.model.tolist()]
        wanted = Counter(zip(names, starts, strict=True))
        assert volumes(pipeline, size_s) == wanted


def test_windows_that_are_open_take_late_panes_in(late: tuple[Pipeline, Events]) -> None:
    pipeline, _ = late
    assert parts(pipeline, 10) > {CLOSED}
    assert parts(pipeline, 60) > {CLOSED}
    # Of five minutes, the panes of the last minute and a half came after the window closed, and no others.
    late_starts = {
        row["start_ms"] + (row["part"] % 512) * 10_000
        for row in pipeline.tables["volumes"].values()
        if row["window_s"] == 300 and row["part"] != CLOSED
    }
    assert late_starts
    assert all(300_000 - start % 300_000 <= BEHIND_MS + 20_000 for start in late_starts)


def test_a_late_pane_that_is_sent_again_is_counted_once() -> None:
    events, first = Events(6, 4_000, 2), Pipeline(2)
    play(first, events)
    again = Pipeline(2)
    for raw in first.log:
        again.log.append(raw)
        message = decode(raw)
        if isinstance(message, Pane) and message.source_partition == 1:
            again.log.append(raw)
    again.analyse_new()
    for size_s in (10, 60, 300, 3600):
        assert volumes(again, size_s) == volumes(first, size_s)
    assert again.analyse.late_panes == first.analyse.late_panes


def test_a_restored_partition_knows_which_late_panes_it_has_counted() -> None:
    events, first = Events(7, 4_000, 2), Pipeline(2)
    play(first, events)
    rules = AnalyseRules()
    again = Pipeline(2)
    for place, raw in enumerate(first.log):
        again.log.append(raw)
        again.analyse_new()
        message = decode(raw)
        if isinstance(message, Pane) and message.source_partition == 1 and place % 7 == 0:
            # The source dies before it says how far it came, the reader dies too, and the source sends again.
            saved, committed = again.analyse.snapshot(), again.analyse.committable()
            again.analyse = AnalysePartition(0, rules, NoDetectors())
            assert again.analyse.restore(saved, {}) == []
            again.read = committed
            again.log.append(raw)
            again.analyse_new()
    for size_s in (10, 60, 300, 3600):
        assert volumes(again, size_s) == volumes(first, size_s)
