"""Rows: what goes to ClickHouse, a batch of one table's rows per message. Internal, msgpack behind a version byte.

Every table is a ``ReplacingMergeTree(version)`` over its key, so a row that comes twice counts once. ``part`` is -1 for
the window as it was closed, or the number of a source partition whose pane came after the close: the views add the
parts of a window up, and each is an absolute value.
"""

from typing import Any, Final

import msgspec

from schemas.versioned import Versioned

VERSION: Final = 1
CLOSED: Final = -1
"""The ``part`` of a window as it was closed."""

_SCOPE = ("family", "model", "model_version", "segment")
_WINDOW = ("window_s", "start_ms", "part", "version")

TABLES: Final[dict[str, tuple[str, ...]]] = {
    # one row per scope and window: how many events, how many came late
    "volumes": (*_SCOPE, *_WINDOW, "rows", "late"),
    # one row per whole that has event ids: events with an id, and how often the ids of lowest hash came
    "ids": (*_SCOPE, *_WINDOW, "rows", "events", "sampled", "repeated", "sampled_events"),
    # one row per numeric quantity; bins/counts are the histogram's cells; layout is "" for a LogHistogram, else a
    # baseline's id
    "numerics": (
        *_SCOPE, "quantity", *_WINDOW, "rows", "count", "mean", "m2", "min", "max", "layout", "bins", "counts",
    ),
    # one row per categorical quantity (features) or counter (status, decision, xid, …: counter = 1)
    "categories": (*_SCOPE, "quantity", "counter", *_WINDOW, "rows", "values", "counts"),
    # one row per detector, quantity and window that was ready
    "scores": (
        *_SCOPE, "quantity", "detector", "window_s", "start_ms", "version", "score", "value", "baseline", "threshold",
        "noise", "p_value", "rows", "firing", "baseline_id",
    ),
    "findings": (
        *_SCOPE, "quantity", "detector", "kind", "window_s", "start_ms", "version", "id", "firing", "severity", "score",
        "value", "baseline", "threshold", "unit", "rows", "confidence", "since_ms", "summary", "baseline_id",
    ),
    # one row per alert event (a firing, an update, a resolve)
    "alerts": (
        "id", "version", "fingerprint", "status", "severity", "starts_ms", "ends_ms", "updated_ms", *_SCOPE, "kind",
        "summary", "description", "labels", "body",
    ),
    # one row per quantity of a baseline: what a window is compared with; values/value_counts for categorical ones
    "baselines": (
        "baseline_id", *_SCOPE, "quantity", "version", "effective_from_ms", "built_from", "rows", "count", "mean", "m2",
        "min", "max", "p50", "p95", "p99", "edges", "counts", "values", "value_counts",
    ),
}  # fmt: skip
"""Table → columns, in the order of :attr:`RowBatch.columns`. Types and keys stand in ``schemas/clickhouse``."""


class RowBatch(msgspec.Struct, frozen=True, array_like=True):
    """Rows of one table, column by column: ``columns[i][j]`` is column ``TABLES[table][i]`` of row ``j``."""

    table: str
    columns: tuple[list[Any], ...]

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0


_codec: Versioned[RowBatch] = Versioned(RowBatch, VERSION, "row batch")
encode = _codec.encode


def decode(raw: bytes) -> RowBatch:
    """The batch in ``raw``.

    Raises
    ------
    msgspec.ValidationError
        If the version byte or the table is unknown, or columns are missing or of unequal length.
    """
    batch = _codec.decode(raw)
    if batch.table not in TABLES:
        raise msgspec.ValidationError(f"row batch for table {batch.table!r}, this reader knows {', '.join(TABLES)}")
    if len(batch.columns) != len(TABLES[batch.table]) or len({len(c) for c in batch.columns}) > 1:
        raise msgspec.ValidationError(f"row batch for table {batch.table!r} with columns of the wrong number or length")
    return batch
