"""Hashes of ids and the samples of them, against counting every id."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codecs import hashes
from schemas.codecs.arrow_columns import ArrowTexts
from schemas.codecs.merge import Gathered
from schemas.codecs.texts import CutTexts
from streams.windows.identities import ALL, IdSums, SampledIds

texts = st.lists(st.one_of(st.just(""), st.text(max_size=20), st.text("abc-0123", min_size=30, max_size=300)))


def one_by_one(ids: list[str]) -> list[int]:
    return [int(hashes.of_texts([text])[0]) for text in ids]


@settings(deadline=None)
@given(ids=texts)
def test_a_texts_hash_is_its_own_whatever_comes_beside_it_and_however(ids: list[str]) -> None:
    wanted = one_by_one(ids)
    halves = (ids[::2], ids[1::2])
    places = np.arange(len(ids))
    kinds = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
    forms = [
        ids,
        CutTexts(ids, 4),
        Gathered(halves, places % 2, places // 2),
        *(ArrowTexts(pa.array(ids, pa.string()).cast(kind), 4) for kind in kinds),
        ArrowTexts(pa.array(["x", *ids], pa.string())[1:], 4),
        ArrowTexts(pa.chunked_array([pa.array(half, pa.string()) for half in halves]), 4),
    ]
    order = [*range(0, len(ids), 2), *range(1, len(ids), 2)]
    for form in forms[:-1]:
        assert hashes.of_texts(form).tolist() == wanted
    assert hashes.of_texts(forms[-1]).tolist() == [wanted[place] for place in order]


def test_null_and_the_empty_text_have_no_hash_and_every_other_text_has_one_of_its_own() -> None:
    assert hashes.of_texts(ArrowTexts(pa.array([None, "a", None]), 9)).tolist() == [0, *one_by_one(["a"]), 0]
    ids = [f"{kind}-{i}" for kind in ("e", "order") for i in range(50_000)] + ["x" * 300, "x" * 301]
    found = hashes.of_texts(ids)
    assert len(np.unique(found)) == len(ids)
    assert 0 not in found.tolist()


def test_the_hash_of_an_id_is_the_same_in_every_release() -> None:
    # Panes of workers of two releases are added up: another hash would hide what came twice.
    assert one_by_one(["e-1", "01J9ZQ4T6W-000000000007"]) == [16550569964164013486, 12949130040862890066]


def exact(scope: np.ndarray, ids: np.ndarray, keep: int) -> dict[int, tuple[int, int, dict[int, int]]]:
    """Scope → events, limit, the ids of lowest hash and how often each came."""
    found = {}
    for number in np.unique(scope[ids != 0]).tolist():
        counts = Counter(ids[(scope == number) & (ids != 0)].tolist())
        lowest = sorted(counts)
        limit = lowest[keep] - 1 if len(lowest) > keep else int(ALL)
        found[number] = (counts.total(), limit, {one: counts[one] for one in lowest[:keep]})
    return found


def shown(folded: SampledIds) -> dict[int, tuple[int, int, dict[int, int]]]:
    spans = zip(folded.offsets[:-1].tolist(), folded.offsets[1:].tolist(), strict=True)
    return {
        scope: (events, limit, dict(zip(folded.hashes[a:b].tolist(), folded.counts[a:b].tolist(), strict=True)))
        for scope, events, limit, (a, b) in zip(
            folded.scope.tolist(), folded.events.tolist(), folded.limit.tolist(), spans, strict=True
        )
    }


def traffic(seed: int, events: int = 3_000, scopes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scope = np.minimum(rng.geometric(0.6, events) - 1, scopes - 1)
    ids = hashes.of_texts([f"e{i}" if i % 50 else "" for i in rng.integers(events, size=events).tolist()])
    return scope, ids


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("batch", [1, 17, 400, 3_000])
def test_the_sample_is_of_the_lowest_ids_whatever_the_batches(seed: int, batch: int) -> None:
    scope, ids = traffic(seed)
    sums = IdSums(20)
    for first in range(0, len(ids), batch):
        part = slice(first, first + batch)
        sums.add(scope[part], ids[part])
    assert shown(sums.fold()) == exact(scope, ids, 20)


@pytest.mark.parametrize("seed", range(4))
def test_parts_make_the_same_sample_in_any_order_and_however_often_one_looks(seed: int) -> None:
    scope, ids = traffic(seed)
    parts = []
    for first in range(0, len(ids), 250):
        pane = IdSums(20)
        pane.add(scope[first : first + 250], ids[first : first + 250])
        parts.append(pane.fold())
    made = []
    for order, looks in ((parts, False), (parts[::-1], True), (parts[1::2] + parts[::2], False)):
        sums = IdSums(30)
        for part in order:
            sums.merge(part)
            if looks:
                sums = IdSums.from_parts(sums.to_parts(), 30)
        made.append(shown(sums.fold()))
    assert made[0] == made[1] == made[2]
    truth = exact(scope, ids, len(ids))
    for number, (events, limit, counts) in made[0].items():
        assert events == truth[number][0]
        assert len(counts) <= 30
        assert counts == {one: n for one, n in truth[number][2].items() if one <= limit}


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
def test_the_share_of_repeated_ids_is_known_to_its_standard_error(share: float) -> None:
    errors = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        own = rng.integers(1, 2**63, 5_000).astype(np.uint64)
        again = np.concatenate((own, own[rng.random(len(own)) < share]))
        rng.shuffle(again)
        window = IdSums(256)
        for part in np.array_split(again, 12):  # six panes of two partitions
            pane = IdSums(40)
            pane.add(np.zeros(len(part), np.int64), part)
            window.merge(pane.fold())
        found = window.fold()
        sampled, repeated = int(found.sampled[0]), int(found.repeated[0])
        assert sampled > 100
        errors.append((repeated / sampled - share) / np.sqrt(max(share * (1 - share), 1e-12) / sampled))
    if share == 0:
        assert not any(errors)
    else:
        assert abs(np.mean(errors)) < 0.6
        assert 0.7 < np.std(errors) < 1.3
