"""Decisions in words: one sentence for a finding, and what contributed to it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np

from detectors.protocol import Floats, Scores
from schemas.findings import Contribution
from schemas.scopes import OTHER, Scope

_NAMED: Final = frozenset(
    {
        "PSI", "JS distance", "KS distance", "null ratio", "error ratio", "mean", "changed ratio", "new ratio",
        "out-of-range ratio", "repeated ids ratio", "correlation", "span", "standard deviation",
    }
)  # fmt: skip
"""Units that stand before their number: "PSI 0.41", but "152 ms"."""


def explain(scores: Scores, place: int, scope: Scope, since_ms: int, segments: tuple[Contribution, ...] = ()) -> str:
    """One sentence about the series at ``place`` of ``scores``.

    Parameters
    ----------
    scope
        Its scope.
    since_ms
        Start of the evidence, ms since the epoch.
    segments
        Where it comes from, see :class:`Segments`.

    Returns
    -------
    "features.amount of fraud-scorer 3: PSI 0.41 against 0.1, mean 61.2 → 118.4 over 12,345 events since 10:42:10 UTC"
    """
    threshold = scores.floor if scores.threshold is None else scores.threshold
    label = scores.label[place] if scores.label else ""
    parts = [f"{_quantity(scores.unit, scores.value[place])} against {_number(threshold[place])}"]
    if scores.mean is not None and scores.ref_mean is not None and np.isfinite(scores.ref_mean[place]):
        parts.append(f"mean {_number(scores.ref_mean[place])} → {_number(scores.mean[place])}")
    elif np.isfinite(scores.reference[place]):
        parts.append(f"baseline {_number(scores.reference[place])}")
    note = scores.note(place) if scores.note else ""
    if segments:
        where = "most of it in " + ", ".join(f"{part.name} ({part.share_ratio:.0%})" for part in segments)
        note = f"{note}; {where}" if note else where
    begin = f"{scores.quantity[place]}{f' ({label})' if label else ''} of {_scope(scope)}"
    clock = datetime.fromtimestamp(since_ms / 1000, UTC).strftime("%H:%M:%S UTC")
    return f"{begin}: {', '.join(parts)} over {int(scores.rows[place]):,} events since {clock}{note and f'; {note}'}"


def contributions(scores: Scores, scope: int, most: int = 5) -> tuple[Contribution, ...]:
    """The quantities of one scope (its place in the window) by their share of its effect, largest first.

    The effect of a quantity is its score over its limit; what is below its limit takes no part.
    """
    places = np.flatnonzero((scores.scope == scope) & scores.ready)
    effect = _effect(scores)[places]
    kept = np.flatnonzero(effect >= 1)
    order = kept[np.argsort(-effect[kept], kind="stable")][:most]
    total = float(effect[kept].sum())
    return tuple(Contribution(scores.quantity[int(places[i])], float(effect[i]) / total) for i in order)


class Segments:
    """Which segments of a model a change comes from.

    A segment counts for as much as its score is over what sampling explains there, times its events. Segments by
    different keys overlap, so shares are of all segments that changed, and say where to look first.

    Parameters
    ----------
    scores
        Of one detector.
    keys
        The scopes of the window.
    """

    def __init__(self, scores: Scores, keys: Sequence[Scope]) -> None:
        self._of: dict[tuple[Scope, str], list[tuple[float, str]]] = {}
        if not any(key.segment for key in keys):
            return
        moved = scores.ready & (scores.score > scores.noise)
        weight = scores.rows * (scores.score - scores.noise)
        for place in np.flatnonzero(moved).tolist():
            scope = keys[int(scores.scope[place])]
            if scope.segment and scope.segment != OTHER:
                held = self._of.setdefault((scope.whole, scores.quantity[place]), [])
                held.append((float(weight[place]), scope.segment))

    def ranked(self, scope: Scope, quantity: str, most: int = 3) -> tuple[Contribution, ...]:
        """The segments of a whole by their share in the change of a quantity, largest first; none for a segment."""
        found = sorted(self._of.get((scope, quantity), ()), key=lambda part: (-part[0], part[1]))
        total = sum(weight for weight, _ in found)
        # Segments that went silent have no events to be weighed by.
        return tuple(Contribution(name, weight / total) for weight, name in found[:most]) if total > 0 else ()


def _effect(scores: Scores) -> Floats:
    return np.asarray(scores.score / np.maximum(np.maximum(scores.floor, scores.noise), 1e-12), np.float64)


def _quantity(unit: str, value: float) -> str:
    number = _number(value)
    return f"{unit} {number}" if unit in _NAMED else f"{number} {unit}".rstrip()


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "unknown"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _scope(scope: Scope) -> str:
    return " ".join(part for part in (scope.model, scope.model_version, scope.segment) if part)
