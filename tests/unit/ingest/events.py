"""Decoded micro-batches made by hand, without a codec."""

from collections.abc import Sequence

import numpy as np

from schemas.columns import CountedColumn, DeadLetter, Decoded, EventColumns, EventKey, FeatureBlock, Reason
from schemas.scopes import Family


def decoded(ts_ms: Sequence[int | None], values: Sequence[float] | None = None, model: str = "m") -> Decoded:
    """One event per record, at these times; None is a record that cannot be decoded."""
    records = np.array([i for i, t in enumerate(ts_ms) if t is not None], np.int64)
    times = np.array([t for t in ts_ms if t is not None], np.int64)
    n = len(times)
    column = np.ones(n) if values is None else np.array(values, float)[records]
    blocks = (FeatureBlock(np.arange(n), ("x",), column[None, :] * 2),) if n else ()
    columns = EventColumns(
        Family.PREDICTION,
        records,
        np.zeros(n, np.int64),
        times,
        np.zeros(n, np.int32),
        (EventKey(model, "1"),),
        {"latency_ms": column},
        {"status": CountedColumn(np.arange(n), np.zeros(n, np.int32), ("ok",))},
        blocks,
        [f"e{t}" for t in times],
    )
    dead = [DeadLetter(i, Reason.INVALID_JSON, "no") for i, t in enumerate(ts_ms) if t is None]
    return Decoded(columns, dead)
