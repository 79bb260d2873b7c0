"""What the broker and CloudEvents headers say of a message, for what its body does not."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import numpy as np

from schemas.columns import Ints
from schemas.common import INT64_MIN

Headers = Iterable[tuple[str, bytes | None]]


class Hints:
    """Append times and headers of the records of one micro-batch.

    Parameters
    ----------
    count
        Records in the batch.
    headers
        One collection of (name, value) per record, as Kafka clients give them, or None for a record without any.
    timestamps_ms
        The broker's append times; ≤ 0 where there is none.
    """

    def __init__(
        self, count: int, headers: Sequence[Headers | None] | None, timestamps_ms: Sequence[int] | Ints | None
    ) -> None:
        self.append_ms: Ints = (
            np.full(count, -1, np.int64) if timestamps_ms is None else np.asarray(timestamps_ms, np.int64)
        )
        self._headers = headers

    @property
    def empty(self) -> bool:
        """Whether no record has a header."""
        return self._headers is None or not any(self._headers)

    def event_id(self, record: int) -> str:
        """``ce_id``, ``""`` when there is none."""
        return self._text(record, "ce_id")

    def time_ms(self, record: int) -> int:
        """``ce_time`` (RFC 3339) in milliseconds, ``INT64_MIN`` when there is none or it cannot be read."""
        text = self._text(record, "ce_time")
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return INT64_MIN
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // _MILLISECOND

    def _text(self, record: int, name: str) -> str:
        for known, value in (self._headers[record] if self._headers else None) or ():
            if known.lower() == name and value is not None:
                return value.decode("utf-8", "replace")
        return ""


_MILLISECOND = datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
