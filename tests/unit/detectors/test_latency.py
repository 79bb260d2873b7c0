"""What the latency family sees, what it says of it, and what it leaves alone."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.baseline import from_table
from detectors.decision import SEVERITIES, DecisionBank
from detectors.explain import explain
from detectors.protocol import LATENCIES, Scores
from detectors.registry import REGISTRY, make
from schemas.baselines import Baseline
from schemas.scopes import Scope
from streams.analyse.batch import role_of
from tests.laws.latency_alarms import ROWS, SHAPES, false_alarms, false_burns
from tests.laws.world import Seen, World, model

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]
ONE = model("ranking")
HOSTS = [model("ranking", f"host={name}") for name in "abcdef"]
SEEDS = range(5)


def usual(rng: np.random.Generator, n: int) -> Floats:
    return rng.lognormal(3, 0.5, n)


def slow_tail(rng: np.random.Generator, n: int) -> Floats:
    """One request in twenty is four times slower."""
    return usual(rng, n) * np.where(rng.random(n) < 0.05, 4, 1)


def two_peaks(rng: np.random.Generator, n: int) -> Floats:
    """One request in five goes a way that is eight times longer."""
    return usual(rng, n) * np.where(rng.random(n) < 0.2, 8, 1)


def fails_fast(rng: np.random.Generator, n: int) -> Floats:
    return np.where(rng.random(n) < 0.25, rng.lognormal(0, 0.3, n), usual(rng, n))


def slower(times: float) -> Draw:
    return lambda rng, n: usual(rng, n) * times


def baseline_of(scope: Scope, draw: Draw, quantity: str, seed: int = 99) -> Baseline:
    values = draw(np.random.default_rng(seed), 4_000)
    return from_table(scope, {quantity: values}, built_from="test", effective_from_ms=0)


def watch(
    kind: str, seed: int, draws: Mapping[Scope, Draw], *, rows: int = 2_000, windows: int = 6,
    baselines: Mapping[Scope, Draw] | None = None, quantity: str = "latency_ms",
    params: Mapping[str, object] | None = None,
) -> tuple[str, list[Scores], list[list[int]]]:  # fmt: skip
    """``F`` for windows in which something fires, the scores, and the scopes (by place) that fire."""
    known = dict.fromkeys(draws, usual) if baselines is None else baselines
    world = World({s: baseline_of(s, known[s], quantity, 99 + i) if s in known else None for i, s in enumerate(draws)})
    rng, detector, bank = np.random.default_rng(seed), make(kind, params), DecisionBank()
    marks, steps, who = "", [], []
    for i in range(windows):
        seen = {scope: Seen(rows, {quantity: draw(rng, rows)}) for scope, draw in draws.items()}
        scores = detector.step(world.window(seen, i * 60_000))
        firing = bank.decide(scores, i * 60_000, 60_000).firing
        marks += "F" if firing.any() else "."
        steps.append(scores)
        who.append(scores.scope[firing].tolist())
    return marks, steps, who


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tail_that_grows_alone_is_said_to(seed: int) -> None:
    marks, steps, _ = watch("latency", seed, {ONE: slow_tail}, rows=5_000)
    assert "F" in marks[:5]
    said = explain(steps[-1], 0, ONE, 0)
    assert steps[-1].label in (["p99"], ["p95"])
    assert "p50 has not moved (" in said
    assert said.endswith("the tail alone")


def test_where_all_is_slower_the_sentence_does_not_say_tail() -> None:
    for kind in ("latency", "latency_tail"):
        _, steps, _ = watch(kind, 1, {ONE: slower(3)}, rows=5_000)
        said = explain(steps[-1], 0, ONE, 0)
        assert "alone" not in said
        assert ("p50 20" in said) or steps[-1].label == ["p50"]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tail_is_judged_from_few_requests(seed: int) -> None:
    # Three hundred requests a minute are fifty in ten seconds: too few for a p95, let alone a p99.
    def heavy(rng: np.random.Generator, n: int) -> Floats:
        return usual(rng, n) * np.where(rng.random(n) < 0.1, 6, 1)

    marks, steps, _ = watch("latency_tail", seed, {ONE: heavy}, rows=300)
    assert "F" in marks[:5]
    assert steps[-1].value[0] > 0.05
    assert "1.3 times the baseline's p99" in explain(steps[-1], 0, ONE, 0)
    fast = [s.label for s in watch("latency", seed, {ONE: heavy}, rows=50)[1]]
    assert fast == [["p50"]] * len(fast)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("draw", [two_peaks, fails_fast])
def test_a_second_peak_is_found_on_either_side(draw: Draw, seed: int) -> None:
    marks, steps, _ = watch("latency_modes", seed, {ONE: draw})
    assert "F" in marks[:5]
    # What lies above the level of the valley: less than all that went the other way.
    assert 0.05 < steps[-1].value[0] < 0.3
    assert steps[-1].reference[0] < 0.01


def test_the_peaks_are_named() -> None:
    _, steps, _ = watch("latency_modes", 1, {ONE: two_peaks})
    said = explain(steps[-1], 0, ONE, 0)
    low, high = (float(x.split(" ms")[0]) for x in said.split("peaks near ")[1].split(" and ")[:2])
    assert low == pytest.approx(np.exp(3), rel=0.35)
    assert high == pytest.approx(8 * np.exp(3), rel=0.35)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_peak_that_moves_or_was_there_is_no_second_one(seed: int) -> None:
    for draw, before in ((slower(2.5), usual), (two_peaks, two_peaks), (slow_tail, usual)):
        marks, _, _ = watch("latency_modes", seed, {ONE: draw}, baselines={ONE: before})
        assert "F" not in marks, draw
    pareto = SHAPES["pareto"]
    assert "F" not in watch("latency_modes", seed, {ONE: pareto}, baselines={ONE: pareto})[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_peak_that_doubles_is_news(seed: int) -> None:
    def more(rng: np.random.Generator, n: int) -> Floats:
        return usual(rng, n) * np.where(rng.random(n) < 0.5, 8, 1)

    assert "F" in watch("latency_modes", seed, {ONE: more}, baselines={ONE: two_peaks})[0][:4]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("hosts", [3, 6])
def test_one_slow_host_is_found_among_its_peers(seed: int, hosts: int) -> None:
    draws = {host: slower(2.5) if i == 1 else usual for i, host in enumerate(HOSTS[:hosts])}
    marks, steps, who = watch("latency_hosts", seed, draws)
    assert "F" in marks[:4]
    assert who[-1] == [1]
    said = explain(steps[-1], 1, HOSTS[1], 0)
    assert f"the median of {hosts} hosts is" in said
    assert steps[-1].reference[1] < steps[-1].value[1] / 2


def test_a_host_that_is_new_and_slow_is_found_and_old_hardware_is_let_be() -> None:
    draws = {host: slower(3) if i == 1 else usual for i, host in enumerate(HOSTS)}
    assert "F" in watch("latency_hosts", 1, draws, baselines=draws)[0]
    old = {host: slower(1.45) if i == 1 else usual for i, host in enumerate(HOSTS)}
    assert "F" not in watch("latency_hosts", 1, old, baselines=old)[0]


def test_without_a_majority_there_is_no_outlier() -> None:
    assert "F" not in watch("latency_hosts", 1, dict.fromkeys(HOSTS, slower(4)))[0]
    halves = {host: slower(2) if i < 3 else usual for i, host in enumerate(HOSTS)}
    assert "F" not in watch("latency_hosts", 1, halves)[0]
    two = {host: slower(9) if i else usual for i, host in enumerate(HOSTS[:2])}
    assert not any(s.ready.any() for s in watch("latency_hosts", 1, two)[1])


def test_only_segments_of_the_named_key_are_hosts() -> None:
    countries = {model("ranking", f"country={c}"): slower(3 if c == "DE" else 1) for c in ("DE", "FR", "IT", "ES")}
    assert not any(len(s.series) for s in watch("latency_hosts", 1, countries)[1])
    marks, _, who = watch("latency_hosts", 1, countries, params={"segment": "country"})
    assert marks.endswith("F")
    assert who[-1] == [0]


@pytest.mark.parametrize("quantity", LATENCIES)
@pytest.mark.parametrize(
    ("kind", "draw"), [("latency", slower(3)), ("latency_tail", slow_tail), ("latency_modes", two_peaks)]
)
def test_tokens_are_treated_as_requests_are(kind: str, draw: Draw, quantity: str) -> None:
    assert role_of(quantity, ONE.family).name == "LATENCY"
    marks, steps, _ = watch(kind, 1, {ONE: draw}, quantity=quantity)
    assert marks.endswith("F")
    assert steps[-1].quantity == [quantity]


def test_a_limit_is_about_one_quantity() -> None:
    world = World({ONE: None})
    limits = [{"model": "*", "limit_ms": 200.0, "quantity": LATENCIES[1]}, {"model": "*", "limit_ms": 900.0}]
    detector = make("latency_limit", {"minutes": 1, "limits": limits})
    seen = Seen(100, {name: np.full(100, 300.0) for name in LATENCIES})
    scores = detector.step(world.window({ONE: seen}))
    found = {name: float(score) for name, score in zip(scores.quantity, scores.score, strict=True)}
    assert found[LATENCIES[0]] == pytest.approx(1 / 3, rel=0.02)
    assert found[LATENCIES[1]] == pytest.approx(1.5, rel=0.02)
    assert np.isnan(found[LATENCIES[2]])


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_fires_while_latencies_do_not_change(shape: str, rows: int) -> None:
    # 480 scope windows of each; the module they come from counts as many as one has patience for.
    found = false_alarms(5, shape, rows, windows=6, jitter=0.03)
    assert [kind for kind in found if "windows" not in kind] == []


@pytest.mark.parametrize("rows", [2, 2_000])
def test_no_budget_burns_that_is_used_as_allowed(rows: int) -> None:
    assert not false_burns(3, rows, minutes=150, used=0.9)


def test_the_tail_alone_is_a_ticket_and_leaves_paging_to_the_quantiles() -> None:
    assert REGISTRY["latency_tail"].rule.page_when is None
    assert REGISTRY["latency"].rule.page_when is not None


def loudest(draws: Mapping[Scope, Draw], rows: Mapping[Scope, int], windows: int = 32) -> dict[str, str]:
    """Version and segment → how loud ``latency`` is after so many windows of ten seconds, of what fires."""
    world = World({scope: baseline_of(scope, usual, "latency_ms") for scope in draws})
    rng, detector, bank, said = np.random.default_rng(3), make("latency"), DecisionBank(), {}
    for i in range(windows):
        seen = {scope: Seen(rows[scope], {"latency_ms": draw(rng, rows[scope])}) for scope, draw in draws.items()}
        batch = world.window(seen, i * 10_000, 10_000)
        scores = detector.step(batch)
        decided = bank.decide(scores, batch.start_ms, batch.size_ms)
        for place in np.flatnonzero(decided.firing).tolist():
            key = batch.scopes.key[int(scores.scope[place])]
            said[f"{key.model_version} {key.segment}".strip()] = SEVERITIES[int(decided.severity[place])].value
    return said


@pytest.mark.parametrize(
    ("times", "windows", "loud"), [(1.7, 32, "critical"), (1.7, 12, "warning"), (1.4, 60, "warning")]
)
def test_a_typical_request_half_as_long_again_pages_after_minutes(times: float, windows: int, loud: str) -> None:
    assert loudest({ONE: slower(times)}, {ONE: 2_000}, windows) == {"1": loud}


def test_a_segment_or_a_canary_that_is_slower_can_wait_for_the_morning() -> None:
    canary, free = Scope(ONE.family, ONE.model, "2"), Scope(ONE.family, ONE.model, "1", "tier=free")
    draws = {ONE: usual, canary: slower(1.7), free: slower(1.7)}
    assert loudest(draws, {ONE: 2_000, canary: 250, free: 500}) == {"2": "warning", "1 tier=free": "warning"}
