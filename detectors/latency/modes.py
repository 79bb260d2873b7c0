r"""A second peak in the latencies: some requests go another way than the rest.

The histogram's logarithmic bins are taken four at a time (8 %), and counted in boxes of three of those. A box is a
valley as far as boxes on both sides of it hold more; its depth is told from chance by Anscombe's roots of Poisson
counts, $z = \sqrt 2 (\sqrt{P + 3/8} - \sqrt{V + 3/8})$ with $P$ the lower of the highest boxes on either side and $V$
the valley's own. The *second peak* holds the events above the valley's level on the side where those are fewer. That is
the excess mass of Müller and Sawitzki, on a grid: it does not ask what the peaks look like, and a heavy tail has none.

References
----------
.. [1] D. W. Müller, G. Sawitzki, "Excess mass estimates and tests for multimodality", 1991.
.. [2] J. A. Hartigan, P. M. Hartigan, "The dip test of unimodality", 1985.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, Self

import msgspec
import numpy as np

from detectors import scoring, special
from detectors.histograms import log
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Ints, LogCells, Scores, WindowBatch
from detectors.stateless import Stateless

_BINS: Final = 4
"""LogHistogram bins of a cell."""
_BOX: Final = 3
"""Cells of a box: 27 %. Peaks must be about twice that apart, which is a factor of two, to have a valley between."""
_NEAR: Final = 9
"""Cells by which a valley may have moved, either way, and be the baseline's still: a factor of two."""
_FIRST: Final = int(log.bins_of(np.array([1e-3]))[0])
_LAST: Final = int(log.bins_of(np.array([1e8]))[0])
"""From a microsecond to a day; what is beyond counts at the ends."""
_BLOCK: Final = 64


class ModeParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor_ratio`` is the share of events in the second peak that is news, beyond the baseline's own.

    ``design_effect`` widens the noise of that share for requests that come in bursts of one kind.
    """

    window_s: int = 60
    floor_ratio: float = 0.05
    min_rows: int = 100
    design_effect: float = 2.0
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(0.001, 0.5), min_rows=(20, 10**9))
        check_bounds(self, design_effect=(1, 100), false_alarm_ratio=(1e-12, 0.1))


@dataclass(frozen=True, slots=True)
class _Found:
    """The second peaks of k histograms, zeros where there is none: shares, noise, and cells of valley and peaks."""

    score: Floats
    share: Floats
    reference: Floats
    noise: Floats
    valley: Ints
    peaks: Ints

    @classmethod
    def none(cls, k: int) -> Self:
        """No second peak in ``k`` histograms."""
        score, share, reference, noise = np.zeros((4, k))
        return cls(score, share, reference, noise, np.zeros(k, np.int64), np.zeros((k, 2), np.int64))


class LatencyModes(Stateless[ModeParams]):
    """Share of events in a second peak of the latencies, beyond what the baseline has there.

    Parameters
    ----------
    params
        See :class:`ModeParams`.

    Notes
    -----
    O(cells of the grid), and its square for the few series that have a valley at all; no state. A peak that was there
    must double to be news, and where all of it moves that is none; a third one is news if it is a factor of two from
    the baseline's valleys, or larger than they made of the peaks beside them. Examples are a cache that misses, a slow
    path, timeouts, or errors that return at once.
    """

    kind: ClassVar[str] = "latency_modes"
    state_version: ClassVar[int] = 1
    params_type = ModeParams

    def __init__(self, params: ModeParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every latency series with a baseline and ``min_rows`` values."""
        numeric, latencies, params = windows.numeric, windows.latencies, self.params
        places = latencies.place
        first, width = _extent(latencies.cur, latencies.ref)
        cur, ref = _grid(latencies.cur, first, width), _grid(latencies.ref, first, width)
        N, M = cur.sum(axis=1), ref.sum(axis=1)
        ready = (params.min_rows <= N) & (params.min_rows <= M) & numeric.has_baseline[places]
        depth = _depth(_boxes(cur))
        deep = np.flatnonzero(ready & (depth.max(axis=1, initial=0) >= self._z))
        found = _Found.none(len(places))
        for at in range(0, len(deep), _BLOCK):
            rows = deep[at : at + _BLOCK]
            self._judge(found, rows, cur[rows], ref[rows], depth[rows])
        measured = scoring.Measured(
            score=found.score,
            floor=params.floor_ratio,
            noise=np.minimum(found.noise, params.floor_ratio),
            value=found.share,
            reference=found.reference,
            threshold=found.reference + np.maximum(params.floor_ratio, found.noise),
            label=["second peak"] * len(places),
            note=_note(found, first),
        )
        return scoring.scores(self.kind, "share of events", scoring.numeric_subject(numeric, places), ready, measured)

    def _judge(self, found: _Found, rows: Ints, cur: Floats, ref: Floats, depth: Floats) -> None:
        """The worst valley of each of r histograms float64[r, G] with depths float64[r, B]."""
        share, before = _excess(cur), _near(_excess(ref))
        N, M = cur.sum(axis=1)[:, None], ref.sum(axis=1)[:, None]
        chance = self._z * np.sqrt(self.params.design_effect * share * (1 - share) * (1 / N + 1 / M))
        # A valley is as deep as chance makes it where its peaks are so much smaller that z is at its bound.
        shallow = share * (self._z / np.maximum(depth, 1e-9)) ** 2
        # A peak that was there must double: shares of known peaks wander, as those of 1 ms and 2 ms where time is told
        # in whole milliseconds.
        noise = np.maximum.reduce((chance, shallow, before))
        more = np.maximum(share - before, 0)
        score = more * np.minimum(1, self.params.floor_ratio / np.maximum(noise, 1e-12))
        worst, each = score.argmax(axis=1), np.arange(len(rows))
        found.score[rows], found.share[rows] = score[each, worst], share[each, worst]
        found.reference[rows], found.noise[rows] = before[each, worst], noise[each, worst]
        found.valley[rows] = worst
        boxes, at = _boxes(cur), np.arange(depth.shape[1])
        for side, own in enumerate((at < worst[:, None], at > worst[:, None])):
            found.peaks[rows, side] = np.where(own, boxes, -1).argmax(axis=1)


