"""Feature reads: what a feature store served, and how old it was. Topic ``features``."""

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.common import TimeMs, Value


class FeatureRead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The values of one feature set for one entity.

    Every field but ``ts_ms`` and ``feature_set`` may be left out or null.
    """

    ts_ms: TimeMs
    feature_set: str
    event_id: str | None = None
    model: Annotated[str, Meta(description="The model that asked: its predictions are compared.")] | None = None
    values: dict[str, Value] | None = None
    source_ts_ms: Annotated[TimeMs, Meta(description="When the values were computed: freshness.")] | None = None
