"""What an injection does to the columns of an entity: one small struct per effect, by the step in which it strikes."""

from loadgen.effects.answers import AnswerEffect, ScoreEffect
from loadgen.effects.arrivals import Duplicates, Stale, Traffic
from loadgen.effects.gpus import GpuEffect
from loadgen.effects.labels import Concept, FlipLabels, LabelDelay
from loadgen.effects.requests import Crowd, Field, Misread, RequestEffect

ArrivalEffect = Traffic | Duplicates
LabelEffect = Concept | FlipLabels | LabelDelay
Effect = ArrivalEffect | RequestEffect | Field | ScoreEffect | AnswerEffect | LabelEffect | Stale | GpuEffect

ON_MODELS = ArrivalEffect | RequestEffect | Field | ScoreEffect | AnswerEffect | LabelEffect
ON_FEATURE_SETS = ArrivalEffect | RequestEffect | Field | Stale
ON_HOSTS = GpuEffect

__all__ = [
    "ON_FEATURE_SETS",
    "ON_HOSTS",
    "ON_MODELS",
    "AnswerEffect",
    "ArrivalEffect",
    "Concept",
    "Crowd",
    "Duplicates",
    "Effect",
    "Field",
    "FlipLabels",
    "LabelDelay",
    "Misread",
    "RequestEffect",
    "ScoreEffect",
    "Stale",
    "Traffic",
]
