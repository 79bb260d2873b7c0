"""Predictions: one message per answer of a model. Topic ``predictions``."""

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.common import NonNegative, TimeMs, Value


class GenAi(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What only generative models have: OpenTelemetry's ``gen_ai.*`` attributes (``schemas.names`` tells which)."""

    operation_name: str | None = None
    provider_name: str | None = None
    request_model: str | None = None
    response_model: str | None = None
    input_tokens: NonNegative | None = None
    output_tokens: NonNegative | None = None
    time_to_first_token_ms: NonNegative | None = None
    time_per_output_token_ms: NonNegative | None = None
    error_type: str | None = None
    finish_reason: str | None = None


class Prediction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One answer of a model: what it was asked, what it said, how long it took.

    Producers may add fields of their own; they are ignored. Every field but ``ts_ms`` and ``model`` may be left out or
    null.
    """

    ts_ms: TimeMs
    model: str
    event_id: Annotated[str, Meta(description="Unique; joins labels and names exemplars in alerts.")] | None = None
    model_version: str | None = None
    segment: Annotated[dict[str, Value], Meta(description="Slices to watch apart: name to value.")] | None = None
    latency_ms: NonNegative | None = None
    status: Annotated[str, Meta(description="ok (the default), or an error type.")] | None = None
    score: Annotated[float, Meta(description="Any number; a probability for classifiers.")] | None = None
    decision: Annotated[str, Meta(description="What was done on it: approve, deny, a class.")] | None = None
    features: dict[str, Value] | None = None
    trace_id: str | None = None
    host: Annotated[str, Meta(description="Where the model ran: joins GPU telemetry.")] | None = None
    gpu_uuid: str | None = None
    cost_usd: NonNegative | None = None
    gen_ai: GenAi | None = None
