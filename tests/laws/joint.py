"""Row samples of scopes whose features hang together, for the detectors of pairs: how often in vain, and how soon.

Run from the repository's root: ``python -m tests.laws.joint stationary [SCOPES WINDOWS]``, ``power [SEEDS]``, or
``contest [SEEDS]``, which compares the largest change of a pair with the reconstruction error and Hotelling's distance
of principal components at equal false alarms.
"""

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.baseline import from_table
from detectors.decision import DecisionBank
from detectors.drift import pairs
from detectors.histograms.binned import histogram, quantile_edges
from detectors.registry import make
from schemas.scopes import Family, Scope
from tests.laws.world import Seen, World

Floats = NDArray[np.float64]
KINDS: Final = ("multivariate", "association")
SAMPLE: Final = 256
LONGEST: Final = 60
"""Windows after which a change counts as not found."""


def factors(k: int) -> Floats:
    """The correlations of k features and a score: two close pairs, a group of four, and many that are alone."""
    rho = np.eye(k + 1)
    for i, j, r in ((0, 1, 0.6), (2, 3, 0.4), (4, 5, -0.5)):
        rho[i, j] = rho[j, i] = r
    rho[6:10, 6:10] += 0.3 * (1 - np.eye(4))
    rho[k, [0, 2, 6]] = rho[[0, 2, 6], k] = 0.4, 0.3, 0.3
    return rho


SHAPES: Final[Mapping[str, Callable[[Floats], Floats]]] = {
    "normal": lambda z: z,
    "lognormal": np.exp,
    "flag of 30 %": lambda z: np.asarray(z > 0.52, np.float64),
    "flag of 6 %": lambda z: np.asarray(z > 1.55, np.float64),
    "mostly zero": lambda z: np.where(z > 0.9, np.exp(z), 0.0),
    "counts": lambda z: np.floor(np.exp(0.8 + 0.6 * z)),
}
"""How features look; their ranks hang together all the same."""


