"""A run depends on its scenario and its seed, and on nothing else."""

from itertools import pairwise

import pytest

from loadgen.scenarios import load
from loadgen.truth import Expectation
from streams.cli.suite import STEP_S, Job, play, play_all, steps

# Until a minute after the first of the demo's faults is found; as it is still on then, it may be.
SHORT = Job("demo", 7, 1_440)


@pytest.mark.slow
def test_the_same_run_comes_out_of_every_process() -> None:
    here = play(SHORT)
    assert [judged.judgement for judged in here.card.alerts] == ["tolerated"]
    assert list(play_all([SHORT, SHORT], processes=2)) == [here, here]


def test_what_is_still_on_when_a_run_is_cut_off_may_be_found() -> None:
    cut = play(Job("demo", 7, 1_230))
    assert [fault.truth.expectation for fault in cut.card.faults] == [Expectation.MAY]
    assert cut.watched.entities == ("fraud-scorer", "recommender", "chat-llm")


def test_every_event_is_handed_over_once_and_in_the_step_of_its_time() -> None:
    scenario = load("demo", seed=3)
    played = list(steps(scenario, 60))
    assert len(played) == 60 // STEP_S
    assert [later.at_ms - step.at_ms for step, later in pairwise(played)] == [STEP_S * 1000] * 5
    offsets = [record.offset for step in played for batch in step.batches for record in batch.records]
    assert offsets == list(range(len(offsets)))
