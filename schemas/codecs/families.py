"""What differs between the source families, as data; the decoders know nothing else about them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.columns import Floats, Ints
from schemas.features import FeatureRead
from schemas.gpu import CLOCKS_EVENT_REASONS, GpuSample
from schemas.labels import LABEL, Label
from schemas.predictions import Prediction
from schemas.scopes import Family

Lists = dict[str, list[Any]]
Identity = tuple[str, str | None, bytes | str | None]
"""Model, version, and the segments: as JSON bytes, or the value of the segment ``model``."""


@dataclass(frozen=True, slots=True)
class FamilySpec:
    """How one family's messages become columns.

    Attributes
    ----------
    family
        The family.
    strict
        The public struct: the reference of names, types and ranges, for JSON and Arrow alike.
    identity
        The fields that become an event key's model and model version.
    required
        Fields without which an event is nothing.
    numeric
        Quantity → field, ``gen_ai/input_tokens`` for a field of a nested struct.
    counted
        Counter → field, for texts.
    defaults
        Counter → what counts when the field is null.
    fallbacks
        Counter → counter whose text counts where its own is null.
    numbers
        Counter → field that holds a list of codes.
    bits
        Counter → field that holds a bit mask, and the bits' names.
    either
        Name → field that holds a number or a boolean, which is a quantity of that name, or a text, which is counted.
    values
        The field that holds the features, ``""`` for none.
    segment
        The field that holds segments, ``""`` for none.
    model_segment
        The field that becomes the segment ``model``, ``""`` for none.
    derive
        Turns the quantities as they were read into those that are kept, given the event times.
    pull
        Top-level fields out of a list of structs, by field name. Written out where speed matters: an attribute that
        stands in the code is read in half the time of one that is looked up by name.
    identify
        What tells the event keys of a list of structs apart; its texts make the key.
    """

    family: Family
    strict: type[msgspec.Struct]
    identity: tuple[str, ...]
    required: tuple[str, ...]
    numeric: Mapping[str, str]
    pull: Callable[[Sequence[Any]], Lists]
    identify: Callable[[Sequence[Any]], Iterator[Identity]]
    counted: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    defaults: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    fallbacks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    numbers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    bits: Mapping[str, tuple[str, Mapping[int, str]]] = field(default_factory=lambda: MappingProxyType({}))
    either: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    values: str = ""
    segment: str = ""
    model_segment: str = ""
    derive: Callable[[dict[str, Floats], Ints], dict[str, Floats]] | None = None


def _pull_predictions(events: Sequence[Any]) -> Lists:
    return {
        "features": [e.features for e in events],
        "gen_ai": [e.gen_ai for e in events],
        "latency_ms": [e.latency_ms for e in events],
        "score": [e.score for e in events],
        "cost_usd": [e.cost_usd for e in events],
        "status": [e.status for e in events],
        "decision": [e.decision for e in events],
    }


# Identities are made by zip, one at a time: a list of tuples would set the garbage collector off again and again.
def _identify_predictions(events: Sequence[Any]) -> Iterator[Identity]:
    models, versions = [e.model for e in events], [e.model_version for e in events]
    return zip(models, versions, _raw([e.segment for e in events]), strict=True)


def _raw(parts: list[msgspec.Raw]) -> list[bytes]:
    """The bytes of each part. One join and one split take two thirds of the time of so many calls of ``bytes``."""
    joined = b"\0".join(parts).split(b"\0")
    # valid JSON has no such byte, but nothing has looked into these parts yet
    return joined if len(joined) == len(parts) else list(map(bytes, parts))


def _identify_features(events: Sequence[Any]) -> Iterator[Identity]:
    return zip([e.feature_set for e in events], repeat(None), [e.model for e in events], strict=False)


def _identify_gpus(events: Sequence[Any]) -> Iterator[Identity]:
    return zip([e.host for e in events], [e.gpu_uuid for e in events], [e.model for e in events], strict=True)


def _identify_labels(events: Sequence[Any]) -> Iterator[Identity]:
    return zip([e.model for e in events], repeat(None), repeat(None), strict=False)


def _pull_labels(events: Sequence[Any]) -> Lists:
    return {"label": [e.label for e in events]}


def _pull_gpu(events: Sequence[Any]) -> Lists:
    paths = (*GPU.numeric.values(), *GPU.numbers.values(), *(path for path, _ in GPU.bits.values()))
    return {path: list(map(attrgetter(path), events)) for path in paths}


def _pull_features(events: Sequence[Any]) -> Lists:
    return {"values": [e.values for e in events], "source_ts_ms": [e.source_ts_ms for e in events]}


def _freshness(numeric: dict[str, Floats], ts_ms: Ints) -> dict[str, Floats]:
    source = numeric.get("source_ts_ms")
    return {} if source is None else {"freshness_ms": ts_ms - source}


def _gauges(numeric: dict[str, Floats], _: Ints) -> dict[str, Floats]:
    gauges = {name: np.where(_blank(values), np.nan, values) for name, values in numeric.items()}
    used, total = gauges.get("memory_used_bytes"), gauges.get("memory_total_bytes")
    if used is not None and total is not None:
        gauges["memory_used_ratio"] = used / np.where(total > 0, total, np.nan)
    return {name: values for name, values in gauges.items() if not np.isnan(values).all()}


def _blank(values: Floats) -> NDArray[np.bool_]:
    """Where an exporter wrote its "not supported" number: near 2^63 for integers, from 2^47 on for floats (DCGM)."""
    return (values >= 2.0**62) | ((values >= 2.0**47) & (values < 2.0**47 + 4))


_GEN_AI_NUMBERS = ("input_tokens", "output_tokens", "time_to_first_token_ms", "time_per_output_token_ms")
_GEN_AI_TEXTS = ("operation_name", "provider_name", "request_model", "response_model", "error_type", "finish_reason")

PREDICTIONS: Final = FamilySpec(
    family=Family.PREDICTION,
    strict=Prediction,
    identity=("model", "model_version"),
    required=("ts_ms", "model"),
    numeric={
        "latency_ms": "latency_ms",
        "score": "score",
        "cost_usd": "cost_usd",
        **{f"gen_ai.{name}": f"gen_ai/{name}" for name in _GEN_AI_NUMBERS},
    },
    counted={
        "status": "status",
        "decision": "decision",
        **{f"gen_ai.{name}": f"gen_ai/{name}" for name in _GEN_AI_TEXTS},
    },
    defaults={"status": "ok"},
    fallbacks={"status": "gen_ai.error_type"},
    values="features",
    segment="segment",
    pull=_pull_predictions,
    identify=_identify_predictions,
)

FEATURES: Final = FamilySpec(
    family=Family.FEATURE,
    strict=FeatureRead,
    identity=("feature_set",),
    required=("ts_ms", "feature_set"),
    numeric={"source_ts_ms": "source_ts_ms"},
    values="values",
    model_segment="model",
    derive=_freshness,
    pull=_pull_features,
    identify=_identify_features,
)

_NOT_GAUGES = frozenset({"ts_ms", "host", "gpu_uuid", "event_id", "gpu_index", "gpu_name", "model"})
_GPU_COUNTED = frozenset({"xid", "clocks_event_reasons"})

GPU: Final = FamilySpec(
    family=Family.GPU,
    strict=GpuSample,
    identity=("host", "gpu_uuid"),
    required=("ts_ms", "host", "gpu_uuid"),
    numeric={name: name for name in GpuSample.__struct_fields__ if name not in _NOT_GAUGES | _GPU_COUNTED},
    numbers={"xid": "xid"},
    bits={"clocks_event_reason": ("clocks_event_reasons", CLOCKS_EVENT_REASONS)},
    model_segment="model",
    derive=_gauges,
    pull=_pull_gpu,
    identify=_identify_gpus,
)

LABELS: Final = FamilySpec(
    family=Family.LABEL,
    strict=Label,
    identity=("model",),
    required=("event_id", "ts_ms", "model", "label"),
    numeric={},
    either={LABEL: "label"},
    pull=_pull_labels,
    identify=_identify_labels,
)
