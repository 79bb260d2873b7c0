"""What an open pane sums up, against sums made event by event; whatever the batches, and whenever it sums."""

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import pytest

from detectors.histograms import log
from schemas.columns import CountedColumn, EventColumns, EventKey, FeatureBlock
from schemas.panes import Pane, column
from schemas.scopes import INVALID, Family, Scope
from streams.binnings import BinningIndex
from streams.ingest import counting
from streams.ingest import pane as pane_module
from streams.ingest.chosen import Chosen, kept, place_of
from streams.ingest.pane import OpenPane, PaneKey
from streams.ingest.scoping import PaneLimits
from streams.windows.samples import SampleBuffer, row_hash

KEY = PaneKey(Family.PREDICTION, "predictions", 3, 0, 10_000)
SAMPLE_ROWS = 7


@dataclass
class Event:
    key: EventKey
    latency_ms: float
    amount: float
    kind: str | None
    status: str


def events(seed: int, count: int) -> list[Event]:
    rng = np.random.default_rng(seed)
    keys = [
        EventKey(f"m{model}", f"v{model % 2}", tuple((name, str(rng.integers(3))) for name in ("a", "b")[:width]))
        for model in range(3)
        for width in range(3)
    ]
    return [
        Event(
            keys[rng.integers(len(keys))],
            np.nan if rng.random() < 0.1 else float(rng.lognormal(3, 1)),
            np.nan if rng.random() < 0.2 else float(rng.normal(0, 100)),
            None if rng.random() < 0.5 else f"k{rng.integers(4)}",
            "ok" if rng.random() < 0.8 else "timeout",
        )
        for _ in range(count)
    ]


def columns(chunk: list[Event], first: int) -> EventColumns:
    keys = tuple(dict.fromkeys(event.key for event in chunk))
    n = len(chunk)
    values = np.vstack([[event.amount for event in chunk], np.full(n, np.nan)])
    at = np.array([place for place, event in enumerate(chunk) if event.kind is not None], np.int64)
    texts = {1: (at, [event.kind or "" for event in chunk if event.kind is not None])}
    statuses = ("ok", "timeout")
    codes = np.array([statuses.index(event.status) for event in chunk], np.int32)
    return EventColumns(
        Family.PREDICTION, np.arange(n), np.zeros(n, np.int64), np.arange(first, first + n),
        np.array([keys.index(event.key) for event in chunk], np.int32), keys,
        {"latency_ms": np.array([event.latency_ms for event in chunk])},
        {"status": CountedColumn(np.arange(n), codes, statuses)},
        (FeatureBlock(np.arange(n), ("amount", "kind"), values, texts),),
        [f"e{first + place}" for place in range(n)],
    )  # fmt: skip


def open_pane(chunk: list[Event], batch: int) -> dict[Scope, Pane]:
    pane = OpenPane(KEY, 0, 0, PaneLimits(sample_rows=SAMPLE_ROWS), BinningIndex())
    for first in range(0, len(chunk), batch):
        part = columns(chunk[first : first + batch], first)
        hashes = row_hash(3, np.arange(first, first + len(part)), np.zeros(len(part), np.int64))
        half = np.arange(len(part)) % 2 == 0
        for mask in (half, ~half):  # as where a batch spans two panes
            pane.add(part, mask, hashes)
    return {found.scope: found for found in pane.panes()}


def scopes(event: Event) -> list[Scope]:
    whole = Scope(Family.PREDICTION, event.key.model, event.key.model_version)
    return [whole, *(Scope(whole.family, whole.model, whole.model_version, f"{k}={v}") for k, v in event.key.segments)]


def numbers(pane: Pane) -> dict[str, tuple[list[float], dict[int, int]]]:
    stats = column(pane.numeric.stats, np.float64).reshape(-1, 5).tolist()
    ends = np.cumsum(column(pane.numeric.cells, np.int32))
    bins = np.split(column(pane.numeric.bins, np.int16), ends[:-1])
    counts = np.split(column(pane.numeric.counts, np.uint32), ends[:-1])
    return {
        name: (stats[i], dict(zip(bins[i].tolist(), counts[i].tolist(), strict=True)))
        for i, name in enumerate(pane.numeric.names)
    }


