r"""From scores to decisions: the one place where it is said what is a finding.

A window is *evidence* against a series if the detector is ready, its score is at the floor or over, over what
sampling noise explains, and (where it has p-values) passes Benjamini-Hochberg's control of false discoveries over
all quantities of its scope. A finding fires when k of the last m ready windows are evidence and ends when fewer than
a lower number are. Windows that are not ready do neither.

How loud it is follows from the *strength* of a window, which grows with the score's distance from its limit and with
persistence; how sure it is from that strength beside the detector's own past (:mod:`detectors.confidence`).

References
----------
.. [1] Y. Benjamini, Y. Hochberg, "Controlling the false discovery rate", 1995.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from detectors.confidence import NullStrength
from detectors.protocol import Bools, Floats, Ints, Scores
from detectors.registry import REGISTRY, Rule
from detectors.state import Columns, StateError, pack, unpack
from schemas.findings import Severity

SEVERITIES: Final = (Severity.INFO, Severity.TICKET, Severity.PAGE)
"""What the codes of :attr:`Decisions.severity` mean."""
FALSE_DISCOVERY_RATIO: Final = 0.01
_NULL: Final = "#null."
_LASTING: Final = "#lasting."
_BLANK: Final = {
    "evidence": np.zeros((), np.uint32),
    "firing": np.zeros((), np.bool_),
    "since_ms": np.zeros((), np.int64),
}
_UNFELT: Final = {"felt": np.zeros((), np.uint32)}


@dataclass(frozen=True, slots=True)
class Decisions:
    """What is to be said about n series, in the order of the scores.

    ``evidence`` bool[n]: this window speaks against the series. ``firing`` bool[n]: a finding holds (also through
    windows that are not ready); ``started`` and ``cleared`` bool[n]: since this window, no longer since this window.
    ``since_ms`` int64[n]: start of the first window of the evidence, 0 where there is none. ``strength`` float64[n],
    0…1, NaN where not ready: grows with the score's distance from its limit and with the share of windows that agree.
    ``confidence`` float64[n], 0…1: how sure it is that there is something, comparable across detectors; NaN where not
    ready, and where there is neither evidence nor a finding. ``severity`` int8[n]: places in :data:`SEVERITIES`,
    meaningful where firing or cleared.
    """

    evidence: Bools
    firing: Bools
    started: Bools
    cleared: Bools
    since_ms: Ints
    strength: Floats
    confidence: Floats
    severity: NDArray[np.int8]


def discoveries(p_value: Floats, group: Ints, ratio: float = FALSE_DISCOVERY_RATIO) -> Bools:
    """Which of n tests Benjamini-Hochberg rejects at ``ratio`` within each group; False where the p-value is NaN.

    Parameters
    ----------
    p_value
        float64[n].
    group
        int64[n], ≥ 0.

    Examples
    --------
    >>> discoveries(np.array([0.001, 0.008, 0.03, 0.008]), np.array([0, 0, 0, 1]))
    array([ True, False, False,  True])
    """
    result = np.zeros(len(p_value), np.bool_)
    tested = np.flatnonzero(~np.isnan(p_value))
    order = tested[np.lexsort((p_value[tested], group[tested]))]
    if not len(order):
        return result
    sorted_group = group[order]
    starts = np.flatnonzero(np.diff(sorted_group, prepend=-1))
    sizes = np.diff(starts, append=len(order))
    rank = np.arange(len(order)) - np.repeat(starts, sizes) + 1
    passes = p_value[order] <= ratio * rank / np.repeat(sizes, sizes)
    last = np.maximum.reduceat(np.where(passes, rank, 0), starts)
    result[order] = rank <= np.repeat(last, sizes)
    return result


def evidence(scores: Scores, ratio: float = FALSE_DISCOVERY_RATIO) -> Bools:
    """Which series this window speaks against: bool[n]."""
    # Comparisons with NaN, that is with what is not ready, are false.
    against = scores.ready & (scores.score >= scores.floor) & (scores.score > scores.noise)
    if not against.any():
        return against
    # Only scopes with a candidate need their p-values ordered: on a quiet day there is none.
    concerned = np.zeros(int(scores.scope.max()) + 1, np.bool_)
    concerned[scores.scope[against]] = True
    within = concerned[scores.scope]
    p_value = np.where(within & scores.ready, scores.p_value, np.nan)
    return against & (np.isnan(p_value) | discoveries(p_value, scores.scope, ratio))


class DecisionBank:
    """The memory of all detectors' series: the last windows' evidence, whether a finding holds, and since when.

    Parameters
    ----------
    rules
        Detector kind → rule, for those that should not keep the registry's.
    false_discovery_ratio
        Share of findings that may be false, among a scope's quantities, 0…1.

    Notes
    -----
    O(n) per step; 17 bytes per (detector, series).
    """

    state_version: ClassVar[int] = 1

    def __init__(
        self, rules: Mapping[str, Rule] | None = None, false_discovery_ratio: float = FALSE_DISCOVERY_RATIO
    ) -> None:
        self._rules = {kind: spec.rule for kind, spec in REGISTRY.items()} | dict(rules or {})
        self._ratio = false_discovery_ratio
        self._states: dict[str, Columns] = {}
        self._nulls: dict[str, NullStrength] = {}
        self._lasting: dict[str, Columns] = {}

    def decide(self, scores: Scores, start_ms: int, size_ms: int) -> Decisions:
        """The decisions for one detector's scores of the window of ``size_ms`` that starts at ``start_ms``.

        Raises
        ------
        KeyError
            If the detector has no rule: register it.
        """
        rule, series, ready = self._rules[scores.detector], scores.series, scores.ready
        memory = self._states.setdefault(scores.detector, Columns(_BLANK))
        memory.reserve(series)
        against = evidence(scores, self._ratio)
        before, was_firing = memory["evidence"][series], memory["firing"][series]
        recent = np.where(ready, ((before << np.uint32(1)) | against) & _mask(rule.m), before)
        hits = _count(recent)
        fires = hits >= rule.k
        urgent = rule.urgent_when(scores) & ready if rule.urgent_when else np.zeros(len(series), np.bool_)
        quick = _count(recent & _mask(rule.urgent_m))
        fires |= urgent & (quick >= rule.urgent_k)
        firing = np.where(ready, np.where(was_firing, hits >= rule.clear_below, fires), was_firing)
        # Until it fires, it began with the oldest of the windows that count; then that is kept.
        some = np.flatnonzero(recent)
        began = np.zeros(len(series), np.int64)
        began[some] = start_ms - np.floor(np.log2(recent[some].astype(np.float64))).astype(np.int64) * size_ms
        if scores.since_ms is not None:
            began = np.where((recent > 0) & (scores.since_ms > 0), np.minimum(scores.since_ms, began), began)
        since = np.where(was_firing, memory["since_ms"][series], began)
        memory["evidence"][series], memory["firing"][series], memory["since_ms"][series] = recent, firing, since
        full = rule.full or rule.m
        share = np.minimum(hits / full, 1.0)
        share = np.where(urgent, np.maximum(share, quick / rule.urgent_m), share)
        excess = _excess(scores)
        strength = excess * share
        null = self._nulls.setdefault(scores.detector, NullStrength())
        noted = excess * np.maximum(share, 1 / full)
        confidence = np.where(ready, 1.0, np.nan)
        if not rule.certain:
            asked = against | firing | was_firing
            confidence[~asked] = np.nan
            confidence[asked] = null.confidence(series[asked], noted[asked])
        null.learn(series, noted, against, ready & ~firing & ~was_firing)
        return Decisions(
            evidence=against,
            firing=firing,
            started=firing & ~was_firing,
            cleared=was_firing & ~firing,
            since_ms=since,
            strength=strength,
            confidence=confidence,
            severity=_severity(rule, scores, strength, self._lasts(rule, scores)),
        )

    def _lasts(self, rule: Rule, scores: Scores) -> Bools:
        """Where users have felt it in as many of the last windows as the rule wants: bool[n]."""
        if not rule.lasting_k or scores.felt is None:
            return np.zeros(len(scores.series), np.bool_)
        memory = self._lasting.setdefault(scores.detector, Columns(_UNFELT))
        memory.reserve(scores.series)
        before = memory["felt"][scores.series]
        shifted = ((before << np.uint32(1)) | scores.felt) & _mask(rule.lasting_m)
        recent = np.where(scores.ready, shifted, before)
        memory["felt"][scores.series] = recent
        return np.asarray(_count(recent) >= rule.lasting_k, np.bool_)

    def forget(self, series: Ints) -> None:
        """Drop what is known of series whose scope is gone."""
        for memory in (*self._states.values(), *self._lasting.values()):
            memory.forget(series)
        for null in self._nulls.values():
            null.forget(series)

    def to_bytes(self) -> bytes:
        """The whole memory."""
        arrays = {
            prefix + kind: np.frombuffer(memory.to_bytes(kind, self.state_version), np.uint8)
            for prefix, memories in (("", self._states), (_NULL, self._nulls), (_LASTING, self._lasting))
            for kind, memory in memories.items()
        }
        return pack("decision", self.state_version, arrays)

    @classmethod
    def from_bytes(
        cls, raw: bytes, rules: Mapping[str, Rule] | None = None, false_discovery_ratio: float = FALSE_DISCOVERY_RATIO
    ) -> Self:
        """The bank that continues where :meth:`to_bytes` was called.

        Raises
        ------
        StateError
            If the bytes are of something else or of another version.
        """
        bank = cls(rules, false_discovery_ratio)
        for kind, saved in unpack(raw, "decision", cls.state_version).items():
            if kind.startswith(_NULL):
                name = kind.removeprefix(_NULL)
                bank._nulls[name] = NullStrength.from_bytes(saved.tobytes(), name, cls.state_version)
                continue
            if kind.startswith(_LASTING):
                name = kind.removeprefix(_LASTING)
                bank._lasting[name] = Columns.from_bytes(saved.tobytes(), name, cls.state_version, _UNFELT)
                continue
            bank._states[kind] = Columns.from_bytes(saved.tobytes(), kind, cls.state_version, _BLANK)
        return bank


def _mask(windows: int) -> np.uint32:
    if not 0 < windows <= 32:
        raise StateError(f"a rule over {windows} windows: give 1 to 32")
    return np.uint32((1 << windows) - 1)


def _count(bits: NDArray[np.uint32]) -> NDArray[np.int64]:
    """How many bits are set in each."""
    return np.bitwise_count(bits).astype(np.int64)


def _excess(scores: Scores) -> Floats:
    """1 - 2^(-score / limit), a half at the limit, then nearer 1; times the share of windows that agree: strength."""
    limit = np.maximum(np.maximum(scores.floor, scores.noise), 1e-12)
    return np.where(scores.ready, 1 - np.exp2(-scores.score / limit), np.nan)


def _severity(rule: Rule, scores: Scores, strength: Floats, lasts: Bools) -> NDArray[np.int8]:
    level = np.full(len(scores.series), SEVERITIES.index(rule.severity), np.int8)
    if rule.page_when is not None:
        pages = rule.page_when(scores) & (strength >= rule.page_strength_ratio)
        level[pages] = SEVERITIES.index(Severity.PAGE)
    level[lasts] = SEVERITIES.index(Severity.PAGE)
    return level
