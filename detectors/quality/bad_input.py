"""Share of events that could not be decoded: a producer speaks another language since its last release."""

from typing import ClassVar, Self

import msgspec
import numpy as np

from detectors import scoring, state
from detectors.counters import KnownCounters
from detectors.parameters import check_bounds
from detectors.protocol import Ints, Scores, WindowBatch
from detectors.state import Columns


class BadInputParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """More than ``floor_ratio`` of at least ``min_events`` events."""

    window_s: int = 10
    floor_ratio: float = 0.5
    min_events: int = 1_000

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(0, 1), min_events=(1, 10**9))


_BLANK = {"events": np.zeros((), np.int64), "bad": np.zeros((), np.int64)}


class BadInput:
    """Undecodable share of a source topic, over as many windows as it takes to see ``min_events`` events.

    It looks at the counter ``reason``, which only the scope of undecodable events has: ``rows`` are all events of its
    topic, the counter those that went to the dead letters, by reason. A busy topic is judged every window, a quiet one
    as soon as enough has come.

    Parameters
    ----------
    params
        See :class:`BadInputParams`.

    Notes
    -----
    O(C); 16 bytes of state per series. No noise bound: at a thousand events and a floor of a half none is needed.
    """

    kind: ClassVar[str] = "bad_input"
    state_version: ClassVar[int] = 1

    def __init__(self, params: BadInputParams | None = None) -> None:
        self.params = params or BadInputParams()
        self.window_s = self.params.window_s
        self._state = Columns(_BLANK)
        self._counters = KnownCounters("reason")

    def step(self, windows: WindowBatch) -> Scores:
        """Add the window up; score and start over where enough has come."""
        subject, places = self._counters.find(windows)
        counted = np.append(windows.categories.cur.sum(axis=1), 0)[places]
        self._state.reserve(subject.series)
        events = self._state["events"][subject.series] + subject.rows
        bad = self._state["bad"][subject.series] + np.minimum(counted, subject.rows)
        ready = events >= self.params.min_events
        self._state["events"][subject.series] = np.where(ready, 0, events)
        self._state["bad"][subject.series] = np.where(ready, 0, bad)
        subject = scoring.Subject(subject.series, subject.scope, subject.quantity, events)
        measured = scoring.Measured(score=bad / np.maximum(events, 1), floor=self.params.floor_ratio, reference=0.0)
        return scoring.scores(self.kind, "share of events", subject, ready, measured)

    def forget(self, series: Ints) -> None:
        """Drop the counts of ``series``."""
        self._state.forget(series)
        self._counters.forget(series)

    def to_bytes(self) -> bytes:
        """The counts, and whose they are."""
        parts = {
            "counts": self._state.to_bytes(self.kind, self.state_version),
            "known": self._counters.to_bytes(self.kind, self.state_version),
        }
        return state.pack(self.kind, self.state_version, {k: np.frombuffer(v, np.uint8) for k, v in parts.items()})

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector = cls(msgspec.convert(params, BadInputParams))
        parts = {k: v.tobytes() for k, v in state.unpack(raw, cls.kind, cls.state_version).items()}
        detector._state = Columns.from_bytes(parts["counts"], cls.kind, cls.state_version, _BLANK)
        detector._counters = KnownCounters.from_bytes(parts["known"], cls.kind, cls.state_version, "reason")
        return detector