@pytest.mark.parametrize("pending_bytes", [0, 4_000, 2 << 20])
@pytest.mark.parametrize("batch", [1, 17, 400])
@pytest.mark.parametrize("table", [0, 1 << 30], ids=["sorted", "tabled"])
def test_a_pane_is_the_sum_of_its_events(
    monkeypatch: pytest.MonkeyPatch, table: int, batch: int, pending_bytes: int
) -> None:
    monkeypatch.setattr(pane_module, "_PENDING_BYTES", pending_bytes)
    monkeypatch.setattr(counting, "_TABLE_PER_VALUE", table)
    chunk = events(batch, 400)
    found = open_pane(chunk, batch)
    by_scope: dict[Scope, list[Event]] = defaultdict(list)
    for event in chunk:
        for scope in scopes(event):
            by_scope[scope].append(event)
    assert {scope for scope in found if scope.model != INVALID} == set(by_scope)
    for scope, members in by_scope.items():
        pane = found[scope]
        assert pane.rows == len(members)
        counters = {part.name: dict(zip(part.values, part.counts, strict=True)) for part in pane.counters}
        assert counters == {"status": Counter(event.status for event in members)}
        kinds = Counter(event.kind for event in members if event.kind is not None)
        categories = {part.name: dict(zip(part.values, part.counts, strict=True)) for part in pane.categories}
        assert categories.get("features.kind", {}) == kinds
        quantities = numbers(pane)
        for name, given in (
            ("latency_ms", np.array([event.latency_ms for event in members])),
            ("features.amount", np.array([event.amount for event in members])),
        ):
            values = given[~np.isnan(given)]
            if not len(values):
                assert name not in quantities
                continue
            stats, cells = quantities[name]
            m2 = float(((values - values.mean()) ** 2).sum())
            expected = [len(values), values.mean(), m2, values.min(), values.max()]
            np.testing.assert_allclose(stats, expected, rtol=1e-10, atol=1e-9)
            assert cells == Counter(log.bins_of(values).tolist())


@pytest.mark.parametrize("pending_bytes", [0, 4_000, 2 << 20])
def test_the_sample_is_the_rows_of_lowest_hash(monkeypatch: pytest.MonkeyPatch, pending_bytes: int) -> None:
    monkeypatch.setattr(pane_module, "_PENDING_BYTES", pending_bytes)
    chunk = events(5, 400)
    found = open_pane(chunk, 33)
    hashes = row_hash(3, np.arange(400), np.zeros(400, np.int64)).tolist()
    by_whole: dict[Scope, list[tuple[int, str]]] = defaultdict(list)
    for place, event in enumerate(chunk):
        by_whole[scopes(event)[0]].append((hashes[place], f"e{place}"))
    for scope, rows in by_whole.items():
        sample = found[scope].sample
        assert list(sample.event_ids) == [name for _, name in sorted(rows)[:SAMPLE_ROWS]]
        assert column(sample.hashes, np.uint64).tolist() == [number for number, _ in sorted(rows)[:SAMPLE_ROWS]]


@pytest.mark.parametrize("mask", [[0, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]])
@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5], [0, 2, 3], []])
def test_chosen_events_are_those_of_the_mask(mask: list[int], rows: list[int]) -> None:
    values, of_rows = np.arange(6) * 10, np.array(rows, np.int64)
    chosen = Chosen.of(np.array(mask, bool))
    wanted = [row for row in rows if mask[row]]
    within, places = chosen.among(of_rows)
    assert of_rows[within].tolist() == wanted
    assert values[places].tolist() == [10 * row for row in wanted]
    assert values[chosen.rows].tolist() == [10 * row for row in range(6) if mask[row]]
    assert place_of(places, np.arange(len(wanted))).tolist() == wanted


def test_a_small_part_of_a_batch_does_not_keep_all_of_it() -> None:
    column = np.arange(100.0)
    assert kept(column, slice(10, 90)).base is column
    assert kept(column, slice(10, 20)).base is None


@pytest.mark.parametrize(("low", "step"), [(0, 2**64 // 5_000), (2**63, 2**63 // 5_000), (2**64 - 5_000, 1)])
def test_the_lowest_rows_are_found_however_hashes_are_spread(low: int, step: int) -> None:
    rng = np.random.default_rng(11)
    scope = rng.integers(3, size=5_000)
    hashes = rng.permutation(5_000).astype(np.uint64) * np.uint64(step) + np.uint64(low)
    buffer = SampleBuffer(SAMPLE_ROWS, 1 << 20)
    for part in np.array_split(np.arange(5_000), 3):
        at = part[buffer.lowest(scope[part], hashes[part], 3, 1)]
        values = np.zeros((len(at), 1), np.float32)
        buffer.add(("x",), scope[at], hashes[at], at, [str(row) for row in at], values)
    for number, sample in buffer.take().items():
        assert sample.hash.tolist() == sorted(hashes[scope == number].tolist())[:SAMPLE_ROWS]
