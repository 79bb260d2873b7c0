"""False alarms of the latency family where nothing changes, counted over as many windows as one has patience for.

``python -m tests.laws.latency_alarms [windows]`` simulates that many scope windows (20,000) of each shape and volume,
and prints the findings that started by detector: one in 10,000 is what is allowed. Histograms are drawn as counts, so
that a window of 200,000 requests costs what one of 200 does.
"""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.decision import DecisionBank
from detectors.histograms import log
from detectors.protocol import (
    LatencyColumns,
    LogCells,
    NumericColumns,
    Role,
    SampleColumns,
    ScopeColumns,
    WindowBatch,
)
from detectors.registry import make
from schemas.scopes import Family, Scope
from tests.laws.crowd import NOTHING

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROWS: Final = (200, 2_000, 200_000)
HOSTS: Final = 8
KINDS: Final = ("latency", "latency_tail", "latency_modes", "latency_hosts")
QUANTILES: Final = np.array([0.5, 0.95, 0.99])
_DRAWN: Final = 200_000


def _bimodal(rng: np.random.Generator, n: int) -> Floats:
    return np.where(rng.random(n) < 0.8, rng.lognormal(3, 0.4, n), rng.lognormal(5.5, 0.4, n))


SHAPES: Final[Mapping[str, Callable[[np.random.Generator, int], Floats]]] = {
    "lognormal": lambda rng, n: rng.lognormal(3, 0.6, n),
    "narrow": lambda rng, n: rng.lognormal(4, 0.1, n),
    "gamma": lambda rng, n: 5 + rng.gamma(2.0, 20.0, n),
    "pareto": lambda rng, n: 10 * (1 + rng.pareto(2.0, n)),
    "two peaks": _bimodal,
    "whole ms": lambda rng, n: rng.lognormal(1.5, 0.6, n),
    "uniform": lambda rng, n: rng.uniform(1, 100, n),
}
_STEPS: Final = np.array([-2, -1, 0, 1, 2])
_OFTEN: Final = np.array([1, 4, 6, 4, 1]) / 16


