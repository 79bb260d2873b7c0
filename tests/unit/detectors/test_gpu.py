"""GPUs: memory errors, idleness, leaks, slow cards, and errors that repeat."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.decision import DecisionBank
from detectors.explain import explain
from detectors.protocol import Scores
from detectors.registry import make
from schemas.scopes import Family, Scope
from tests.laws.world import Seen, World

HOST = tuple(Scope(Family.GPU, "node-1", f"GPU-{i}") for i in range(4))
GPU = HOST[0]
GIB = 2.0**30
Floats = NDArray[np.float64]


def play(
    kind: str, windows: Sequence[Mapping[Scope, Seen]], size_ms: int, params: Mapping[str, object] | None = None
) -> tuple[str, list[Scores]]:
    """A mark per window, F where a finding fires about the first GPU; and the scores."""
    world, detector, bank = World(dict.fromkeys(HOST)), make(kind, params), DecisionBank()
    marks, found = "", []
    for i, seen in enumerate(windows):
        scores = detector.step(world.window(seen, i * size_ms, size_ms))
        firing = bank.decide(scores, i * size_ms, size_ms).firing
        marks += "F" if firing[np.asarray(scores.scope) == 0].any() else "."
        found.append(scores)
    return marks, found


def sampled(**gauges: float) -> Seen:
    return Seen(5, {name: np.full(5, value) for name, value in gauges.items()})


def said(scores: Scores, place: int = 0) -> str:
    return explain(scores, place, GPU, 0)


# -- XID -------------------------------------------------------------------------------------------------------------


def xids(*codes: str) -> dict[Scope, Seen]:
    return {GPU: Seen(5, counters={"xid": {code: codes.count(code) for code in codes}} if codes else {})}


def test_errors_that_repeat_are_one_finding_that_counts_them() -> None:
    quiet = [xids()] * 5
    windows = [xids(), xids("31"), *quiet, xids("31", "31"), *quiet, xids("79"), *quiet, *quiet]
    marks, found = play("gpu_xid", windows, 10_000, {"hold_s": 70})
    assert marks == "." + "F" * 20 + "." * 3
    assert [s.value[0] for s in found[1:8]] == [1, 1, 1, 1, 1, 1, 3]
    assert (found[13].label, found[13].score[0]) == (["79, 31 × 3"], 103)
    assert found[20].since_ms is not None
    assert found[20].since_ms[0] == 10_000
    assert "the last by 00:02:20 UTC" in said(found[20])


def test_a_spell_starts_over_when_it_has_ended() -> None:
    marks, found = play("gpu_xid", [xids("79", "79"), *[xids()] * 3, xids("31")], 10_000, {"hold_s": 20})
    assert marks == "FFF.F"
    assert (found[4].value[0], found[4].score[0], found[4].label) == (1, 1, ["31"])


def test_codes_over_a_cap_count_without_a_name() -> None:
    _, found = play("gpu_xid", [xids("__other__", "13")], 10_000)
    assert (found[0].value[0], found[0].label) == (2, ["13"])


# -- ECC -------------------------------------------------------------------------------------------------------------


def ecc(readings: Sequence[float | Sequence[float]], **params: object) -> tuple[str, list[Scores]]:
    windows = [{GPU: Seen(3, {"ecc_uncorrected_total": np.resize(np.array(r, float), 3)})} for r in readings]
    return play("gpu_ecc", windows, 10_000, params)


@pytest.mark.parametrize(
    ("readings", "marks"),
    [
        ([7, 7, 7], "..."),  # counted before anybody looked
        ([0, 1, 1], ".FF"),
        ([7, 7, 8], "..F"),
        ([5, 6, 0, 0], ".F.."),  # the card was reset
        ([5, 5, 2], "..F"),  # reset, and two errors since
        ([5, [5, 0, 0], 0, 1], "...F"),  # reset within a window
        ([5, [6, 6, 0], 0], ".FF"),  # an error just before
        ([0, np.nan, 1], "..F"),
    ],
)
def test_uncorrected_errors_are_told_at_once(readings: list[float], marks: str) -> None:
    assert ecc(readings)[0] == marks


def test_uncorrected_errors_are_one_story_until_they_stop() -> None:
    marks, found = ecc([0, 1, 1, 3, *[3] * 5], hold_s=30)
    assert marks == ".FFFFFF.."
    assert [float(s.value[0]) for s in found[1:8]] == [1, 1, 3, 3, 3, 3, 0]


def corrected(per_minute: Floats) -> str:
    totals = np.cumsum(per_minute)
    windows = [{GPU: sampled(ecc_corrected_total=float(total))} for total in totals]
    return play("gpu_ecc_rate", windows, 60_000)[0]


@pytest.mark.parametrize("seed", range(5))
def test_corrected_errors_are_news_when_they_come_faster(seed: int) -> None:
    rng = np.random.default_rng(seed)
    marks = corrected(rng.poisson(np.where(np.arange(360) < 240, 0.1, 4.0)).astype(float))
    assert "F" not in marks[:240]
    assert "F" in marks[240:300]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.5, 3.0])
def test_corrected_errors_at_their_usual_rate_are_no_news(seed: int, rate: float) -> None:
    assert "F" not in corrected(np.random.default_rng(seed).poisson(rate, 720).astype(float))


def test_a_burst_of_corrected_errors_is_no_rate() -> None:
    minutes = np.zeros(360)
    minutes[[200, 230]] = 5_000
    assert "F" not in corrected(minutes)


# -- idleness --------------------------------------------------------------------------------------------------------


def idle(busy: Sequence[float], held_gib: float = 40.0, **params: object) -> tuple[str, list[Scores]]:
    windows = [{GPU: sampled(utilization_ratio=b, memory_used_bytes=held_gib * GIB)} for b in busy]
    return play("gpu_idle", windows, 300_000, params)


def test_a_gpu_that_holds_memory_for_two_hours_and_does_nothing_is_waste() -> None:
    marks, found = idle([0.7] * 3 + [0.01] * 30 + [0.6] * 3)
    assert marks == "." * 26 + "F" * 7 + "..."
    assert "2.0 GPU-hours wasted so far, 40.0 GiB held" in said(found[26])
    assert found[26].since_ms is not None
    assert found[26].since_ms[0] == 3 * 300_000
    assert found[26].threshold is not None
    assert (found[26].value[0], found[26].threshold[0]) == (pytest.approx(0.01), 0.05)


def test_what_it_costs_is_said_where_the_price_is_known() -> None:
    _, found = idle([0.0] * 24, price_usd_per_h=2.5)
    assert "2.0 GPU-hours wasted so far, 5.00 USD" in said(found[-1])


@pytest.mark.parametrize(
    ("busy", "held_gib"),
    [([0.01] * 30, 0.4), ([*[0.01] * 20, 0.3, *[0.01] * 20], 40.0), ([0.08] * 40, 40.0)],
    ids=["nothing held", "used in between", "little to do"],
)
def test_what_is_used_or_free_is_no_waste(busy: list[float], held_gib: float) -> None:
    assert "F" not in idle(busy, held_gib)[0]


def test_a_gpu_without_utilisation_is_not_judged() -> None:
    _, found = play("gpu_idle", [{GPU: sampled(memory_used_bytes=GIB * 40)}] * 30, 300_000)
    assert not any(s.ready.any() for s in found)


# -- leaks -----------------------------------------------------------------------------------------------------------

TOTAL = 80e9
HOURS = np.arange(120) / 12


def memory(used: Floats, busy: Floats | float = 0.5) -> tuple[str, list[Scores]]:
    """Means of five-minute windows."""
    at = np.broadcast_to(busy, used.shape)
    windows = [
        {GPU: sampled(memory_used_bytes=float(u), memory_total_bytes=TOTAL, utilization_ratio=float(b))}
        for u, b in zip(np.clip(used, 0, TOTAL), at, strict=True)
    ]
    return play("gpu_leak", windows, 300_000)


def leaking(per_h: float, since_h: float = 5.0, base: float = 45e9) -> Floats:
    return base + per_h * np.maximum(HOURS - since_h, 0)


def noise(seed: int, std: float = 5e7) -> Floats:
    return np.random.default_rng(seed).normal(0, std, len(HOURS))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("per_h", [2e9, 5e9])
def test_memory_that_only_grows_is_found_within_hours(seed: int, per_h: float) -> None:
    marks, found = memory(leaking(per_h) + noise(seed))
    first = marks.find("F")
    assert 60 <= first <= 60 + (16 if per_h == 5e9 else 36)
    assert set(marks[first:]) == {"F"}
    assert found[first].value[0] * GIB == pytest.approx(per_h, rel=0.3)


def test_it_says_when_the_memory_will_be_full() -> None:
    marks, found = memory(leaking(4e9))
    at = marks.find("F")
    left_h = (TOTAL - leaking(4e9)[at]) / 4e9
    assert f"enough for {left_h:.1f} h more" in said(found[at])


def test_a_leak_under_a_load_that_rises_slowly_is_found() -> None:
    assert "F" in memory(leaking(5e9) + noise(1), 0.5 + 0.01 * HOURS)[0]


def test_a_restart_ends_it() -> None:
    used = leaking(5e9)
    used[108:] = 45e9
    marks, _ = memory(used)
    assert marks[107] == "F"
    assert marks.endswith("." * 10)


def saw(used: Floats, every: int, depth: float) -> Floats:
    """Given back every so often, as a collector of garbage does."""
    return used + depth * (np.arange(len(used)) % every) / every


def steps(*at: int, size: float = 4e9) -> Floats:
    done = np.searchsorted(np.array(at), np.arange(len(HOURS)), side="right")
    return np.asarray(45e9 + size * done, np.float64)


HARMLESS: dict[str, Callable[[int], tuple[Floats, Floats | float]]] = {
    "as ever": lambda seed: (45e9 + noise(seed), 0.5),
    "a step": lambda seed: (steps(60) + noise(seed), 0.5),
    "steps, then a plateau": lambda seed: (steps(60, 62, 63, 67, 70) + noise(seed), 0.5),
    "warming up quickly": lambda seed: (70e9 - 40e9 * np.exp(-HOURS * 6) + noise(seed), 0.5),
    "warming up within hours": lambda seed: (60e9 - 30e9 * np.exp(-HOURS) + noise(seed), 0.5),
    "ever new record requests": lambda seed: (
        40e9 + 4e9 * np.maximum.accumulate(np.random.default_rng(seed).gumbel(0, 1, len(HOURS))), 0.5
    ),
    "rubbish collected": lambda seed: (saw(45e9 + noise(seed), 7, 6e9), 0.5),
    "in proportion to the load": lambda seed: (
        70e9 * (0.3 + 0.06 * HOURS) + noise(seed), 0.3 + 0.06 * HOURS
    ),
    "slowly, for days": lambda seed: (leaking(0.2e9) + noise(seed), 0.5),
    "wandering": lambda seed: (45e9 + np.cumsum(noise(seed, 2e8)), 0.5),
}  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_no_leak_is_left_alone(name: str, seed: int) -> None:
    assert "F" not in memory(*HARMLESS[name](seed))[0]


def test_what_regains_a_former_height_is_no_leak_but_what_was_full_is_one_again() -> None:
    every = 42  # three hours and a half
    for top, again in ((0.8, False), (1.0, True)):
        used = 45e9 + (top * TOTAL - 45e9) * (np.arange(120) % every + 1) / every
        marks, _ = memory(used)
        assert "F" in marks[:every]
        assert ("F" in marks[every + 2 : 2 * every]) == again


def test_a_gap_in_telemetry_is_no_growth() -> None:
    world, detector = World(dict.fromkeys(HOST)), make("gpu_leak")
    for i, used in enumerate(leaking(5e9)[50:]):
        start = i * 300_000 + (i > 30) * 3_600_000
        gauges = sampled(memory_used_bytes=float(used), memory_total_bytes=TOTAL)
        scores = detector.step(world.window({GPU: gauges}, start, 300_000))
        assert scores.ready[0] == (i >= 12 and not 30 < i < 43), i


# -- slow cards ------------------------------------------------------------------------------------------------------


def host(
    clocks: Sequence[float], busy: Sequence[float], most: Sequence[float] = (2e9,) * 4, reason: str = ""
) -> list[dict[Scope, Seen]]:
    window = {
        gpu: sampled(sm_clock_hz=clock, sm_clock_max_hz=limit, utilization_ratio=b)
        for gpu, clock, limit, b in zip(HOST, clocks, most, busy, strict=False)
    }
    if reason:
        window[GPU] = Seen(5, window[GPU].numeric, counters={"clocks_event_reason": {reason: 5}})
    return [window] * 5


def test_a_card_below_its_neighbours_clock_is_found() -> None:
    marks, found = play("gpu_slow", host([1.35e9, 1.85e9, 1.86e9, 1.84e9], [0.9, 0.7, 0.7, 0.7]), 60_000)
    assert marks == "..FFF"
    assert (found[0].value[0], found[0].reference[0]) == (1350, 1850)
    assert found[0].score[0] == pytest.approx(1 - 1350 / 1850)
    assert "the median of 3 busy GPUs beside it is 1,850 MHz" in said(found[0])


FAST = [1.35e9, 1.85e9, 1.86e9, 1.84e9]
ALL_BUSY = [0.7] * 4


@pytest.mark.parametrize(
    "windows",
    [
        host([1.72e9, 1.85e9, 1.86e9, 1.84e9], ALL_BUSY),
        host(FAST, [0.05, 0.7, 0.7, 0.7]),
        host(FAST, ALL_BUSY, reason="sw_power_cap"),
        host(FAST, ALL_BUSY, reason="hw_thermal_slowdown"),
        host(FAST, ALL_BUSY, most=[1.4e9, 2e9, 2e9, 2e9]),
        host([1.35e9] * 4, ALL_BUSY),
        host(FAST[:2], ALL_BUSY[:2]),
        host(FAST, [0.7, 0.7, 0.0, 0.0]),
        host([1.35e9, 1.85e9, 1.2e9, 1.6e9], ALL_BUSY),
    ],
    ids=[
        "a little", "idle", "power cap", "heat", "another kind", "all alike", "only two", "idle neighbours",
        "all differ",
    ],
)  # fmt: skip
def test_a_clock_with_a_reason_or_without_peers_is_no_news(windows: list[dict[Scope, Seen]]) -> None:
    assert play("gpu_slow", windows, 60_000)[0] == "....."


def test_the_slow_card_does_not_make_its_neighbours_look_fast_or_slow() -> None:
    _, found = play("gpu_slow", host(FAST, ALL_BUSY), 60_000)
    assert (found[0].score[1:] < 0.01).all()
