"""Scenarios as data: which models, which faults, how long. The demo's is the only one so far."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from loadgen.faults import Effect, Fault
from loadgen.mix import Mix
from loadgen.models import ServingModel
from loadgen.models.chat_llm import ChatLlm
from loadgen.models.fraud_scorer import FraudScorer
from loadgen.models.recommender import Recommender
from schemas.findings import Kind, Severity


def serving_models() -> tuple[ServingModel, ...]:
    """A fraud scorer, a recommender and a chat model: together 96 predictions a second."""
    return (FraudScorer(), Recommender(), ChatLlm())


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is played: models and faults over ``duration_s`` seconds of event time.

    ``grace_s`` is how long after a fault's end an alert may still come and belong to it, in event time.
    """

    name: str
    duration_s: int
    faults: Sequence[Fault]
    models: Sequence[ServingModel] = field(default_factory=serving_models)
    grace_s: int = 300
    seed: int = 7

    def __post_init__(self) -> None:
        for fault in self.faults:
            if fault.end_s >= self.duration_s:
                raise ValueError(f"fault {fault.name!r} outlasts the scenario: {fault.end_s} s of {self.duration_s} s")

    def mix(self, start_ms: int) -> Mix:
        """The scenario's load from ``start_ms`` (ms since the epoch) on."""
        return Mix(self.models, self.faults, start_ms, self.seed)


LATENCY_LIMIT_MS: Final = 22_000.0
"""What the chat model's users are promised for the 95th percentile: a third above what it usually is."""

DRIFTED_AMOUNT = Fault(
    name="amounts in another currency",
    model="fraud-scorer",
    effect=Effect.SCALE,
    target="amount",
    magnitude=2.0,
    onset_s=1200,
    end_s=1620,
    kinds=(Kind.DRIFT,),
    collateral=(Kind.SCORE_DRIFT, Kind.CATEGORY_DRIFT, Kind.OUTLIERS, Kind.CHANGE),
    severity=Severity.TICKET,
)
SLOW_TAIL = Fault(
    name="long answers slow down",
    model="chat-llm",
    effect=Effect.SLOW_TAIL,
    magnitude=1.8,
    tail_over_ms=6000.0,
    onset_s=1860,
    end_s=2280,
    kinds=(Kind.LATENCY, Kind.LATENCY_SLO),
    collateral=(Kind.CHANGE, Kind.DRIFT),
)
NULL_BURST = Fault(
    name="embedding store loses users",
    model="recommender",
    effect=Effect.NULLS,
    target="user_embedding_norm",
    magnitude=0.3,
    onset_s=2460,
    end_s=2820,
    kinds=(Kind.NULLS,),
    collateral=(Kind.DRIFT, Kind.SCORE_DRIFT, Kind.CHANGE, Kind.OUTLIERS),
    severity=Severity.TICKET,
)
LOST_TRAFFIC = Fault(
    name="a router drops most requests",
    model="recommender",
    effect=Effect.VOLUME,
    magnitude=0.3,
    onset_s=3060,
    end_s=3420,
    kinds=(Kind.VOLUME,),
    collateral=(Kind.CHANGE,),
    severity=Severity.TICKET,
)


def demo() -> Scenario:
    """An hour of event time: 20 min in which baselines are learned, then four faults with quiet between them."""
    return Scenario("demo", duration_s=3600, faults=(DRIFTED_AMOUNT, SLOW_TAIL, NULL_BURST, LOST_TRAFFIC))
