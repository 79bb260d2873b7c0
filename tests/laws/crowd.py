"""Many scopes at once, drawn straight as counts: a window of millions of events in milliseconds."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from detectors.protocol import CategoryColumns, NumericColumns, Role, SampleColumns, ScopeColumns, WindowBatch
from detectors.special import normal_sf
from schemas.scopes import Family

Floats = NDArray[np.float64]


class Crowd:
    """``scopes`` scopes of ``features`` normal features, a score and a latency, all with baselines of ``ref`` rows.

    ``texts`` categorical features each beside them, of twelve categories from a third to half a percent. Bins are the
    quantiles of the *true* distribution, and the reference counts a sample of it: what baselines give.
    """

    def __init__(self, rng: np.random.Generator, scopes: int, features: int, ref: int = 5_000, texts: int = 0) -> None:
        self.rng, self.scopes, self.features, self.ref_rows = rng, scopes, features, ref
        per_scope = features + 2
        n = scopes * per_scope
        self.n = n
        edges = np.quantile(rng.normal(size=200_000), np.linspace(0, 1, 33))
        edges[0], edges[-1] = -4.0, 4.0
        self.edges = edges
        self.share = self.shares(0.0)
        self.ref = rng.multinomial(ref, self.share, size=n)
        place = np.arange(n)
        self.scope = place // per_scope
        quantity = place % per_scope
        self.role = np.where(
            quantity < features, Role.FEATURE, np.where(quantity == features, Role.SCORE, Role.LATENCY)
        )
        names = [*(f"features.f{i}" for i in range(features)), "score", "latency_ms"]
        self.names = names * scopes
        self.all_edges = np.ascontiguousarray(np.broadcast_to(edges, (n, 33)))
        self.ref_quantiles = self.latency(np.full(scopes, ref))
        self.texts = texts
        self.ref_texts = rng.multinomial(ref, CATEGORIES, size=scopes * texts)

    def shares(self, shift: float) -> Floats:
        """The 34 cells' shares of a normal whose mean is ``shift``."""
        below = 1 - normal_sf(self.edges - shift)
        return np.diff(below, prepend=0.0, append=1.0)

    def latency(self, events: NDArray[np.int64]) -> Floats:
        """p50, p95 and p99 of ``events`` lognormal latencies each, as exact draws of their order statistics."""
        rng, n = self.rng, np.maximum(events, 1)
        k50, k95, k99 = (np.ceil(q * n) for q in (0.5, 0.95, 0.99))
        u99 = rng.beta(k99, n + 1 - k99)
        u95 = u99 * rng.beta(k95, np.maximum(k99 - k95, 1))
        u50 = u95 * rng.beta(k50, np.maximum(k95 - k50, 1))
        z = [[NormalDist().inv_cdf(u) for u in row] for row in np.stack((u50, u95, u99), axis=1).tolist()]
        return np.exp(3 + 0.6 * np.array(z))

    def window(
        self, rows: int, shift: Floats | float = 0.0, slower: float = 1.0, nulls: float = 0.0, new: float = 0.0
    ) -> WindowBatch:
        """One window of about ``rows`` events per scope, Poisson.

        ``nulls`` of each feature's values are missing, ``new`` of each text's are of a category that is new.
        """
        rng, n = self.rng, self.n
        events = rng.poisson(rows, self.scopes)
        of_series = events[self.scope]
        count = rng.binomial(of_series, 1 - nulls) if nulls else of_series
        moved = np.broadcast_to(np.asarray(shift, np.float64), (n,))
        cur = np.empty((n, 34), np.int64)
        for value in np.unique(moved):
            at = moved == value
            cur[at] = rng.multinomial(count[at], self.shares(float(value)))
        latency = self.role == Role.LATENCY
        quantiles, ref_quantiles = np.zeros((n, 3)), np.zeros((n, 3))
        quantiles[latency] = self.latency(events) * slower
        ref_quantiles[latency] = self.ref_quantiles
        zeros = np.zeros(n)
        error = rng.normal(size=n) / np.sqrt(np.maximum(count, 1))
        mean = np.where(latency, 24.0 * slower * (1 + 0.65 * error), moved + error)
        numeric = NumericColumns(
            series=np.arange(n), scope=self.scope, name=self.names, role=self.role, rows=of_series, count=count,
            mean=mean, m2=zeros + count, min=zeros - 4, max=zeros + 4, quantiles=quantiles,
            has_baseline=np.ones(n, np.bool_), has_edges=~latency, cur=cur, ref=self.ref, edges=self.all_edges,
            ref_count=np.full(n, self.ref_rows), ref_rows=np.full(n, self.ref_rows), ref_mean=zeros,
            ref_std=zeros + 1, ref_quantiles=ref_quantiles,
        )  # fmt: skip
        texts = self._texts(events, new) if self.texts else NOTHING
        return WindowBatch(0, 60_000, self._scopes(events), numeric, texts, SampleColumns([], [], [], []))

    def _texts(self, events: NDArray[np.int64], new: float) -> CategoryColumns:
        k = self.scopes * self.texts
        scope = np.repeat(np.arange(self.scopes), self.texts)
        fresh = self.rng.binomial(events[scope], new)
        known = self.rng.multinomial(events[scope] - fresh, CATEGORIES)
        return CategoryColumns(
            series=self.n + 3 * self.scopes + np.arange(k), scope=scope,
            name=[f"features.t{i}" for i in range(self.texts)] * self.scopes, counter=np.zeros(k, np.bool_),
            values=[(*(f"c{i}" for i in range(len(CATEGORIES))), "new")] * k, rows=events[scope],
            has_baseline=np.ones(k, np.bool_), cur=np.column_stack((known, fresh)),
            ref=np.column_stack((self.ref_texts, np.zeros(k, np.int64))), ref_rows=np.full(k, self.ref_rows),
        )  # fmt: skip

    def _scopes(self, events: NDArray[np.int64]) -> ScopeColumns:
        s = np.arange(self.scopes)
        errors = self.rng.binomial(events, 0.01)
        return ScopeColumns(
            id=s, family=[Family.PREDICTION] * self.scopes, rows=events, late=s * 0, errors=errors,
            age_windows=s * 0 + 9,
            ref_rows=np.full(len(s), np.nan), ref_error_ratio=np.full(len(s), 0.01),
            series={q: self.n + i * self.scopes + s for i, q in enumerate(("rows", "errors", "outliers"))},
        )  # fmt: skip


CATEGORIES = np.array([0.3, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05, 0.04, 0.03, 0.02, 0.005, 0.005])
NOTHING = CategoryColumns(
    series=np.empty(0, np.int64), scope=np.empty(0, np.int64), name=[], counter=np.empty(0, np.bool_), values=[],
    rows=np.empty(0, np.int64), has_baseline=np.empty(0, np.bool_), cur=np.empty((0, 0), np.int64),
    ref=np.empty((0, 0), np.int64), ref_rows=np.empty(0, np.int64),
)  # fmt: skip


def at(window: WindowBatch, start_ms: int) -> WindowBatch:
    return replace(window, start_ms=start_ms)
