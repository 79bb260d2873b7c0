"""Service level objectives in the settings: what is promised to users, model by model."""

from typing import Literal, Self

from pydantic import Field, model_validator

from detectors.slo.objectives import MAX_SLOS, NAME
from streams.config.sections import Section


class SloSettings(Section):
    """One objective."""

    name: str = Field(pattern=NAME, description="What findings and queries call it; no two are called the same.")
    kind: Literal["availability", "latency"] = Field(
        "availability",
        description="Which events are good: those whose status is `ok`, or those that were fast enough.",
    )
    model: str = Field("*", min_length=1, max_length=256, description="Models it is about; a pattern with `*`.")
    objective_ratio: float = Field(
        0.99, ge=0.5, le=0.99999, description="Share of events that is to be good; the rest is the error budget."
    )
    threshold_ms: float | None = Field(
        None,
        gt=0,
        le=1e9,
        description="For `latency`, and needed there: what takes longer is not good. Counted from the nearest edge "
        "between two bins of the histogram, 1 % off at most.",
    )
    quantity: Literal["latency_ms", "gen_ai.time_to_first_token_ms", "gen_ai.time_per_output_token_ms"] = Field(
        "latency_ms", description="For `latency`: which time."
    )
    window_days: int = Field(30, ge=3, le=90, description="How long a budget has to last.")
    segments: bool = Field(False, description="Whether each segment has a budget of its own, beside the whole.")

    @model_validator(mode="after")
    def _kind_and_threshold_agree(self) -> Self:
        if self.kind == "latency" and self.threshold_ms is None:
            raise ValueError("a latency objective needs threshold_ms, such as 'threshold_ms: 250'")
        if self.kind == "availability" and self.threshold_ms is not None:
            raise ValueError("threshold_ms belongs to objectives of kind latency: add 'kind: latency', or leave it out")
        return self

    @property
    def parameters(self) -> dict[str, object]:
        """What the detector is given."""
        return self.model_dump(exclude_none=True)


def distinct(slos: tuple[SloSettings, ...]) -> tuple[SloSettings, ...]:
    """Refuse two objectives of one name, whose budgets would be one, and too many of them."""
    names = [slo.name for slo in slos]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"two objectives are called {', '.join(twice)}: give each a name of its own"
        raise ValueError(msg)
    if len(names) > MAX_SLOS:
        msg = f"{len(names)} objectives are more than {MAX_SLOS}: one can hold for several models, by a pattern"
        raise ValueError(msg)
    return slos