class Requests:
    """``scopes`` scopes of one shape of latency, eight of them hosts of one model version each.

    Parameters
    ----------
    ref
        Values behind each baseline.
    jitter
        Standard deviation of the logarithm by which all requests of a window are slower or faster.
    """

    def __init__(self, seed: int, shape: str, scopes: int, ref: int, jitter: float = 0.0) -> None:
        self.rng = np.random.default_rng(seed)
        values = SHAPES[shape](self.rng, _DRAWN)
        as_told = np.ceil if shape == "whole ms" else np.asarray
        told = [log.bins_of(as_told(values * np.exp(step * jitter))) for step in _STEPS]
        self.bins = np.unique(np.concatenate(told)).astype(np.int64)
        counts = [np.bincount(np.searchsorted(self.bins, bins), minlength=len(self.bins)) for bins in told]
        self.shares = np.array(counts) / _DRAWN
        self.share = self.shares[len(_STEPS) // 2]
        self.scopes = scopes
        self.ref = self.cells(self.rng.multinomial(ref, self.share, size=scopes))
        self.ref_count = np.full(scopes, ref)
        self.key = [Scope(Family.PREDICTION, f"m{i // HOSTS}", "1", f"host={i % HOSTS}") for i in range(scopes)]

    def cells(self, table: Ints) -> LogCells:
        row, column = np.nonzero(table)
        offsets = np.searchsorted(row, np.arange(len(table) + 1)).astype(np.int64)
        return LogCells(self.bins[column], table[row, column].astype(np.int64), offsets)

    def window(self, rows: int, start_ms: int = 0) -> WindowBatch:
        """One window of about ``rows`` requests per scope."""
        events = self.rng.poisson(rows, self.scopes)
        shares = self.shares[self.rng.choice(len(_STEPS), self.scopes, p=_OFTEN)]
        return self.batch(self.cells(self.rng.multinomial(events, shares)), events, start_ms)

    def batch(self, cur: LogCells, events: Ints, start_ms: int) -> WindowBatch:
        s, nan = np.arange(self.scopes), np.full(self.scopes, np.nan)
        none, yes = np.zeros((self.scopes, 34), np.int64), np.ones(self.scopes, np.bool_)
        numeric = NumericColumns(
            series=s, scope=s, name=["latency_ms"] * self.scopes, role=np.full(self.scopes, int(Role.LATENCY)),
            rows=events, count=events, mean=nan, m2=nan, min=nan, max=nan, quantiles=_quantiles(cur),
            has_baseline=yes, has_edges=~yes, cur=none, ref=none, edges=np.full((self.scopes, 33), np.nan),
            ref_count=self.ref_count, ref_rows=self.ref_count, ref_mean=nan, ref_std=nan,
            ref_quantiles=_quantiles(self.ref),
        )  # fmt: skip
        scopes = self.scope_columns(events, np.zeros(self.scopes, np.int64))
        samples = SampleColumns([], [], [], [])
        return WindowBatch(start_ms, 60_000, scopes, numeric, NOTHING, samples, LatencyColumns(s, cur, self.ref))

    def scope_columns(self, events: Ints, errors: Ints, series: Mapping[str, Ints] | None = None) -> ScopeColumns:
        s, nan = np.arange(self.scopes), np.full(self.scopes, np.nan)
        return ScopeColumns(
            id=s, family=[Family.PREDICTION] * self.scopes, rows=events, late=s * 0, errors=errors, age_windows=s + 99,
            ref_rows=nan, ref_error_ratio=nan, series=series or {}, key=self.key,
        )  # fmt: skip


def _quantiles(cells: LogCells) -> Floats:
    return log.quantiles_csr(cells.bins, cells.counts, cells.offsets, QUANTILES)


def false_alarms(seed: int, shape: str, rows: int, windows: int, scopes: int = 80, jitter: float = 0.0) -> Counter[str]:
    """Findings that started, and windows that were evidence alone, in ``windows`` windows of each scope."""
    crowd = Requests(seed, shape, scopes, max(2_000, rows), jitter)
    detectors, bank, found = {kind: make(kind) for kind in KINDS}, DecisionBank(), Counter[str]()
    for i in range(windows):
        window = crowd.window(rows, i * 60_000)
        for kind, detector in detectors.items():
            decided = bank.decide(detector.step(window), i * 60_000, 60_000)
            found[kind] += int(decided.started.sum())
            found[f"{kind} (windows)"] += int(decided.evidence.sum())
    return +found


OBJECTIVE: Final = 0.999


def false_burns(seed: int, rows: int, minutes: int, used: float, scopes: int = 50) -> Counter[str]:
    """Findings about budgets that are used at ``used`` times the rate that is allowed, below 1, by their severity."""
    crowd = Requests(seed, "lognormal", scopes, 2_000)
    detector = make("slo", {"slos": [{"name": "up", "objective_ratio": OBJECTIVE}]})
    bank, found = DecisionBank(), Counter[str]()
    quiet = crowd.window(1)
    series = {"slo.up": np.arange(scopes)}
    for i in range(minutes):
        events = crowd.rng.poisson(rows, scopes)
        errors = crowd.rng.binomial(events, used * (1 - OBJECTIVE))
        window = replace(quiet, start_ms=i * 60_000, scopes=crowd.scope_columns(events, errors, series))
        decided = bank.decide(detector.step(window), i * 60_000, 60_000)
        for place in np.flatnonzero(decided.started).tolist():
            found[("info", "ticket", "page")[int(decided.severity[place])]] += 1
    return +found


def main(arguments: Sequence[str]) -> None:
    """Print the figures."""
    wanted = int(arguments[0]) if arguments else 20_000
    scopes = 80
    for jitter in (0.0, 0.03):
        for rows in ROWS:
            for shape in SHAPES:
                found = false_alarms(1, shape, rows, -(-wanted // scopes), scopes, jitter)
                print(f"jitter {jitter:4} {rows:8,} rows {shape:10} {wanted:,} windows: {dict(found)}", flush=True)  # noqa: T201
    for rows in (2, *ROWS):
        for used in (0.5, 0.9):
            burns = false_burns(1, rows, 5_760, used)
            print(f"slo {used:4} x {rows:8,} a minute, 50 scopes, 4 days: {dict(burns)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
