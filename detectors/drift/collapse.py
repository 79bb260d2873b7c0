"""A score that answers nearly the same to all: its spread has collapsed, at every scale."""

from typing import ClassVar, Final

import msgspec
import numpy as np

from detectors import scoring, special
from detectors.parameters import check_bounds
from detectors.peers import share_of_model
from detectors.protocol import Floats, Ints, NumericColumns, Role, Scores, WindowBatch
from detectors.stateless import Stateless

_RANGES: Final = ((0.25, 0.75), (0.05, 0.95))
_ERROR: Final = 1.5
"""Standard deviation of the logarithm of such a range, times √n, for an exponential: for a normal it is smaller."""


class CollapseParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor_factor`` 4: the spread is a quarter of the baseline's.

    Users feel it (which pages should it last) in a version that answers ``felt_share_ratio`` of the model's events at
    least.
    """

    window_s: int = 60
    floor_factor: float = 4.0
    min_rows: int = 100
    design_effect: float = 3.0
    false_alarm_ratio: float = 1e-4
    felt_share_ratio: float = 0.25

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_factor=(1, 1e6), min_rows=(10, 10**9), design_effect=(1, 1000))
        check_bounds(self, false_alarm_ratio=(1e-12, 0.1), felt_share_ratio=(0, 1))


class ScoreCollapse(Stateless[CollapseParams]):
    r"""Logarithm of how many times narrower a score is than in its baseline.

    The least of three: by the standard deviation, between the quartiles, and between the 5th and 95th percentile.
    Where some rare large scores fail to come, the standard deviation collapses alone; where a cluster holds about five
    percent, the 95th percentile may fall off it: neither is a model that has gone blind, for which all three collapse
    together. Percentiles are interpolated within the baseline's bins; where both fall into one bin, or two that are
    neighbours, that is narrow enough for them, and the standard deviation decides.

    Parameters
    ----------
    params
        See :class:`CollapseParams`.

    Notes
    -----
    O(scores), no state. Value and reference are standard deviations. A score of one value in its baseline, or with
    most of it in one, is not ready: that has no quartiles to lose.
    """

    kind: ClassVar[str] = "collapse"
    state_version: ClassVar[int] = 1
    params_type = CollapseParams

    def step(self, windows: WindowBatch) -> Scores:
        """Score every score with edges and ``min_rows`` values."""
        numeric, params = windows.numeric, self.params
        places = np.flatnonzero((numeric.role == Role.SCORE) & numeric.has_edges)
        N, M = numeric.count[places].astype(np.float64), numeric.ref_count[places].astype(np.float64)
        std = np.sqrt(np.maximum(numeric.m2[places], 0) / np.maximum(N - 1, 1))
        ref_std = numeric.ref_std[places]
        narrower = _log_ratio(ref_std, std)
        bounds = _bounds(numeric, places)
        within = np.clip(bounds, numeric.min[places, None], numeric.max[places, None])
        for low, high in _RANGES:
            before, _ = _range(bounds, numeric.ref[places], low, high)
            # No value of the window lies beyond its least and its largest, whatever the bounds of their bins.
            left, bins = _range(within, numeric.cur[places], low, high)
            # What has shrunk into two bins is narrow, however wide these are: how narrow, the deviation alone can tell.
            narrower = np.minimum(narrower, np.where(bins > 1, _log_ratio(before, left), np.inf))
        variance = params.design_effect * (1 / np.maximum(N, 1) + 1 / np.maximum(M, 1))
        noise = special.z_of(params.false_alarm_ratio) * _ERROR * np.sqrt(variance)
        floor = float(np.log(params.floor_factor))
        score = np.maximum(narrower, 0.0)
        share = share_of_model(windows.scopes)[numeric.scope[places]] if len(places) else np.zeros(0)
        measured = scoring.Measured(
            score=score,
            floor=floor,
            noise=noise,
            value=std,
            reference=ref_std,
            threshold=ref_std * np.exp(-np.maximum(floor, noise)),
            mean=numeric.mean[places],
            ref_mean=numeric.ref_mean[places],
            note=lambda place: f"its spread is {np.exp(-score[place]):.0%} of the baseline's, or less, at every scale",
            felt=(score >= np.maximum(floor, noise)) & (share > 0) & (share >= params.felt_share_ratio),
        )
        ready = np.minimum(N, M) >= params.min_rows
        subject = scoring.numeric_subject(numeric, places)
        return scoring.scores(self.kind, "standard deviation", subject, ready, measured)


def _log_ratio(before: Floats, after: Floats) -> Floats:
    """The logarithm of before / after; NaN where there was nothing before, large where nothing is left."""
    known = np.where(before > 0, before, np.nan)
    return np.asarray(np.log(known / np.maximum(after, known * 1e-6)), np.float64)


def _bounds(numeric: NumericColumns, places: Ints) -> Floats:
    """The bounds of the 34 cells of each score, what lies under and over included: float64[k, 35]."""
    edges = numeric.edges[places]
    first, last = np.fmin(edges[:, 0], numeric.min[places]), np.fmax(edges[:, -1], numeric.max[places])
    return np.column_stack((first, edges, last))


def _range(bounds: Floats, counts: Ints, low: float, high: float) -> tuple[Floats, Ints]:
    """How far apart two quantiles of counts int64[k, 34] lie, float64[k], and by how many cells, int64[k]."""
    (least, first), (most, last) = (_quantile(bounds, counts, q) for q in (low, high))
    return most - least, last - first


def _quantile(bounds: Floats, counts: Ints, q: float) -> tuple[Floats, Ints]:
    """A quantile float64[k], linear within its cell, NaN of nothing; and the cell, int64[k]."""
    total = counts.sum(axis=1)
    held = np.cumsum(counts, axis=1)
    wanted = q * total
    at = np.minimum((held < wanted[:, None]).sum(axis=1), counts.shape[1] - 1)
    row = np.arange(len(counts))
    part = (wanted - (held[row, at] - counts[row, at])) / np.maximum(counts[row, at], 1)
    low, high = bounds[row, at], bounds[row, at + 1]
    return np.where(total > 0, low + np.clip(part, 0, 1) * (high - low), np.nan), at
