"""The laws that every registered detector keeps."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.protocol import Scores
from detectors.registry import REGISTRY
from detectors.state import StateError
from schemas.scopes import Scope
from tests.laws.cases import ANOMALIES, CROWDS, FIELDS, SCOPES, SPANS, again, batch, new, table, windows
from tests.laws.world import Seen

kinds = pytest.mark.parametrize("kind", sorted(REGISTRY))
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=3, deadline=None)
N = 12
COUNT_EVENTS = {
    "nulls", "schema", "duplicates", "volume", "errors", "versions", "outliers", "bad_input", "gpu_throttle", "gpu_xid",
    "slo",
}  # fmt: skip
"""What looks at events rather than at their values, and so has something to say when those are null."""


def equal(a: Scores, b: Scores) -> bool:
    return all(np.array_equal(getattr(a, f), getattr(b, f), equal_nan=True) for f in FIELDS)


def arrays_of(part: object) -> list[np.ndarray]:
    if isinstance(part, np.ndarray):
        return [part]
    if is_dataclass(part):
        return [a for f in fields(part) for a in arrays_of(getattr(part, f.name))]
    if isinstance(part, Mapping):
        return [a for value in part.values() for a in arrays_of(value)]
    if isinstance(part, list | tuple):
        return [a for value in part for a in arrays_of(value)]
    return []


@kinds
@few
@given(seed=seeds)
def test_a_series_score_does_not_depend_on_the_batch_it_comes_in(kind: str, seed: int) -> None:
    # What belongs to one model comes together: its panes have one key.
    whole, parts = new(kind), {scope.model: new(kind) for scope in (*SCOPES, *CROWDS.get(kind, ()))}
    for i, seen in enumerate(windows(seed, N, 0.5, kind, since=8)):
        together = table(whole.step(batch(seen, i)), seen)
        apart: dict[tuple[Scope, str], tuple[float, ...]] = {}
        for model, part in parts.items():
            one = {scope: found for scope, found in seen.items() if scope.model == model}
            apart |= table(part.step(batch(one, i)), one)
        assert together.keys() == apart.keys()
        for key, numbers in together.items():
            np.testing.assert_array_equal(numbers, apart[key], err_msg=str(key))


@kinds
@few
@given(seed=seeds, cut=st.integers(0, N - 1))
def test_saved_state_continues_exactly(kind: str, seed: int, cut: int) -> None:
    through, interrupted = new(kind), new(kind)
    for i, seen in enumerate(windows(seed, N, 0.5, kind, since=8)):
        if i == cut:
            interrupted = again(kind, interrupted)
        assert equal(through.step(batch(seen, i)), interrupted.step(batch(seen, i)))
    assert through.to_bytes() == interrupted.to_bytes()


@kinds
def test_inputs_are_not_mutated(kind: str) -> None:
    detector = new(kind)
    for i, seen in enumerate(windows(1, N, 0.5, kind, since=8)):
        window = batch(seen, i)
        for array in arrays_of(window):
            array.flags.writeable = False
        detector.step(window)


@kinds
@few
@given(seed=seeds)
def test_a_seed_fixes_everything(kind: str, seed: int) -> None:
    one, other = new(kind), new(kind)
    for i, seen in enumerate(windows(seed, N, 0.5, kind, since=8)):
        assert equal(one.step(batch(seen, i)), other.step(batch(seen, i)))


def emptied(seen: Seen) -> Seen:
    return replace(
        seen, rows=0, numeric={k: v[:0] for k, v in seen.numeric.items()}, errors=0, sample=None,
        categories={k: dict.fromkeys(v, 0) for k, v in seen.categories.items()},
        counters={k: dict.fromkeys(v, 0) for k, v in seen.counters.items()},
    )  # fmt: skip


def all_null(seen: Seen) -> Seen:
    nothing = {k: np.full(seen.rows, np.nan) for k in seen.numeric}
    sample = seen.sample and (seen.sample[0], np.full_like(seen.sample[1], np.nan))
    return replace(seen, numeric=nothing, categories={}, counters={}, sample=sample)


@kinds
@pytest.mark.parametrize("warm", [False, True])
def test_a_window_without_events_is_not_ready(kind: str, warm: bool) -> None:
    detector = new(kind)
    for i, seen in enumerate(windows(2, N if warm else 0)):
        detector.step(batch(seen, i))
    scores = detector.step(batch({scope: emptied(seen) for scope, seen in windows(3, 1)[0].items()}, N))
    if kind == "volume" and warm:
        # Silence is what volume is there to hear.
        assert scores.ready.all()
        return
    assert not scores.ready.any()
    for field in ("score", "floor", "noise", "p_value", "value", "reference"):
        assert np.isnan(getattr(scores, field)).all(), field


@kinds
def test_values_that_are_all_null_are_not_ready(kind: str) -> None:
    detector = new(kind)
    for i, seen in enumerate(windows(2, N)):
        detector.step(batch(seen, i))
    nothing = {scope: all_null(seen) for scope, seen in windows(3, 1)[0].items()}
    scores = detector.step(batch(nothing, N))
    assert kind in COUNT_EVENTS or not scores.ready.any()


@kinds
def test_state_is_bounded(kind: str) -> None:
    detector = new(kind)
    batches = [batch(seen, i) for i, seen in enumerate(windows(4, 10))]
    sizes = []
    # ADWIN keeps up to 512 inputs: past that twice.
    half = 70 if kind == "adwin" else 8
    for _ in range(2):
        for _ in range(half):
            for window in batches:
                detector.step(window)
        sizes.append(len(detector.to_bytes()))
    assert sizes[1] <= sizes[0] * 1.5 + 64
    assert sizes[1] < 200_000


@kinds
def test_forgotten_series_start_over(kind: str) -> None:
    used, fresh = new(kind), new(kind)
    for i, seen in enumerate(windows(5, N, 0.5, kind)):
        used.forget(used.step(batch(seen, i)).series)
    for i, seen in enumerate(windows(6, N)):
        assert equal(used.step(batch(seen, i)), fresh.step(batch(seen, i)))


def worst(kind: str, seed: int, strength: float) -> float:
    """The highest score under the anomaly, of the scope that has it."""
    detector, scope = new(kind), ANOMALIES[kind][0]
    found = [-1.0]
    n, since = SPANS.get(kind, (N, 6))
    for i, seen in enumerate(windows(seed, n, strength, kind, since)):
        scores = detector.step(batch(seen, i))
        if i >= since:
            found += scores.score[scores.ready & (scores.scope == list(seen).index(scope))].tolist()
    return max(found)


@kinds
@few
@given(seed=seeds)
def test_a_score_never_falls_when_the_anomaly_grows(kind: str, seed: int) -> None:
    ladder = [worst(kind, seed, strength) for strength in (0.2, 0.4, 0.8, 1.0)]
    for weaker, stronger in pairwise(ladder):
        assert stronger >= weaker - 1e-12, ladder
    assert ladder[-1] > ladder[0], ladder


@kinds
def test_the_strongest_anomaly_reaches_the_floor_and_the_usual_does_not(kind: str) -> None:
    def evidence(strength: float) -> int:
        detector, scope, seen_over = new(kind), ANOMALIES[kind][0], 0
        n, since = SPANS.get(kind, (N, 6))
        for i, seen in enumerate(windows(7, n, strength, kind, since)):
            s = detector.step(batch(seen, i))
            here = s.scope == list(seen).index(scope)
            seen_over += int((here & s.ready & (s.score >= s.floor) & (s.score > s.noise)).sum())
        return seen_over

    assert evidence(1.0) > 0
    if kind != "latency_limit":  # its limit in this test is below what is usual
        assert evidence(0.0) == 0


@kinds
def test_state_of_another_detector_is_refused(kind: str) -> None:
    other = new("errors" if kind != "errors" else "nulls")
    with pytest.raises(StateError):
        again(kind, other)
    with pytest.raises(StateError):
        type(new(kind)).from_bytes(b"\x01\x02", REGISTRY[kind].params())


@kinds
def test_scores_are_aligned_and_say_who_they_are(kind: str) -> None:
    scores = new(kind).step(batch(windows(8, 1)[0]))
    assert scores.detector == kind
    n = len(scores.series)
    assert len(set(scores.series.tolist())) == n
    for field in (*FIELDS, "scope", "quantity"):
        assert len(getattr(scores, field)) == n, field