class Rows:
    """Rows of k features and a score whose copula is normal, of Student's t (``heavy``), or comes in ``burst``s."""

    def __init__(self, seed: int, k: int, *, heavy: bool = False, burst: int = 1, shapes: bool = False) -> None:
        self.rng, self.k, self.heavy, self.burst = np.random.default_rng(seed), k, heavy, burst
        self.rho = factors(k)
        chosen = list(SHAPES.values()) if shapes else [SHAPES["normal"]]
        self._shapes = [chosen[i % len(chosen)] for i in range(k)]
        self.names = (*(f"features.f{i:02d}" for i in range(k)), "score")

    def draw(self, n: int, rho: Floats | None = None) -> Floats:
        """float64[n, k + 1]."""
        root = np.linalg.cholesky(self.rho if rho is None else rho)
        fresh = -(-n // self.burst)
        z = self.rng.normal(size=(fresh, self.k + 1)) @ root.T
        if self.heavy:
            z /= np.sqrt(self.rng.chisquare(3, (fresh, 1)) / 3)
        z = np.repeat(z, self.burst, axis=0)[:n]
        columns = [shape(z[:, i]) for i, shape in enumerate(self._shapes)]
        return np.column_stack((*columns, 1 / (1 + np.exp(-z[:, self.k]))))

    def sampled(self, rows: int, rho: Floats | None = None) -> Floats:
        """The sample of a window of about ``rows`` rows: so many at most that bursts are torn apart by it."""
        events = max(int(self.rng.poisson(rows)), 1)
        if events <= 4 * SAMPLE:
            every = self.draw(events, rho)
            return every[self.rng.permutation(events)[:SAMPLE]]
        whole, self.burst = self.burst, 1
        sample = self.draw(SAMPLE, rho)
        self.burst = whole
        return sample


class Streams:
    """Scopes of such rows with baselines of ``ref`` rows each, and the detectors that watch them."""

    def __init__(self, seed: int, scopes: int, k: int, ref: int = 2_000, **how: bool | int) -> None:
        self.rows = [Rows(seed * 1_000 + i, k, **how) for i in range(scopes)]  # type: ignore[arg-type]
        self.scopes = [Scope(Family.PREDICTION, f"model-{i:03d}", "1") for i in range(scopes)]
        tables = [dict(zip(rows.names, rows.draw(ref).T, strict=True)) for rows in self.rows]
        self.baselines = {
            scope: from_table(scope, table, built_from="test", effective_from_ms=0)
            for scope, table in zip(self.scopes, tables, strict=True)
        }
        self.world, self.bank, self.at = World(self.baselines), DecisionBank(), 0
        self.detectors = {kind: make(kind) for kind in KINDS}
        for number, scope in enumerate(sorted(self.baselines)):
            for detector in self.detectors.values():
                detector.rebase(number, self.baselines[scope])  # type: ignore[attr-defined]
        empty = {scope: Seen(SAMPLE, sample=None) for scope in self.scopes}
        self._window = self.world.window(empty)

    def step(self, rows: int, rho: Floats | None = None) -> dict[str, tuple[set[str], int]]:
        """Detector → the quantities of which a finding holds after one window more, and how many have begun."""
        values = [one.sampled(rows, rho) for one in self.rows]
        samples = replace(
            self._window.samples, scope=list(range(len(self.rows))), names=[one.names for one in self.rows],
            values=values, event_ids=[[""] * len(v) for v in values],
        )  # fmt: skip
        window = replace(self._window, start_ms=self.at * 60_000, samples=samples)
        self.at += 1
        said = {}
        for kind, detector in self.detectors.items():
            scores = detector.step(window)
            decided = self.bank.decide(scores, window.start_ms, window.size_ms)
            firing = {scores.quantity[i] for i in np.flatnonzero(decided.firing).tolist()}
            said[kind] = firing, int(decided.started.sum())
        return said


def false_alarms(seed: int, *, scopes: int, windows: int, rows: int, k: int = 50, **how: bool | int) -> Counter[str]:
    """Findings that began in ``windows`` windows of ``scopes`` scopes that never change, by detector."""
    streams, started = Streams(seed, scopes, k, **how), Counter[str]()
    for _ in range(windows):
        for kind, (_, new) in streams.step(rows).items():
            started[kind] += new
    return +started


def _broken(rho: Floats, *changes: tuple[int, int, float]) -> Floats:
    rho = rho.copy()
    for i, j, r in changes:
        rho[i, j] = rho[j, i] = r
    return rho


def _swapped(rho: Floats) -> Floats:
    """Features 0 and 2 change places: each is distributed as before."""
    order = np.arange(len(rho))
    order[[0, 2]] = 2, 0
    return rho[np.ix_(order, order)]


HARMS: Final[Mapping[str, Callable[[Floats], Floats]]] = {
    "0.6 between two features is gone": lambda rho: _broken(rho, (0, 1, 0.0)),
    "0.6 is 0.4": lambda rho: _broken(rho, (0, 1, 0.4)),
    "0.35 where nothing was": lambda rho: _broken(rho, (1, 8, 0.35)),
    "two features swap": _swapped,
    "the score follows one no more": lambda rho: _broken(rho, (0, len(rho) - 1, 0.0)),
}


def delays(harm: str, *, seed: int, rows: int, k: int = 10, before: int = 15, **how: bool | int) -> int:
    """Windows until some detector speaks after the change, from 1; ``LONGEST`` for never."""
    streams = Streams(seed, 1, k, **how)
    for _ in range(before):
        streams.step(rows)
    rho = HARMS[harm](streams.rows[0].rho)
    for t in range(1, LONGEST):
        if any(new for _, new in streams.step(rows, rho).values()):
            return t
    return LONGEST


def contest(seed: int, harm: str, *, heavy: bool = False, windows: int = 400) -> Floats:
    """Share of windows of 256 rows over the 99.9th percentile without the harm: of pairs, and of components."""
    rows = Rows(seed, 10, heavy=heavy)
    table = rows.draw(2_000)
    edges = np.stack([quantile_edges(column) for column in table.T])
    scores = pairs.rank_scores(np.stack([histogram(c, e) for c, e in zip(table.T, edges, strict=True)]))
    reference = pairs.ranked(table, edges, scores)
    found = pairs.correlations(reference)
    v, axes = pairs.influence(reference, found.q), _Components(reference)

    def told(rho: Floats) -> Floats:
        seen = [pairs.ranked(rows.draw(SAMPLE, rho), edges, scores) for _ in range(windows)]
        moved = [np.abs(pairs.correlations(s).q - found.q) / np.sqrt(v) for s in seen]
        return np.array([(m.max(), axes.moved(s)) for m, s in zip(moved, seen, strict=True)])

    usual, harmed = told(rows.rho), told(HARMS[harm](rows.rho))
    return np.asarray((harmed > np.quantile(usual, 0.999, axis=0)).mean(axis=0), np.float64)


class _Components:
    """Principal components with four fifths of the variance: mean squared distance within them, and to them."""

    def __init__(self, reference: Floats) -> None:
        value, vector = np.linalg.eigh(np.cov(reference.T))
        self._value, self._vector = value[::-1], vector[:, ::-1]
        self._kept = int(np.searchsorted(np.cumsum(self._value) / self._value.sum(), 0.8)) + 1
        parts = self._parts(reference)
        self._mean, self._std = parts.mean(axis=0), parts.std(axis=0)

    def _parts(self, scores: Floats) -> Floats:
        along = scores @ self._vector
        kept = self._kept
        return np.stack(
            ((along[:, :kept] ** 2 / self._value[:kept]).sum(axis=1), (along[:, kept:] ** 2).sum(axis=1)), axis=1
        )

    def moved(self, scores: Floats) -> float:
        """The larger change of the two, in standard deviations of a row."""
        return float(np.max(np.abs(self._parts(scores).mean(axis=0) - self._mean) / self._std))


def _stationary(scopes: int, windows: int) -> None:
    cases: tuple[dict[str, bool | int], ...] = ({}, {"heavy": True}, {"shapes": True}, {"burst": 4})
    for how in cases:
        for rows in (40, 200, 2_000, 200_000):
            found = false_alarms(1, scopes=scopes, windows=windows, rows=rows, **how)
            print(f"{how or 'normal'}, {rows:,} rows: {dict(found)} in {scopes * windows:,}", flush=True)  # noqa: T201


def _power(seeds: int) -> None:
    for harm in HARMS:
        for rows in (40, 200, 2_000):
            told = [delays(harm, seed=seed, rows=rows) for seed in range(seeds)]
            print(f"{harm}, {rows:,} rows: {np.median(told):.0f} {sorted(told)}", flush=True)  # noqa: T201


def _contest(seeds: int) -> None:
    for heavy in (False, True):
        for harm in HARMS:
            power = np.mean([contest(seed, harm, heavy=heavy) for seed in range(seeds)], axis=0)
            print(f"{'heavy' if heavy else 'normal'}, {harm}: {power.round(2)}", flush=True)  # noqa: T201


def main() -> None:
    """Print what was asked for."""
    given = sys.argv[1:]
    numbers = [int(number) for number in given[1:]]
    if given and given[0] == "stationary":
        _stationary(*(numbers or (10, 100)))
    elif given and given[0] == "power":
        _power(*(numbers or (5,)))
    elif given and given[0] == "contest":
        _contest(*(numbers or (4,)))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
