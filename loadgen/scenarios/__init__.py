"""Scenarios as data: who writes events, what is injected into them, how long."""

from loadgen.scenarios.reading import ScenarioError, load, names
from loadgen.scenarios.scenario import Scenario

__all__ = ["LATENCY_LIMIT_MS", "Scenario", "ScenarioError", "demo", "load", "names"]

LATENCY_LIMIT_MS = 22_000.0
"""What the users of the demo's chat model are promised for the 95th percentile: a third above what it usually is."""


def demo() -> Scenario:
    """An hour of event time: 20 min in which baselines are learned, then four faults with quiet between them."""
    return load("demo")
