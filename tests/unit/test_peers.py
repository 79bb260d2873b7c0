"""The judge of the benchmark against peers is itself judged: it must tell a right answer from a wrong one."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from tests.bench.peers import job, page
from tests.bench.peers.answers import Answer, wrong
from tests.bench.peers.contest import Run
from tests.bench.peers.workload import Place, Workload

WORK = Workload(6_000, 1_780_000_004_000, models=3, rate_per_s=500.0)


def answers() -> dict[Place, Answer]:
    """What the job in plain Python says, event by event."""
    windows: dict[Place, Any] = {}
    for batch in WORK.json():
        for message in batch:
            event = msgspec.json.decode(message.value)
            place = Place(event["model"], job.start_of(event["ts_ms"]))
            windows[place] = job.add(windows.get(place) or job.window(), event)
    told = {place: job.answer(*place, window) for place, window in windows.items()}
    return {
        place: Answer(said["count"], said["p99_ms"], tuple(map(tuple, said["features"])), 0.0)
        for place, said in told.items()
    }


def test_the_job_as_peers_do_it_and_the_truth_agree() -> None:
    truth = WORK.truth()
    assert len(truth) == 3 * 2  # 12 s of event time, across the turn of a window
    assert sum(so.count for so in truth.values()) == WORK.events
    assert wrong(answers(), truth, same_bins=True) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda said: replace(said, count=said.count + 1), "events, not"),
        (lambda said: replace(said, p99_ms=said.p99_ms * job.GAMMA**2), "p99"),
        (lambda said: replace(said, features=((1,), *said.features[1:])), "histograms"),
        (lambda _: None, "nothing was said"),
    ],
)
@pytest.mark.parametrize("same_bins", [True, False])
def test_a_wrong_answer_is_found(change: Any, words: str, same_bins: bool) -> None:
    found = answers()
    place = min(WORK.truth())
    changed = change(found.pop(place))
    problems = wrong(found | ({place: changed} if changed else {}), WORK.truth(), same_bins=same_bins)
    assert len(problems) == 1
    assert words in problems[0]


def test_both_encodings_hold_the_same_events() -> None:
    from schemas.codecs import decode_predictions

    parts = []
    for batches in (WORK.json(), WORK.arrow()):
        values = [message.value for batch in batches for message in batch]
        parts.append(decode_predictions(values, [()] * len(values), [WORK.flush_ms] * len(values)))
    json, arrow = ({(e, t) for e, t in zip(p.columns.event_id, p.columns.ts_ms.tolist(), strict=True)} for p in parts)
    assert [len(part.columns) for part in parts] == [WORK.counted, WORK.counted]
    assert json == arrow


def test_merging_windows_is_adding_them() -> None:
    events = [msgspec.json.decode(message.value) for batch in WORK.json() for message in batch][:400]
    whole, first, second = job.window(), job.window(), job.window()
    for number, event in enumerate(events):
        job.add(whole, event)
        job.add(first if number % 3 else second, event)
    assert job.merged(first, second) == whole


def test_a_promise_is_judged_by_the_median_of_the_rounds_ratios() -> None:
    def runs(*cpu_us: float) -> list[Run]:
        return [Run(1_000_000, 1, each, each, 100.0) for each in cpu_us]

    found = page.promises({page.TITLES["halcyon"]: runs(4, 5, 40), page.TITLES["bytewax"]: runs(20, 9, 60)}, {})
    ratios = {promise.text: (promise.value, promise.kept) for promise in found}
    value, kept = ratios["Halcyon, JSON, against Bytewax, CPU"]
    assert value == pytest.approx(1.8)
    assert not kept
