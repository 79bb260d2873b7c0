r"""How fast an error budget is used up, over several windows at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, Self

import msgspec
import numpy as np

from detectors import scoring, special
from detectors.histograms import log
from detectors.parameters import ParameterError, check_bounds
from detectors.protocol import Floats, Ints, Scores, WindowBatch
from detectors.slo.objectives import MAX_SLOS, TIERS, Slo, Tier, edge_ms, edge_of, span
from detectors.slo.rings import BadAndTotal

_ERRORS: Final = 0
"""What :meth:`BadAndTotal.add` is told that bad events of an availability objective are; else the bin's edge."""
_DAY_S: Final = 86_400


class SloParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``slos`` come from the section of that name; without any nothing is ready.

    ``false_alarm_ratio`` is how often chance may make as many bad events as are asked for, where exactly as many as
    allowed are to be expected: it keeps few events quiet.
    """

    window_s: int = 60
    false_alarm_ratio: float = 1e-4
    slos: tuple[Slo, ...] = ()

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 60), false_alarm_ratio=(1e-12, 0.1))
        names = [slo.name for slo in self.slos]
        if len(set(names)) < len(names) or len(names) > MAX_SLOS:
            raise ParameterError(f"SloParams.slos: give at most {MAX_SLOS}, each with a name of its own")


@dataclass(frozen=True, slots=True)
class _Counted:
    """The k series of a window that objectives are about: which objective, whose, how many events and bad ones."""

    slo: Ints
    series: Ints
    scope: Ints
    bad: Ints
    total: Ints


@dataclass(frozen=True, slots=True)
class _Seen:
    """Where k series stand in the rings, since how many seconds they are known, and the window they are judged in."""

    slots: Ints
    seconds: Floats
    start_ms: int


@dataclass(frozen=True, slots=True)
class _Burn:
    """One tier of k series: burn rates, the bad share and the events of its long window, and what chance makes."""

    tier: Tier
    long: Floats
    short: Floats
    ratio: Floats
    rows: Ints
    noise: Floats

    @property
    def score(self) -> Floats:
        """Burn over the tier's, both windows, less where chance could burn as much: 1 is where the tier begins."""
        return np.minimum(self.long / np.maximum(self.noise / self.tier.burn, 1), self.short) / self.tier.burn


