"""Panes and watermarks: what ingest tells analyse. Internal, msgpack behind a schema version byte.

A pane is the full sum of one scope over one pane length of event time in one source partition. Emitting it again
replaces it: its key is (scope, start, source topic, source partition).
"""

from typing import Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.scopes import Scope
from schemas.versioned import Versioned

Item = TypeVar("Item", bound=np.generic)

VERSION: Final = 1
STAT_COLUMNS: Final = ("count", "mean", "m2", "min", "max")
"""The columns of :attr:`NumericPart.stats`. ``m2`` is the sum of squared deviations from the mean."""


class NumericPart(msgspec.Struct, frozen=True, array_like=True):
    """The numeric quantities of a pane, column by column (k quantities, h histogram cells).

    ``stats`` is float64[k, 5] little-endian in C order (see ``STAT_COLUMNS``; min and max are NaN where count is 0);
    ``cells`` is int32[k], the number of histogram cells of each quantity; ``bins`` int16[h] and ``counts`` uint32[h]
    are the cells, ascending within a quantity; ``binned`` is uint8[k]: 0 for a LogHistogram, 1 for bins of the pane's
    baseline.
    """

    names: tuple[str, ...] = ()
    stats: bytes = b""
    cells: bytes = b""
    bins: bytes = b""
    counts: bytes = b""
    binned: bytes = b""


class CategoryPart(msgspec.Struct, frozen=True, array_like=True):
    """The counts of one categorical quantity; what is over the cap stands under ``__other__``."""

    name: str
    values: tuple[str, ...]
    counts: tuple[int, ...]


class SamplePart(msgspec.Struct, frozen=True, array_like=True):
    """The rows of lowest hash: r rows of k numeric quantities.

    ``hashes`` uint64[r] ascending, ``ts_ms`` int64[r], ``values`` float32[r, k] (NaN for null) in C order.
    """

    names: tuple[str, ...] = ()
    hashes: bytes = b""
    ts_ms: bytes = b""
    values: bytes = b""
    event_ids: tuple[str, ...] = ()


class IdPart(msgspec.Struct, frozen=True, array_like=True):
    """The event ids of lowest hash: r ids, each with how often it came.

    ``events`` is how many events had an id; ``hashes`` uint64[r] ascending, ``counts`` uint32[r]. Every id whose hash
    is at or below ``limit`` is among them.
    """

    events: int = 0
    limit: int = 2**64 - 1
    hashes: bytes = b""
    counts: bytes = b""


class Pane(msgspec.Struct, frozen=True, array_like=True, tag="pane"):
    """One pane of one scope in one source partition. ``rows`` are its events, late ones not among them.

    What was added since the first release stands at the end and has a default: panes of workers that do not know it yet
    are read, and they read those that have it. So the version stays.
    """

    scope: Scope
    start_ms: int
    size_ms: int
    source_topic: str
    source_partition: int
    baseline_id: str
    rows: int
    late: int
    numeric: NumericPart
    categories: tuple[CategoryPart, ...]
    counters: tuple[CategoryPart, ...]
    sample: SamplePart
    ids: IdPart = IdPart()


class Watermark(msgspec.Struct, frozen=True, array_like=True, tag="watermark"):
    """How far a source partition has come: every pane of it that ends at or before ``watermark_ms`` is out already.

    ``source_partitions`` is how many the source topic has: a window closes only when all of them have passed it.
    ``idle`` partitions hold nobody back. ``horizon_ms`` is where event time would be had it gone on at the pace of the
    clock: what windows close by when every partition is idle. ``position`` is the offset in the source up to which was
    read: who has read less than another said before knows nothing about idleness.
    """

    family: str
    source_topic: str
    source_partition: int
    source_partitions: int
    watermark_ms: int
    idle: bool
    horizon_ms: int
    position: int = 0


PaneMessage = Pane | Watermark

_codec: Versioned[PaneMessage] = Versioned(PaneMessage, VERSION, "pane message")
encode = _codec.encode
decode = _codec.decode


def column(raw: bytes, dtype: type[Item]) -> NDArray[Item]:
    """A read-only array over bytes of a part."""
    return np.frombuffer(raw, dtype=np.dtype(dtype).newbyteorder("<"))
