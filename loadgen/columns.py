"""What synthetic entities produce: events as columns, one array per field, rows in the order of event time."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.topics import TopicName

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Texts = NDArray[np.str_]
Column = Floats | Texts
"""Numbers, NaN for null; or texts."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a model answers to n requests.

    ``latency_ms`` and ``score`` are float64[n]; ``status`` and ``decision`` are text[n], ``decision`` is None for
    models that decide nothing. ``cost_usd`` is float64[n] or None. ``gen_ai`` holds the fields of the message's
    ``gen_ai`` object, each float64[n].
    """

    latency_ms: Floats
    score: Floats | None
    status: Texts
    decision: Texts | None = None
    cost_usd: Floats | None = None
    gen_ai: dict[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Predictions:
    """n predictions of one model version.

    ``ts_ms`` is int64[n], ascending. A float feature that is NaN is a null on the wire. ``host`` and ``gpu_uuid`` are
    text[n] or None; ``key``, text[n] or None, is who asked: the message's key where keys are to be hot.
    """

    topic: ClassVar[TopicName] = TopicName.PREDICTIONS

    model: str
    model_version: str
    event_id: list[str]
    ts_ms: Ints
    segment: dict[str, Texts]
    features: dict[str, Column]
    response: Response
    host: Texts | None = None
    gpu_uuid: Texts | None = None
    key: Texts | None = None

    def __len__(self) -> int:
        return len(self.ts_ms)

    def answered(self, **changes: Any) -> "Predictions":  # noqa: ANN401 - the fields of Response
        """The same predictions with parts of the response replaced."""
        return replace(self, response=replace(self.response, **changes))


@dataclass(frozen=True, slots=True)
class Labels:
    """n labels of one model: ``ts_ms`` (int64[n], ascending) is when each became known; ``label`` is bool[n]."""

    topic: ClassVar[TopicName] = TopicName.LABELS

    model: str
    event_id: list[str]
    ts_ms: Ints
    label: Bools

    def __len__(self) -> int:
        return len(self.ts_ms)


@dataclass(frozen=True, slots=True)
class FeatureReads:
    """n reads of one feature set. ``key`` is text[n], the entity that was read; ``source_ts_ms`` int64[n]."""

    topic: ClassVar[TopicName] = TopicName.FEATURES

    feature_set: str
    model: str
    event_id: list[str]
    key: Texts
    ts_ms: Ints
    source_ts_ms: Ints
    values: dict[str, Column]

    def __len__(self) -> int:
        return len(self.ts_ms)


@dataclass(frozen=True, slots=True)
class GpuSamples:
    """n samples of the GPUs of one host.

    ``gauges`` holds fields of the message's name, float64[n] each, NaN for what the device does not support;
    ``clocks_event_reasons`` is int64[n]; ``xid`` one tuple of codes per sample.
    """

    topic: ClassVar[TopicName] = TopicName.GPU_TELEMETRY

    host: str
    model: str
    gpu_name: str
    ts_ms: Ints
    gpu_uuid: Texts
    gpu_index: Ints
    gauges: dict[str, Floats]
    clocks_event_reasons: Ints
    xid: list[tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.ts_ms)


Columns = Predictions | Labels | FeatureReads | GpuSamples
_Block = TypeVar("_Block", Predictions, Labels, FeatureReads, GpuSamples, Response, Columns)


def rows(columns: _Block, wanted: slice | Ints) -> _Block:
    """The same columns with these rows alone: a slice, or int64[m] places, which may repeat and change the order."""
    changes = {}
    for each in fields(columns):
        value = getattr(columns, each.name)
        if not isinstance(value, str) and value is not None:
            changes[each.name] = _taken(value, wanted)
    return replace(columns, **changes)


def _taken(value: Any, wanted: slice | Ints) -> Any:  # noqa: ANN401 - whatever a field of columns holds
    if isinstance(value, np.ndarray):
        return value[wanted]
    if isinstance(value, Mapping):
        return {name: column[wanted] for name, column in value.items()}
    if isinstance(value, Response):
        return rows(value, wanted)
    return value[wanted] if isinstance(wanted, slice) else [value[place] for place in wanted.tolist()]
