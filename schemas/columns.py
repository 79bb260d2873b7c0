"""Decoded events as columns: one numpy array per field, never an object per event.

Every source family decodes into the same :class:`EventColumns`, so that everything behind the decoder is one code path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.scopes import Family

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.int32]


class Reason(StrEnum):
    """Why an event went to the dead letters. Bounded: it is a metric label."""

    NULL_VALUE = "null_value"
    TOO_LARGE = "too_large"
    UNKNOWN_ENCODING = "unknown_encoding"
    INVALID_JSON = "invalid_json"
    INVALID_ARROW = "invalid_arrow"
    INVALID_FRAMING = "invalid_framing"
    INVALID_BATCH = "invalid_batch"
    SCHEMA_MISMATCH = "schema_mismatch"
    TIME_BEFORE_2000 = "time_before_2000"
    TIME_IN_FUTURE = "time_in_future"


@dataclass(frozen=True, slots=True, eq=False)
class CodedTexts(Sequence[str]):
    """Texts as places in a table of distinct ones: ``values[codes[i]]`` is text ``i``.

    Counting categories is one ``bincount`` of ``codes``. Reads like any sequence of texts.

    Examples
    --------
    >>> list(CodedTexts(np.array([1, 0, 1], np.int32), ("DE", "FR")))
    ['FR', 'DE', 'FR']
    """

    codes: Codes
    values: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "CodedTexts": ...
    def __getitem__(self, place: int | slice) -> "str | CodedTexts":
        if isinstance(place, slice):
            return CodedTexts(self.codes[place], self.values)
        return self.values[int(self.codes[place])]


class EventKey(msgspec.Struct, frozen=True, cache_hash=True):
    """What tells the scopes of an event: dictionary-encoded, one per distinct combination in a batch.

    ``segments`` are ``("name", "value")`` pairs by ascending name; which of them become scopes is decided later.
    """

    model: str
    model_version: str = ""
    segments: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FeatureBlock:
    """The features of those events of a batch that carry the same feature names, in whatever order.

    Attributes
    ----------
    rows
        int64[n], ascending: places in the batch.
    names
        k feature names, ascending.
    values
        float64[k, n], C-contiguous, one row per feature; NaN where the value is null, not finite, or text.
    texts
        Feature index → (int64[m] places *within the block*, ascending; m texts). Strings as they are, booleans as
        ``"true"`` and ``"false"``. A place is never both a number and a text; what is neither is null. The decoders
        give :class:`CodedTexts`.
    """

    rows: Ints
    names: tuple[str, ...]
    values: Floats
    texts: Mapping[int, tuple[Ints, Sequence[str]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CountedColumn:
    """A counter: (row, value) pairs, none, one or several per event (a status, a decision, XIDs, throttle reasons).

    ``values[codes[i]]`` was seen in the event at place ``rows[i]``; ``rows`` is ascending.
    """

    rows: Ints
    codes: Codes
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that could not be used: its place among the records handed to the decoder, and why."""

    record: int
    reason: Reason
    message: str
    """The decoder's words: what is wrong and at which field (``$.latency_ms``)."""
    events: int = 1


@dataclass(frozen=True, slots=True)
class EventColumns:
    """The usable events of one micro-batch, in the order of (record, place within the record).

    Attributes
    ----------
    record
        int64[n], ascending: place of the event's message among the records handed to the decoder.
    index
        int64[n]: place of the event within its message; 0 for one-event messages.
    ts_ms
        int64[n]: event time, ms since the epoch.
    key
        int32[n]: place in ``keys``.
    numeric
        Quantity → float64[n], NaN for null: ``latency_ms``, ``score``, ``cost_usd``, ``gen_ai.*``, GPU gauges. A
        quantity that is null in every event of the batch is left out. Arrays may be read-only.
    counted
        Counter → its pairs: ``status``, ``decision``, ``xid``, ``clocks_event_reason``; and what the decoder had to
        change in an event it kept: ``non_finite`` (an infinity became null; the value is the quantity) and
        ``truncated`` (something was over a limit; the value is ``features``, ``segments`` or ``texts``). A counter
        without a pair is left out.
    blocks
        The features, one block per distinct set of names.
    event_id
        n texts (``""`` when unknown): exemplars in alerts. Made, and cut to the length limit, when they are read:
        index the few that are wanted rather than going through all.
    """

    family: Family
    record: Ints
    index: Ints
    ts_ms: Ints
    key: Codes
    keys: tuple[EventKey, ...]
    numeric: Mapping[str, Floats]
    counted: Mapping[str, CountedColumn]
    blocks: tuple[FeatureBlock, ...]
    event_id: Sequence[str]

    def __len__(self) -> int:
        return len(self.ts_ms)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a decoder makes of a micro-batch: nothing is lost, every record is in one or the other."""

    columns: EventColumns
    dead: Sequence[DeadLetter]