def _extent(*histograms: LogCells) -> tuple[int, int]:
    """First cell and number of cells of a grid that holds all values over 0 of ``histograms``."""
    bins = np.concatenate([cells.bins[cells.bins > 0] for cells in histograms])
    if not len(bins):
        return _FIRST // _BINS, _BOX
    low, high = (int(np.clip(b, _FIRST, _LAST)) // _BINS for b in (bins.min(), bins.max()))
    return low, max(high - low + 1, _BOX)


def _grid(cells: LogCells, first: int, width: int) -> Floats:
    """Counts of k histograms in ``width`` cells: float64[k, width]. Zero and below are no latencies."""
    k = len(cells.offsets) - 1
    row = np.repeat(np.arange(k), np.diff(cells.offsets))
    column = np.clip(np.clip(cells.bins, _FIRST, _LAST) // _BINS - first, 0, width - 1)
    weight = np.where(cells.bins > 0, cells.counts, 0)
    return np.bincount(row * width + column, weight, k * width).reshape(k, width).astype(np.float64)


def _boxes(grid: Floats) -> Floats:
    """Sums of neighbouring cells: box j holds cells j … j + 2, float64[k, G - 2]."""
    return grid[:, :-2] + grid[:, 1:-1] + grid[:, 2:]


def _depth(boxes: Floats) -> Floats:
    """How surely each box is a valley, in standard deviations: float64[k, B], 0 or less where it is none."""
    left = np.maximum.accumulate(boxes, axis=1)
    right = np.maximum.accumulate(boxes[:, ::-1], axis=1)[:, ::-1]
    lower = np.minimum(left, right)
    return np.asarray(np.sqrt(2) * (np.sqrt(lower + 0.375) - np.sqrt(boxes + 0.375)), np.float64)


def _excess(grid: Floats) -> Floats:
    """Share of events above the level of each box, on the side of it where they are fewer: float64[k, B]."""
    boxes = _boxes(grid)
    # Of three times the counts, which are whole numbers: sums of them are the same in any order.
    over = np.maximum(_BOX * grid[:, None, :] - boxes[:, :, None], 0)
    cell, box = np.arange(grid.shape[1]), np.arange(boxes.shape[1])[:, None]
    sides = [(over * own).sum(axis=2) for own in (cell < box, cell >= box + _BOX)]
    return np.asarray(np.minimum(*sides) / np.maximum(_BOX * grid.sum(axis=1), 1)[:, None], np.float64)


def _near(values: Floats) -> Floats:
    """The largest value within ``_NEAR`` of each place: float64[k, B]."""
    padded = np.pad(values, ((0, 0), (_NEAR, _NEAR)))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEAR + 1, axis=1).max(axis=2), np.float64)


def _note(found: _Found, first: int) -> Callable[[int], str]:
    def at_ms(box: int) -> float:
        return float(log.values_of(np.array([(first + box + 1) * _BINS + 1]))[0])

    def note(place: int) -> str:
        left, right = (at_ms(int(peak)) for peak in found.peaks[place])
        return f"peaks near {left:.3g} ms and {right:.3g} ms, a valley at {at_ms(int(found.valley[place])):.3g} ms"

    return note
