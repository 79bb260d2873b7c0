"""The bench of detectors: a state that is not theirs costs what was learned, never the stage."""

import logging

import pytest

from detectors.registry import REGISTRY
from detectors.sensitivity import Sensitivities
from streams.analyse.bench import DetectorBench, rules_of
from streams.clock import ManualClock
from streams.metrics import Metrics


def bench() -> DetectorBench:
    return DetectorBench({}, rules_of(3, 5), 0.01, (), Sensitivities(), Metrics(), ManualClock())


@pytest.mark.parametrize("part", [*REGISTRY, "#decisions", *(name for name in bench().to_parts() if "pool" in name)])
def test_a_state_of_another_version_is_left_out_and_told_of(part: str, caplog: pytest.LogCaptureFixture) -> None:
    parts = bench().to_parts()
    restored = bench()
    with caplog.at_level(logging.WARNING):
        restored.load_parts({**parts, part: b"\x93another\x01version"})
    assert [part in message for message in caplog.messages] == [True]
    assert restored.to_parts().keys() == parts.keys()


def test_a_state_of_its_own_is_taken_over_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    parts = bench().to_parts()
    restored = bench()
    restored.load_parts(parts)
    assert restored.to_parts() == parts
    assert not caplog.messages
