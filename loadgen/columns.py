"""What a synthetic model produces: predictions as columns, one array per field."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Texts = NDArray[np.str_]
Column = Floats | Texts


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
    """n predictions of one model version, in the order of event time.

    ``ts_ms`` is int64[n], ascending. A float feature that is NaN is a null on the wire.
    """

    model: str
    model_version: str
    event_id: list[str]
    ts_ms: Ints
    segment: dict[str, Texts]
    features: dict[str, Column]
    response: Response

    def __len__(self) -> int:
        return len(self.ts_ms)

    def answered(self, **changes: Any) -> "Predictions":  # noqa: ANN401 - the fields of Response
        """The same predictions with parts of the response replaced."""
        return replace(self, response=replace(self.response, **changes))