class SloBurn:
    r"""Burn rate of each objective's error budget over the rate that calls for somebody, by the worst of three tiers.

    With the share $b$ of bad events over a window and the objective $o$ the burn rate is $b / (1 - o)$: at 1 the
    budget is used up exactly when its window has passed. A tier (14.4 over 1 h and 5 min, 6 over 6 h and 30 min, 1
    over 3 d and 6 h) holds when the long window *and* the short one reach its rate: the long one makes it matter, the
    short one ends it soon after the cause has ended. The score is $\max_t \min(B_{long}, B_{short}) / r_t$. Where few
    events are expected to be bad, the long window must also have more than the Poisson bound of those: one failure of
    three is 33 %, and no news.

    Before a scope was first seen nothing is held against it: its windows count whole, with no bad event in the part
    that it has not lived. So a warm-up does not page, an outage does.

    Parameters
    ----------
    params
        See :class:`SloParams`.

    Attributes
    ----------
    counts
        Bad and all events of every objective and scope.

    Notes
    -----
    O(objectives · S); 3.1 kB of state per objective and scope. A minute without an event is not ready and no error.
    A threshold stands at the nearest edge between two bins, 1 % off at most. The label names the tier; the value is the
    bad share of its long window, the reference what is allowed.

    References
    ----------
    .. [1] B. Beyer et al., "The Site Reliability Workbook", chapter 5, 2018.
    """

    kind: ClassVar[str] = "slo"
    state_version: ClassVar[int] = 1

    def __init__(self, params: SloParams | None = None) -> None:
        self.params = params or SloParams()
        self.window_s = self.params.window_s
        self._z = special.z_of(self.params.false_alarm_ratio)
        self.counts = BadAndTotal()
        slos = self.params.slos
        self._meaning = np.array([edge_of(slo.threshold_ms) if slo.threshold_ms else _ERRORS for slo in slos], np.int64)
        self._allowed = np.array([slo.allowed_ratio for slo in slos], np.float64)

    def step(self, windows: WindowBatch) -> Scores:
        """Count the window, then judge every objective of every scope that had an event in it."""
        counted = self._count(windows)
        end_ms = windows.start_ms + windows.size_ms
        self.counts.add(counted.series, self._meaning[counted.slo], windows.start_ms, counted.bad, counted.total)
        slots = self.counts.slots(counted.series)
        seen = _Seen(slots, self.counts.seen_s(slots, end_ms), windows.start_ms)
        allowed = self._allowed[counted.slo]
        burns = [self._burn(tier, seen, allowed) for tier in TIERS]
        score = np.stack([burn.score for burn in burns])
        worst = _worst(score)
        pick = np.arange(len(slots))

        def at_worst(columns: list[Floats]) -> Floats:
            return np.asarray(np.stack(columns)[worst, pick], np.float64)

        noise = at_worst([burn.noise / burn.tier.burn for burn in burns])
        measured = scoring.Measured(
            score=score.max(axis=0),
            floor=1.0,
            noise=np.minimum(noise, 1.0),
            value=at_worst([burn.ratio for burn in burns]),
            reference=allowed,
            threshold=at_worst([allowed * burn.tier.burn for burn in burns]) * np.maximum(noise, 1),
            label=[TIERS[i].label for i in worst.tolist()],
            note=self._note(counted.slo, [(burns[i], k) for k, i in enumerate(worst.tolist())], seen),
        )
        names = [self.params.slos[i].subject for i in counted.slo.tolist()]
        rows = np.stack([burn.rows for burn in burns])[worst, pick] if len(pick) else np.empty(0, np.int64)
        subject = scoring.Subject(counted.series, counted.scope, names, rows)
        return scoring.scores(self.kind, "share of events", subject, counted.total > 0, measured)

    def _count(self, windows: WindowBatch) -> _Counted:
        parts = []
        for number, slo in enumerate(self.params.slos):
            series = windows.scopes.series.get(slo.series)
            if series is None:
                continue
            bad, total = _latency(windows, slo) if slo.threshold_ms else (windows.scopes.errors, windows.scopes.rows)
            # Only what has had an event costs anything: a model without the quantity never does.
            own = np.flatnonzero((series >= 0) & ((total > 0) | self.counts.known(series)))
            parts.append((np.full(len(own), number), series[own], own, bad[own], total[own]))
        columns = [np.concatenate(part).astype(np.int64) for part in zip(*parts, strict=True)]
        return _Counted(*(columns or [np.empty(0, np.int64)] * 5))

    def _burn(self, tier: Tier, seen: _Seen, allowed: Floats) -> _Burn:
        bad, total = self.counts.over(seen.slots, seen.start_ms, tier.long_s)
        now_bad, now_total = self.counts.over(seen.slots, seen.start_ms, tier.short_s)
        lived = np.minimum(seen.seconds / tier.long_s, 1)
        ratio = bad / np.maximum(total, 1) * lived
        expected = total * allowed
        noise = special.count_upper(expected, self._z) / np.maximum(expected, 1e-300) * lived
        short = now_bad / np.maximum(now_total, 1) * np.minimum(seen.seconds / tier.short_s, 1) / allowed
        return _Burn(tier, ratio / allowed, short, ratio, total, noise)

    def _note(self, slo: Ints, worst: list[tuple[_Burn, int]], seen: _Seen) -> Callable[[int], str]:
        def note(place: int) -> str:
            objective, (burn, k) = self.params.slos[slo[place]], worst[place]
            tier, rate = burn.tier, float(burn.short[k])
            left = self._budget_left(objective, seen, place)
            parts = [
                f"burns the budget of {objective.window_days} d {burn.long[k]:.3g}x as fast as allowed",
                f"{rate:.3g}x over the last {span(tier.short_s)}",
                f"{100 * left:.3g} % of it left" if left > 0 else f"it is spent {1 - left:.3g} times",
            ]
            if left > 0 and rate > 0:
                parts.append(f"gone in {span(left * objective.window_days * _DAY_S / rate)} at this rate")
            if objective.threshold_ms:
                parts.append(f"counted over {edge_ms(objective.threshold_ms):.4g} ms, the nearest edge of a bin")
            return ", ".join(parts)

        return note

    def _budget_left(self, slo: Slo, seen: _Seen, place: int) -> float:
        """The share of the budget that is left, below 0 when it is overspent.

        A scope that is younger than the window has the budget of its traffic so far carried on to the whole of it.
        """
        window_s = slo.window_days * _DAY_S
        slot = seen.slots[place : place + 1]
        bad, total = (int(counts[0]) for counts in self.counts.over(slot, seen.start_ms, window_s))
        lived_s = min(max(float(seen.seconds[place]), 1.0), window_s)
        budget = slo.allowed_ratio * total * window_s / lived_s
        return 1 - bad / budget if budget > 0 else 1.0

    def forget(self, series: Ints) -> None:
        """Drop the counts of ``series``."""
        self.counts.forget(series)

    def to_bytes(self) -> bytes:
        """All counts."""
        return self.counts.to_bytes(self.kind, self.state_version)

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector = cls(msgspec.convert(params, SloParams))
        detector.counts = BadAndTotal.from_bytes(raw, cls.kind, cls.state_version)
        return detector


def _worst(score: Floats) -> Ints:
    """The tier to speak of, int64[k], by scores float64[tiers, k]: one that pages before one that does not."""
    paging = score[[tier.page for tier in TIERS]]
    fast = paging.argmax(axis=0)
    return np.asarray(np.where(paging.max(axis=0) >= 1, fast, score.argmax(axis=0)), np.int64)


def _latency(windows: WindowBatch, slo: Slo) -> tuple[Ints, Ints]:
    """(slow, all) int64[S] of the scopes' values of an objective's quantity."""
    latencies, numeric = windows.latencies, windows.numeric
    cur = latencies.cur
    edges = np.full(len(latencies.place), edge_of(slo.threshold_ms))
    slow = log.counts_above(cur.bins, cur.counts, cur.offsets, edges)
    everything = log.counts_above(cur.bins, cur.counts, cur.offsets, np.full_like(edges, -log.LARGEST_BIN - 1))
    own = np.array([numeric.name[i] == slo.quantity for i in latencies.place.tolist()], np.bool_)
    bad, total = np.zeros(len(windows.scopes.id), np.int64), np.zeros(len(windows.scopes.id), np.int64)
    at = numeric.scope[latencies.place[own]]
    bad[at], total[at] = slow[own], everything[own]
    return bad, total
