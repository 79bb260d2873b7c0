"""The default scenarios through the real stages, in this process: no broker, no clock, the same result on every run."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

import msgspec
import numpy as np

from loadgen.columns import Columns, rows
from loadgen.encode_families import arrow_of
from loadgen.scenarios import Scenario, load, names
from loadgen.scenarios.scenario import entity_effects
from loadgen.score.run import Run, Watched, judge
from loadgen.truth import Expectation, Truth
from schemas.alerts import Alert
from schemas.findings import Finding
from streams.config import Settings, load_settings
from streams.rehearsal import Rehearsed, Step, fold, record, rehearse
from streams.stage import Batch

START_MS: Final = 1_780_272_000_000
"""Event time of second 0: midnight, at the start of a pane and of every window."""
STEP_S: Final = 10
"""As long as a pane and no longer: then nothing is late, however the blocks of one step follow each other."""
SPAN_S: Final = 60
"""How much is generated at once: a third of the cost of ten seconds at a time."""
SEEDS: Final = (1, 2, 3, 4, 5)
FAST_S: Final = 7_800
"""How much of a scenario the fast subset plays, s."""
_DEMO: Final = "demo"


def suite() -> tuple[str, ...]:
    """The default scenarios: all that ship but the demo's, which has a test of its own."""
    return tuple(name for name in names() if name != _DEMO)


@dataclass(frozen=True, slots=True)
class Job:
    """A scenario to be played with a seed, up to ``until_s`` seconds of event time; 0 is all of it.

    ``detectors`` are those whose findings count, all when empty: what alerts they would have made alone.
    """

    scenario: str
    seed: int
    until_s: int = 0
    detectors: tuple[str, ...] = ()


def fast() -> tuple[Job, ...]:
    """What every change is compared with: the beginning of every scenario, in little more than a minute of one core."""
    return tuple(Job(name, SEEDS[0], FAST_S) for name in suite())


def play_all(jobs: Iterable[Job], processes: int = 1) -> Iterator[Run]:
    """Runs in the order of their jobs; they depend neither on each other nor on the processes."""
    if processes == 1:
        yield from map(play, jobs)
        return
    # A fresh interpreter each: forking one that runs threads of numpy's is not safe.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(play, jobs)


def play(job: Job) -> Run:
    """Play a scenario through ingest, analyse and alert with the default settings, and judge what was said.

    Raises
    ------
    ValueError
        If events of the scenario could not be decoded: that is the generator's fault, or ingest's.
    """
    scenario = load(job.scenario, seed=job.seed)
    end_s = min(job.until_s or scenario.duration_s, scenario.duration_s)
    used = settings()
    lived = rehearse(used, steps(scenario, end_s))
    if lived.dead:
        raise ValueError(f"{job}: {len(lived.dead)} messages were not understood, the first: {lived.dead[0].headers}")
    end_ms, grace_ms = START_MS + end_s * 1000, scenario.grace_s * 1000
    watched = Watched(tuple(entity_effects(scenario.spec)), START_MS, end_ms)
    truths = [_cut(truth, end_ms - grace_ms) for truth in scenario.truths(START_MS) if truth.onset_ms < end_ms]
    return judge(truths, _alerts(lived, used, job.detectors), grace_ms, watched, scenario.name, scenario.seed)


def _alerts(lived: Rehearsed, used: Settings, detectors: Sequence[str]) -> list[Alert]:
    """The alert topic; of some detectors alone, as it would be had the others found nothing."""
    if not detectors:
        return lived.alerts
    kept = [said for said in lived.findings if not isinstance(said, Finding) or said.detector in detectors]
    return [event.alert for event in fold(used, kept) if event.published]


def _cut(truth: Truth, end_ms: int) -> Truth:
    """What is still on when a run is cut off may have been found by then, or not."""
    if truth.end_ms <= end_ms or truth.expectation is not Expectation.MUST:
        return truth
    return msgspec.structs.replace(truth, expectation=Expectation.MAY)


def settings() -> Settings:
    """The defaults; one partition, as it is quickest and changes no finding."""
    return load_settings(env={"HALCYON_TOPICS__PARTITIONS": "1"})


def steps(scenario: Scenario, end_s: int) -> Iterator[Step]:
    """The events of a scenario up to its second ``end_s``, as they reach the brokers."""
    offsets: dict[str, int] = {}
    blocks = scenario.mix(START_MS).spans(0, end_s, step_s=SPAN_S)
    for first, span in zip(range(0, end_s, SPAN_S), blocks, strict=True):
        for second in range(first, min(first + SPAN_S, end_s), STEP_S):
            from_ms, at_ms = (START_MS + at_s * 1000 for at_s in (second, min(second + STEP_S, end_s)))
            own = _by_topic([_between(columns, from_ms, at_ms) for columns in span])
            yield Step(at_ms, [_batch(topic, each, at_ms, offsets) for topic, each in own.items()])


def _between(columns: Columns, from_ms: int, until_ms: int) -> Columns:
    first, last = np.searchsorted(columns.ts_ms, [from_ms, until_ms]).tolist()
    return rows(columns, slice(first, last))


def _by_topic(span: Sequence[Columns]) -> dict[str, list[Columns]]:
    found: dict[str, list[Columns]] = {}
    for columns in span:
        if len(columns):
            found.setdefault(columns.topic.value, []).append(columns)
    return found


def _batch(topic: str, blocks: Sequence[Columns], at_ms: int, offsets: dict[str, int]) -> Batch:
    first = offsets.get(topic, 0)
    messages = [message for columns in blocks for message in arrow_of(columns)]
    offsets[topic] = first + len(messages)
    records = [record(topic, 0, first + place, at_ms, message.value) for place, message in enumerate(messages)]
    return Batch(topic, 0, records, offsets[topic])
