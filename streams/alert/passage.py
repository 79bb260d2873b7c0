"""How far event time has come, and which windows have been folded: what makes a repeat of the log harmless."""

import hashlib

from schemas.findings import Finding, Progress
from streams.alert.state import BookState

ANY = ""
"""The family of a progress message that names none: it speaks for all of them."""


class Passage:
    """Event time per family of events, and the latest window folded of every series.

    Families move apart (yesterday's predictions are replayed beside today's GPUs), so each has its own time: the least
    that a partition of ``panes`` has reached.

    Parameters
    ----------
    known
        Of which ``progress`` and ``seen`` are kept up to date.
    horizon_ms, max_series
        How far the analyse stage may step back; how many series are remembered.
    """

    def __init__(self, known: BookState, horizon_ms: int, max_series: int) -> None:
        self._known, self._horizon_ms, self._max_series = known, horizon_ms, max_series
        self.overflow = 0

    def through_ms(self, family: str) -> int | None:
        """Event time that every known partition has passed for a family; None before the first message."""
        progress = self._known.progress
        return min((progress.get(family) or progress.get(ANY, {})).values(), default=None)

    def advance(self, message: Progress) -> tuple[str, int] | None:
        """Take a message; the family whose time has moved on, and its time before. None if nothing moved."""
        # Messages that do not name their family are read too: event time is then common to all families.
        family = message.family or ANY
        partitions = self._known.progress.setdefault(family, {})
        before_ms = min(partitions.values(), default=None)
        partition = message.source_partition
        partitions[partition] = max(partitions.get(partition, message.through_ms), message.through_ms)
        moved = before_ms is not None and min(partitions.values()) > before_ms
        return (family, before_ms) if moved and before_ms is not None else None

    def is_repeat(self, finding: Finding, series: str) -> bool:
        """Whether this window of the series has been folded; it is remembered if not."""
        family, end_ms = finding.scope.family.value, finding.window_start_ms + finding.window_ms
        own = self._known.progress.get(family)
        if own and end_ms <= min(own.values()) - self._horizon_ms:
            return True
        seen = self._known.seen.setdefault(family, {})
        if seen.get(series, end_ms - 1) >= end_ms:
            return True
        seen.pop(series, None)
        seen[series] = end_ms
        if len(seen) > self._max_series:
            del seen[next(iter(seen))]
            self.overflow += 1
        return False

    def prune(self, family: str, through_ms: int) -> None:
        """Forget what the analyse stage cannot come back to."""
        for name in self._known.seen if family == ANY else [family]:
            seen = self._known.seen.get(name, {})
            for series in [key for key, end_ms in seen.items() if end_ms <= through_ms - self._horizon_ms]:
                del seen[series]


def series_of(finding: Finding) -> str:
    """What identifies the series a finding belongs to: its scope, quantity, detector, kind and window length."""
    scope = finding.scope
    parts = (scope.family, scope.model, scope.model_version, scope.segment, finding.kind, finding.detector)
    text = "\x1f".join((*parts, finding.quantity, str(finding.window_ms)))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
