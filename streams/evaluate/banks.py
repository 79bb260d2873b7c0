"""A registered detector on one plain series: rows become windows of a scope, as analyse makes them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors import baseline as building
from detectors import moments
from detectors.decision import DecisionBank
from detectors.histograms import binned, log
from detectors.protocol import Role, WindowBatch
from detectors.registry import make
from schemas.baselines import Baseline
from schemas.panes import NumericPart, Pane, SamplePart
from schemas.scopes import Family, Scope
from streams.analyse.batch import BatchBuilder
from streams.analyse.reference import References
from streams.analyse.registry import Registry
from streams.analyse.window import PaneWindow

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FIRING: Final = 1.0
"""The score from which the detector's own rule says that a finding holds."""
_SCOPE: Final = Scope(Family.PREDICTION, "series")
_OF_LATENCIES: Final = ("latency", "slo")
_MANY: Final = 1_000_000
_SAMPLE_ROWS: Final = 256


class BankOnSeries:
    """A detector of :data:`~detectors.registry.REGISTRY` that steps once for so many rows.

    The first rows make the baseline; each window after it goes through the batch builder of analyse, the detector with
    its defaults and the decision bank. The score of a window stands at its last row: the strength of its evidence, 0…1,
    and 1 more while a finding holds. Where the detector is not ready, and at all other rows, it is NaN.

    Parameters
    ----------
    kind
        Which. What it measures of the series follows from it: latencies for those of latency, else a model's score.
    window_rows, baseline_rows
        Rows of a window; rows that the baseline is made of.
    """

    def __init__(self, kind: str, window_rows: int, baseline_rows: int) -> None:
        self._detector = make(kind)
        self._quantity = "latency_ms" if kind.startswith(_OF_LATENCIES) else "score"
        self._decisions = DecisionBank()
        self._registry, self._references = Registry(1), References()
        self._builder = BatchBuilder(self._registry, self._references, _SAMPLE_ROWS)
        self._window_rows, self._baseline_rows = window_rows, baseline_rows
        self._waiting: list[tuple[int, float]] = []
        self._baseline: Baseline | None = None
        self._windows = 0

    def step(self, ts_ms: Ints, value: Floats) -> Floats:
        """See :class:`~detectors.series.protocol.SeriesDetector`."""
        return np.array([self._row(*row) for row in zip(ts_ms.tolist(), value.tolist(), strict=True)], np.float64)

    def _row(self, at_ms: int, value: float) -> float:
        self._waiting.append((at_ms, value))
        if len(self._waiting) < (self._window_rows if self._baseline else self._baseline_rows):
            return np.nan
        start_ms, values = self._waiting[0][0], np.array([number for _, number in self._waiting])
        self._waiting = []
        if self._baseline is None:
            self._learn(values)
            return np.nan
        return self._window(start_ms, values)

    def _learn(self, values: Floats) -> None:
        panes = max(self._baseline_rows // self._window_rows, 1)
        known = building.from_values(self._quantity, values)
        self._baseline = building.build(
            _SCOPE,
            built_from="the first rows",
            effective_from_ms=0,
            pane_ms=self._detector.window_s * 1000,
            panes=panes,
            rows=panes * self._window_rows,
            sample_names=(self._quantity,) if known else (),
            sample=values[:, None] if known else None,
            log_histograms=self._logs(values),
            counters={"status": {"ok": panes * self._window_rows}},
        )
        self._references.put(self._registry.scope(_SCOPE), self._baseline, self._registry)

    def _logs(self, values: Floats) -> dict[str, building.LogQuantity]:
        finite = values[np.isfinite(values)]
        if building.is_binned(self._quantity) or not len(finite):
            return {}
        return {self._quantity: (*log.histogram(finite), moments.of(finite))}

    def _window(self, start_ms: int, values: Floats) -> float:
        self._windows += 1
        batch = self._batch(start_ms, values)
        scores = self._detector.step(batch)
        if not scores.ready.any():
            return np.nan
        decided = self._decisions.decide(scores, start_ms, batch.size_ms)
        told = decided.strength + np.where(decided.firing, FIRING, 0.0)
        return float(np.nanmax(np.where(scores.ready, told, np.nan)))

    def _batch(self, start_ms: int, values: Floats) -> WindowBatch:
        size_ms = self._detector.window_s * 1000
        window = PaneWindow(Family.PREDICTION, start_ms, size_ms, _MANY)
        window.add(self._pane(start_ms, size_ms, values), self._registry)
        scope = self._registry.scope(_SCOPE)
        ages = np.array([self._windows + self._baseline_rows // self._window_rows], np.int64)
        return self._builder.build(window, [scope], ages, frozenset(Role))

    def _pane(self, start_ms: int, size_ms: int, values: Floats) -> Pane:
        finite = values[np.isfinite(values)]
        edges = self._references.edges(self._registry.scope(_SCOPE), self._registry).get(self._quantity)
        found = log.bins_of(finite) if edges is None else binned.bins_of(finite, np.frombuffer(edges, "<f8"))
        bins, counts = np.unique(found, return_counts=True)
        numeric = NumericPart(
            (self._quantity,),
            moments.of(finite).astype("<f8").tobytes(),
            np.array([len(bins)], "<i4").tobytes(),
            bins.astype("<i2").tobytes(),
            counts.astype("<u4").tobytes(),
            np.array([edges is not None], "u1").tobytes(),
        )
        baseline_id = self._baseline.laid_out if self._baseline else ""
        return Pane(_SCOPE, start_ms, size_ms, "series", 0, baseline_id, len(values), 0, numeric, (), (), SamplePart())
