"""The labels of many models at once, drawn straight as counts: weeks of them in seconds.

Run from the repository's root, for as long as one likes: ``python -m tests.laws.label_streams [SCOPES DAYS]``.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.decision import DecisionBank
from detectors.protocol import (
    CategoryColumns,
    NumericColumns,
    Role,
    SampleColumns,
    ScopeColumns,
    ServedColumns,
    WindowBatch,
)
from detectors.registry import make
from schemas.scopes import Family, Scope

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
MINUTE_MS: Final = 60_000
KINDS: Final = ("label_delay", "label_rate")


def window(minute: int, labels: Ints, positive: Ints, asked: Floats) -> WindowBatch:
    """A minute of S models: int64[S] labels, of which so many are 1, and float64[S] predictions, NaN for unknown."""
    s = len(labels)
    place, zeros = np.arange(s), np.zeros(s)
    some = np.maximum(labels, 1)
    mean = np.where(labels > 0, positive / some, np.nan)
    none = zeros + np.nan
    scopes = ScopeColumns(
        id=place, family=[Family.LABEL] * s, rows=labels, late=place * 0, errors=place * 0, age_windows=place + minute,
        ref_rows=none, ref_error_ratio=none, series={"rows": place},
        key=[Scope(Family.LABEL, f"m{i}") for i in range(s)],
    )  # fmt: skip
    numeric = NumericColumns(
        series=s + place, scope=place, name=["label"] * s, role=np.full(s, Role.OTHER), rows=labels, count=labels,
        mean=mean, m2=labels * mean * (1 - mean), min=np.where(positive < labels, 0.0, 1.0),
        max=np.where(positive > 0, 1.0, 0.0), quantiles=np.full((s, 3), np.nan), has_baseline=place < 0,
        has_edges=place < 0, cur=np.zeros((s, 34), np.int64), ref=np.zeros((s, 34), np.int64),
        edges=np.full((s, 33), np.nan), ref_count=place * 0, ref_rows=place * 0, ref_mean=none, ref_std=none,
        ref_quantiles=np.full((s, 3), np.nan),
    )  # fmt: skip
    empty = np.empty(0, np.int64)
    categories = CategoryColumns(
        empty, empty, [], empty.astype(np.bool_), [], empty, empty.astype(np.bool_), np.empty((0, 0), np.int64),
        np.empty((0, 0), np.int64), empty,
    )  # fmt: skip
    return WindowBatch(
        minute * MINUTE_MS, MINUTE_MS, scopes, numeric, categories, SampleColumns([], [], [], []),
        served=ServedColumns(asked, none, none),
    )  # fmt: skip


Stream = Iterator[tuple[Ints, Ints, Floats]]


def steady(rng: np.random.Generator, scopes: int, rate: float, positive: float = 0.05, burst: int = 1) -> Stream:
    """Poisson labels of a rate a minute, ``burst`` of one kind at a time; predictions come as fast."""
    while True:
        groups = rng.poisson(rate / burst, scopes)
        yield groups * burst, rng.binomial(groups, positive) * burst, rng.poisson(rate, scopes).astype(np.float64)


def daily(rng: np.random.Generator, scopes: int, rate: float, positive: float = 0.05) -> Stream:
    """The labels of a day in a file at six, an hour earlier or later, over three minutes; weekends as well."""
    minute, due = 0, rng.integers(300, 420, scopes)
    while True:
        if minute % 1_440 == 0:
            due = minute + rng.integers(300, 420, scopes)
        part = (minute >= due) & (minute < due + 3)
        labels = np.where(part, rng.poisson(rate * 480, scopes), 0)
        yield labels, rng.binomial(labels, positive), rng.poisson(rate, scopes).astype(np.float64)
        minute += 1


def by_day(rng: np.random.Generator, scopes: int, rate: float, positive: float = 0.05) -> Stream:
    """Traffic and labels that fall to a fifth at night; labels three hours behind, with a tenth more positives then."""
    minute = 0
    while True:
        level, behind = (1 + 0.67 * np.sin(2 * np.pi * (minute - lag) / 1_440) for lag in (0, 180))
        labels = rng.poisson(rate * behind, scopes)
        yield (
            labels,
            rng.binomial(labels, positive * (1.16 - 0.16 * behind)),
            rng.poisson(rate * level, scopes).astype(np.float64),
        )
        minute += 1


STREAMS: Final[dict[str, Callable[..., Stream]]] = {
    "steady": steady,
    "bursts of ten": lambda rng, scopes, rate: steady(rng, scopes, rate, burst=10),
    "a file a day": daily,
    "nights": by_day,
}


def started(stream: Stream, minutes: int, since: int = 0) -> Counter[str]:
    """Findings that started from minute ``since`` on, by detector."""
    found, bank = Counter[str](), DecisionBank()
    detectors = {kind: make(kind) for kind in KINDS}
    for minute in range(minutes):
        batch = window(minute, *next(stream))
        for kind, detector in detectors.items():
            decided = bank.decide(detector.step(batch), batch.start_ms, batch.size_ms)
            if minute >= since:
                found[kind] += int(decided.started.sum())
    return +found


def main() -> None:
    """Print the findings of streams in which nothing happens, by stream, rate and detector."""
    scopes, days = (int(given) for given in sys.argv[1:3]) if len(sys.argv) > 2 else (200, 3)
    for name, stream in STREAMS.items():
        for rate in (0.5, 5.0, 50.0, 500.0):
            found = started(stream(np.random.default_rng(1), scopes, rate), days * 1_440)
            print(f"{name}, {rate:g} a minute: {dict(found)} in {scopes * days} model-days", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
