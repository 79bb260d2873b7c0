"""A soak test's verdict: what a leak, a lag that stays and a restart look like, and what is no such thing."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest

from loadgen.scenarios import demo
from loadgen.scenarios import load as load_scenario
from loadgen.soak import staging
from loadgen.soak.capacity import Ramp, held
from loadgen.soak.recording import Begun, Entry, Gap, Heard, Injected, Load, Reading, Recording, line, load, reading
from loadgen.soak.report import html
from loadgen.soak.verdict import Check, judge, slope, total_lag
from loadgen.truth import Truth
from streams.metrics import Metrics, render

START_S = 1_780_000_000.0
HOUR_S, STEP_S, WARM_S = 3600.0, 5.0, 600.0
FAULT = Truth(name="burst", entity="m", onset_ms=int((START_S + 1800) * 1000), end_ms=int((START_S + 1860) * 1000))


def recording(
    rss: Callable[[float], float] = lambda _: 0.0,
    lag: Callable[[float], float] = lambda _: 0.0,
    seed: int = 1,
    extra: Sequence[Entry] = (),
) -> list[Entry]:
    rng = np.random.default_rng(seed)
    entries: list[Entry] = [Begun(START_S, HOUR_S, WARM_S, 100_000, 70_000, "soak", 1, "two cores")]
    for at in np.arange(0.0, HOUR_S, STEP_S).tolist():
        entries += [
            Reading(
                at_s=START_S + at,
                worker=worker,
                rss_bytes=300e6 + rng.normal(0, 3e6) + rss(at),
                cpu_s=at * 0.7,
                open_files=40 + float(rng.integers(0, 3)),
                threads=12,
                lag_events=float(rng.integers(0, 20_000)) + lag(at),
                open_windows=float(rng.integers(2, 6)),
            )
            for worker in ("ingest", "write")
        ]
        entries.append(Load(START_S + at, int(at * 70_000), 0.01))
    return [*entries, Injected(FAULT), *extra]


def failed(entries: Sequence[Entry]) -> list[str]:
    return [check.name for check in judge(Recording.of(entries)) if not check.ok]


@pytest.mark.parametrize("seed", range(5))
def test_an_hour_of_noise_passes(seed: int) -> None:
    assert not failed(recording(seed=seed))


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_of_two_percent_an_hour_is_seen_through_noise_and_warm_up_is_not_taken_for_one(seed: int) -> None:
    assert "ingest memory" in failed(recording(lambda at: 6e6 * at / 3600, seed=seed))
    assert not failed(recording(lambda at: 40e6 * min(at / WARM_S, 1.0), seed=seed))


def test_one_burst_of_memory_does_not_bend_the_slope() -> None:
    assert not failed(recording(lambda at: 200e6 if 3400 < at < 3500 else 0.0))


def test_a_lag_that_does_not_come_back_after_a_fault_is_told_by_the_faults_name() -> None:
    assert not failed(recording(lag=lambda at: 500_000.0 if 1800 <= at < 1880 else 0.0))
    assert failed(recording(lag=lambda at: 500_000.0 if 1800 <= at < 2100 else 0.0)) == ["lag after burst"]


def test_a_lag_that_grows_all_the_time_fails() -> None:
    assert "lag" in failed(recording(lag=lambda at: 100.0 * at))


def test_a_restart_a_silent_worker_and_a_late_generator_fail() -> None:
    again = Reading(START_S + HOUR_S, "write", 300e6, 1.0, 40, 12, 0.0, 3.0, started_s=START_S + 99)
    assert failed(recording(extra=[again])) == ["write restarts"]
    gaps = [Gap(START_S + at, "ingest", "timed out") for at in range(40)]
    assert failed(recording(extra=gaps)) == ["ingest answers"]
    assert failed(recording(extra=[Load(START_S + 7, 1, 1.5)])) == ["generator"]


def test_too_short_a_run_is_refused_with_what_to_do() -> None:
    short = [entry for entry in recording() if not isinstance(entry, Reading) or entry.at_s < START_S + WARM_S + 20]
    with pytest.raises(ValueError, match="let it run longer"):
        judge(Recording.of(short))


def test_the_slope_is_that_of_a_line_whatever_a_quarter_of_its_points_say() -> None:
    rng = np.random.default_rng(3)
    at = np.arange(1000.0)
    values = 5 + 0.25 * at + rng.normal(0, 0.5, 1000)
    values[rng.random(1000) < 0.2] += 300
    assert slope(at.tolist(), values.tolist()) == pytest.approx(0.25, rel=0.2)


def test_lags_of_workers_add_up_also_between_their_readings() -> None:
    whole = Recording(Begun(0, 1, 0, 1, 1, "", 0))
    for at, worker, lag in ((0.0, "a", 5.0), (1.0, "b", 7.0), (2.0, "a", 1.0)):
        whole.add(Reading(at, worker, 1, 1, 1, 1, lag, 1))
    times, total = total_lag(whole)
    assert times.tolist() == [0.0, 1.0, 2.0]
    assert total.tolist() == [5.0, 12.0, 8.0]


def test_a_file_that_was_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "soak.jsonl"
    entries = recording()
    raw = b"".join(map(line, entries))
    path.write_bytes(raw[:-9])
    whole, cut = Recording.of(entries), load(path)
    assert cut.readings == whole.readings
    assert not cut.truths
    path.write_bytes(raw.replace(b'"rss_bytes"', b'"rss"', 1))
    with pytest.raises(ValueError, match="line 2 is no entry"):
        load(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="first line is missing"):
        load(path)


def test_a_workers_page_is_read_with_sums_over_partitions_and_the_longest_delay() -> None:
    metrics = Metrics()
    for partition, lag in enumerate((10, 20)):
        metrics.lag("ingest", "predictions", partition, lag)
        metrics.watermark_delay("ingest", "predictions", partition, 6.0 + partition)
    metrics.windows_open("ingest", 4)
    metrics.dead_lettered("predictions", "invalid_json", 3)
    got = reading(render(metrics.registry)[0].decode(), "ingest", 5.0)
    assert (got.lag_events, got.watermark_delay_s, got.open_windows, got.dead_letters) == (30, 7.0, 4, 3)
    assert got.rss_bytes > 1e6
    assert got.threads >= 1
    with pytest.raises(ValueError, match="a Halcyon worker"):
        reading("up 1\n", "x", 0.0)


def test_the_report_opens_without_a_network_and_says_its_verdict_first() -> None:
    entries = recording(extra=[Heard(START_S + 1830, START_S + 1815, "HalcyonVolume", "m", "critical")])
    entries = [
        msgspec.structs.replace(entry, scenario="<soak> & co") if isinstance(entry, Begun) else entry
        for entry in entries
    ]
    whole = Recording.of(entries)
    page = html(whole, judge(whole))
    assert page.index("passed") < page.index("<svg")
    # Names of namespaces are no addresses that are loaded.
    assert not re.findall(r'(?:src|href)="https?:', page)
    assert "&lt;soak&gt; &amp; co" in page
    assert "p50 15.0 s" in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(svg)  # noqa: S314 - our own
    bad = [Check("x", ok=False, value=2, bound=1, words="too much")]
    assert "FAILED" in html(whole, bad)


@pytest.mark.parametrize("capacity", [7_000.0, 64_000.0, 123_456.0])
def test_the_search_for_the_capacity_comes_near_it_from_below(capacity: float) -> None:
    ramp, steps = Ramp(), 0
    while not ramp.done:
        ramp.judged(held=ramp.rate_per_s <= capacity)
        steps += 1
    assert 0.85 * capacity <= ramp.sustained_per_s <= capacity
    assert steps < 15


def test_a_search_ends_at_its_ceiling_and_when_nothing_is_held() -> None:
    ramp = Ramp(ceiling_per_s=40_000)
    while not ramp.done:
        ramp.judged(held=True)
    assert ramp.sustained_per_s == 40_000
    ramp = Ramp()
    while not ramp.done:
        ramp.judged(held=False)
    assert ramp.sustained_per_s == 0


def test_a_step_is_held_when_little_more_waits_and_the_generator_kept_up() -> None:
    assert held(1000, 500, 2400, 0.1)
    assert not held(1000, 500, 2600, 0.1)
    assert not held(1000, 500, 500, 3.0)


def test_what_is_played_has_the_rate_that_is_asked_for_whatever_the_hour_and_survives_its_file(tmp_path: Path) -> None:
    spec = staging.quiet(staging.at_rate(demo(), 5_000), 120)
    again = load_scenario(str(staging.write(spec, tmp_path / "soak.yaml")))
    blocks = [block for second in again.mix(1_780_000_000_000).seconds(0, 20) for block in second]
    assert sum(map(len, blocks)) == pytest.approx(100_000, rel=0.03)
    assert again.spec == spec


def test_faults_come_again_and_bursts_raise_the_whole_by_what_is_said() -> None:
    spec = staging.endless(staging.at_rate(demo(), 1_000), 2 * 3600, burst_ratio=1.3)
    names = [injection.name for injection in spec.timeline]
    assert len(names) == len(set(names)) == 2 * len(demo().injections) + 7
    assert [i.onset_s for i in spec.timeline] == sorted(i.onset_s for i in spec.timeline)
    assert all(injection.end_s <= spec.duration_s for injection in spec.timeline)
    only = msgspec.structs.replace(spec, timeline=tuple(i for i in spec.timeline if i.name == "burst 1"))
    mix = msgspec.structs.replace(only, duration_s=3600)
    scenario = dataclasses.replace(demo(), spec=mix)
    seconds = [sum(map(len, blocks)) for blocks in scenario.mix(1_780_000_000_000).seconds(850, 950)]
    assert sum(seconds[50:]) / sum(seconds[:50]) == pytest.approx(1.3, rel=0.05)
