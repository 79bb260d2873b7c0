"""XID errors: what the driver says about a GPU that is breaking, or about a program that misused it."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import scoring, state
from detectors.counters import KnownCounters
from detectors.gpu.spells import Spells, clock
from detectors.parameters import check_bounds
from detectors.protocol import Ints, Scores, WindowBatch
from detectors.sparse import SparseColumns

CRITICAL_WEIGHT: Final = 100.0
"""What a critical error counts in the score, so that it stands out from any usual number of others."""


_LISTED: Final = 8
_BLANK: Final[dict[str, NDArray[Any]]] = {
    "code": np.full(_LISTED, -1, np.int64),
    "count": np.zeros(_LISTED, np.int64),
    "critical": np.zeros((), np.int64),
}


class XidParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``critical`` codes say that the GPU needs a reset or a replacement; any other is worth a ticket.

    Errors that come within ``hold_s`` of each other are one story: it ends so long after the last.
    """

    window_s: int = 10
    critical: tuple[int, ...] = (48, 63, 64, 74, 79, 94, 95)
    hold_s: int = 3_600

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), hold_s=(1, 30 * 86_400))


class GpuXid:
    """XID errors of a GPU since the first of a spell: one for each, a hundred for each critical one.

    The driver reports an error once, as an event, and the same fault again whenever the program or the link meets it:
    a spell goes on until ``hold_s`` have passed without one.

    Parameters
    ----------
    params
        See :class:`XidParams`.

    Notes
    -----
    O(G) for G GPUs that ever had one; some 180 bytes of state each. No noise: each is an event of its own. The label
    lists the codes of the spell, the critical ones first; of more than eight codes the first eight.

    References
    ----------
    .. [1] NVIDIA, "XID Errors", GPU deployment and management documentation.
    """

    kind: ClassVar[str] = "gpu_xid"
    state_version: ClassVar[int] = 2

    def __init__(self, params: XidParams | None = None) -> None:
        self.params = params or XidParams()
        self.window_s = self.params.window_s
        self._counters = KnownCounters("xid")
        self._spells = Spells(self.params.hold_s)
        self._codes = SparseColumns(_BLANK)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every GPU with samples that ever had an XID error."""
        categories = windows.categories
        subject, at = self._counters.find(windows)
        found = [
            {code: int(n) for code, n in zip(categories.values[i], categories.cur[i], strict=False) if n > 0}
            if i >= 0
            else {}
            for i in at.tolist()
        ]
        new = np.array([sum(counts.values()) for counts in found], np.int64)
        count = self._spells.add(subject.series, windows.start_ms, windows.size_ms, new)
        places = self._codes.places(subject.series)
        self._codes.blank(places[count == new])
        for row in np.flatnonzero(new).tolist():
            self._note(int(places[row]), found[row])
        critical = self._codes["critical"][places]
        last_ms = self._spells.last_ms(subject.series)
        measured = scoring.Measured(
            score=count + (CRITICAL_WEIGHT - 1) * critical,
            floor=1.0,
            value=count.astype(np.float64),
            reference=0.0,
            label=[self._label(place) for place in places.tolist()],
            since_ms=self._spells.since_ms(subject.series),
            note=lambda row: f"the last by {clock(int(last_ms[row]))}",
        )
        return scoring.scores(self.kind, "errors", subject, subject.rows > 0, measured)

    def _note(self, place: int, counts: Mapping[str, int]) -> None:
        codes, listed = self._codes["code"][place], self._codes["count"][place]
        for text, n in counts.items():
            # What is over a cap comes under a name of its own.
            code = int(text) if text.isdecimal() else -2
            own = np.flatnonzero((codes == code) | (codes == -1))
            if len(own):
                codes[own[0]], listed[own[0]] = code, listed[own[0]] + n
            if code in self.params.critical:
                self._codes["critical"][place] += n

    def _label(self, place: int) -> str:
        pairs = zip(self._codes["code"][place].tolist(), self._codes["count"][place].tolist(), strict=True)
        seen = {code: n for code, n in pairs if code >= 0}
        order = sorted(seen, key=lambda code: (code not in self.params.critical, code))
        return ", ".join(f"{code} × {seen[code]}" if seen[code] > 1 else str(code) for code in order)

    def forget(self, series: Ints) -> None:
        """Drop ``series``."""
        self._counters.forget(series)
        self._spells.forget(series)
        self._codes.forget(series)

    def to_bytes(self) -> bytes:
        """Which GPUs have the counter, and their spells."""
        parts = (self._counters, self._spells, self._codes)
        return state.join(
            self.kind, self.state_version, [part.to_bytes(self.kind, self.state_version) for part in parts]
        )

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector, version = cls(msgspec.convert(params, XidParams)), cls.state_version
        counters, spells, codes = state.split(raw, cls.kind, version, 3)
        detector._counters = KnownCounters.from_bytes(counters, cls.kind, version, "xid")
        detector._spells = Spells.from_bytes(spells, cls.kind, version, detector.params.hold_s)
        detector._codes = SparseColumns.from_bytes(codes, cls.kind, version, _BLANK)
        return detector
