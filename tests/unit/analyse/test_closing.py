"""When windows close: by what source partitions say of themselves, whoever says it."""

from collections.abc import Iterator

import numpy as np
import pytest

from schemas.panes import Watermark
from schemas.rows import CLOSED
from streams.analyse.closing import NEVER, Closing
from tests.unit.analyse.pipeline import EPOCH, Pipeline
from tests.unit.analyse.test_pipeline import Events


def said(partition: int, watermark_ms: int, position: int, *, idle: bool = False) -> Watermark:
    return Watermark("prediction", "predictions", partition, 2, watermark_ms, idle, watermark_ms, position)


def closing(*messages: Watermark) -> Closing:
    state = Closing(10_000)
    for message in messages:
        state.mark(message)
    return state


def test_a_sleeper_that_calls_idle_what_its_heir_reads_is_not_believed() -> None:
    busy = (said(0, EPOCH, 100), said(1, EPOCH + 60_000, 100))
    asleep = said(0, EPOCH - 10_000, 90, idle=True)
    assert closing(*busy).frontier_ms() == EPOCH
    assert closing(*busy, asleep).frontier_ms() == EPOCH
    assert closing(*busy, asleep, said(0, EPOCH + 20_000, 120)).frontier_ms() == EPOCH + 20_000


def test_a_sleeper_that_calls_busy_what_is_idle_holds_nobody_back() -> None:
    idle = (said(0, EPOCH, 100, idle=True), said(1, EPOCH + 60_000, 100))
    assert closing(*idle, said(0, EPOCH - 10_000, 90)).frontier_ms() == EPOCH + 60_000


def test_who_has_read_as_far_is_believed() -> None:
    busy = (said(0, EPOCH, 100), said(1, EPOCH + 60_000, 100))
    assert closing(*busy, said(0, EPOCH, 100, idle=True)).frontier_ms() == EPOCH + 60_000


def test_a_source_that_was_made_anew_is_believed_when_it_insists() -> None:
    messages = [said(0, EPOCH, 100), said(1, EPOCH + 60_000, 100)]
    anew = said(0, NEVER, 0, idle=True)
    assert closing(*messages, anew, anew).frontier_ms() == EPOCH
    assert closing(*messages, anew, anew, anew).frontier_ms() == EPOCH + 60_000


def test_a_restored_state_believes_the_same() -> None:
    state = closing(said(0, EPOCH, 100), said(1, EPOCH + 60_000, 100), said(0, EPOCH, 90, idle=True))
    again = Closing.from_parts(state.to_parts(), 10_000)
    assert again.marks == state.marks


def batches(events: Events, partition: int, size: int) -> Iterator[list[bytes]]:
    own = np.flatnonzero(events.partition == partition).tolist()
    for first in range(0, len(own), size):
        yield [events.message(i) for i in own[first : first + size]]


@pytest.mark.parametrize("ahead_ms", [40_000, 400_000])
def test_a_source_that_begins_long_before_the_others_misses_no_window(ahead_ms: int) -> None:
    """The first source has sent panes of later windows before the second, which begins earlier, has sent any."""
    events = Events(8, 4_000, 2)
    events.ts[events.partition == 0] += ahead_ms
    pipeline = Pipeline(2)
    for first, second in zip(batches(events, 0, 100), batches(events, 1, 5), strict=False):
        pipeline.send(0, first)
        pipeline.send(1, second)
    assert pipeline.analyse.late_panes == 0
    assert {row["part"] for row in pipeline.tables["volumes"].values()} == {CLOSED}
