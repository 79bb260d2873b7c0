"""The default scenarios through the real stages, in this process: no broker, no clock, the same result on every run."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

from loadgen.columns import Columns
from loadgen.encode_families import arrow_of
from loadgen.scenarios import Scenario, load, names
from loadgen.scenarios.scenario import entity_effects
from loadgen.score.run import Run, Watched, judge
from streams.config import Settings, load_settings
from streams.rehearsal import Step, record, rehearse
from streams.stage import Batch

START_MS: Final = 1_780_272_000_000
"""Event time of second 0: midnight, at the start of a pane and of every window."""
STEP_S: Final = 10
"""As long as a pane and no longer: then nothing is late, however the blocks of one step follow each other."""
SEEDS: Final = (1, 2, 3, 4, 5)
_DEMO: Final = "demo"


def suite() -> tuple[str, ...]:
    """The default scenarios: all that ship but the demo's, which has a test of its own."""
    return tuple(name for name in names() if name != _DEMO)


@dataclass(frozen=True, slots=True)
class Job:
    """A scenario to be played with a seed."""

    scenario: str
    seed: int


FAST: Final[tuple[Job, ...]] = ()
"""What every change is compared with: kinds of every family, in little more than a minute of one core."""


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
    lived = rehearse(settings(), steps(scenario))
    if lived.dead:
        raise ValueError(f"{job}: {len(lived.dead)} messages were not understood, the first: {lived.dead[0].headers}")
    watched = Watched(tuple(entity_effects(scenario.spec)), START_MS, START_MS + scenario.duration_s * 1000)
    truths = scenario.truths(START_MS)
    return judge(truths, lived.alerts, scenario.grace_s * 1000, watched, scenario.name, scenario.seed)


def settings() -> Settings:
    """The defaults; one partition, as it is quickest and changes no finding."""
    return load_settings(env={"HALCYON_TOPICS__PARTITIONS": "1"})


def steps(scenario: Scenario) -> Iterator[Step]:
    """The events of a scenario, as they reach the brokers."""
    offsets: dict[str, int] = {}
    end_s = scenario.duration_s
    blocks = scenario.mix(START_MS).spans(0, end_s, step_s=STEP_S)
    for second, span in zip(range(0, end_s, STEP_S), blocks, strict=True):
        at_ms = START_MS + min(second + STEP_S, end_s) * 1000
        yield Step(at_ms, [_batch(topic, own, at_ms, offsets) for topic, own in _by_topic(span).items()])


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
