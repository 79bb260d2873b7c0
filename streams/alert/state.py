"""What the alert stage remembers between findings; all of it is plain, bounded, and restored without a pickle."""

import math
from typing import Final

import msgspec

from schemas.alerts import Status
from schemas.findings import Finding, Severity
from schemas.scopes import Scope
from streams.alert.policy import Group

VERSION: Final = 1


class Matcher(msgspec.Struct, frozen=True, array_like=True):
    """One condition of a silence on a label, as Alertmanager has it; a regular expression matches the whole value."""

    name: str
    value: str
    is_regex: bool = False
    is_equal: bool = True


class Silence(msgspec.Struct, frozen=True):
    """Alerts whose labels meet every matcher are tracked but not published from ``starts_ms`` until ``ends_ms``."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_ms: int
    ends_ms: int


class Member(msgspec.Struct, frozen=True):
    """One series that fires within an alert: its latest finding, when it began, and when it ended if it has."""

    finding: Finding
    severity: Severity
    since_ms: int
    ended_ms: int = 0

    @property
    def end_ms(self) -> int:
        """End of the window of its latest finding, event time."""
        return self.finding.window_start_ms + self.finding.window_ms

    @property
    def excess(self) -> float:
        """How bad it is among findings of its detector: the score, 0 where there is none."""
        return self.finding.score if math.isfinite(self.finding.score) else 0.0


class Track(msgspec.Struct):
    """One fingerprint's life. ``members`` fire now; the rest tells what has been said about them.

    ``status`` is that of the last recorded event; ``told`` whether receivers think that it fires. ``said_rank``,
    ``said_kinds``, ``said_tops`` and ``said_count`` are what was said in this episode, last at ``recorded_ms``;
    ``lasting`` the worst member that has ended in it, from which a resolve is told; ``recent`` those that ended a short
    while ago.
    ``dirty_ms`` is the event time of what has not been evaluated yet, None when all has.
    """

    fingerprint: str
    group: Group
    scope: Scope
    labels: dict[str, str]
    members: dict[str, Member] = {}
    id: str = ""
    status: Status = Status.RESOLVED
    told: bool = False
    sequence: int = 0
    starts_ms: int = 0
    ends_ms: int = 0
    recorded_ms: int = 0
    dirty_ms: int | None = None
    said_rank: int = -1
    said_kinds: list[str] = []
    said_tops: list[str] = []
    said_count: float = 0.0
    lasting: Member | None = None
    recent: dict[str, Member] = {}

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing fires in it and nothing waits to be decided."""
        return not self.members and self.dirty_ms is None


class BookState(msgspec.Struct):
    """The whole fold.

    ``progress`` holds by family the event time that each partition of ``panes`` has reached, ``seen`` by family the end
    of the latest window folded of each series.
    """

    tracks: dict[str, Track] = {}
    silences: dict[str, Silence] = {}
    progress: dict[str, dict[int, int]] = {}
    seen: dict[str, dict[str, int]] = {}


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(BookState)


def encode(state: BookState) -> bytes:
    """The state as bytes, behind a version byte."""
    return bytes([VERSION]) + _encoder.encode(state)


def decode(raw: bytes) -> BookState:
    """The state in ``raw``.

    Raises
    ------
    msgspec.ValidationError
        If the version byte is unknown or the bytes are no state.
    """
    if not raw or raw[0] != VERSION:
        raise msgspec.ValidationError(f"alert state of version {raw[:1].hex() or 'none'}, this reader knows {VERSION}")
    return _decoder.decode(memoryview(raw)[1:])
