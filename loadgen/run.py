"""``halcyon-loadgen run``: play a scenario into Kafka, on schedule or not at all."""

import multiprocessing
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Annotated, Any, Final, Self

import msgspec
import typer
from rich.console import Console

from loadgen.connecting import client_config
from loadgen.lag import LagWatch
from loadgen.live import LiveView
from loadgen.playing import Schedule
from loadgen.producer import BEHIND_S, KafkaSink, LoadError, Message, Progress
from loadgen.scenarios import Scenario, ScenarioError, load
from loadgen.share import Encoding, Plan, Told, work
from loadgen.truth import Truth, encode, key, write
from loadgen.wire import WireAccount, WireFaults

_JOIN_S: Final = 60.0
_SHOW_S: Final = 0.25
_BOOTSTRAP: Final = "127.0.0.1:9092"


class Account(msgspec.Struct, frozen=True):
    """What a run was, and whether it counts.

    Attributes
    ----------
    void
        The generator itself was later than the limit: what the run says about its readers is worth nothing.
    cpu_us_per_event
        Of all threads of all processes, making and sending together.
    """

    scenario: str
    seed: int
    encoding: str
    processes: int
    start_ms: int
    begin_ms: int
    speed: float
    duration_s: int
    events: int
    messages: int
    worst_behind_s: float
    behind_limit_s: float
    void: bool
    cpu_us_per_event: float
    wire: WireAccount


@dataclass(slots=True)
class Running:
    """The processes of a run, and what each said last."""

    processes: int
    plan: Plan | None = None
    _ends: list[Connection] = field(default_factory=list)
    _children: list[Any] = field(default_factory=list)
    _told: dict[int, Told] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start them, and wait until they can begin: their schedule starts then, and not while they load libraries.

        Raises
        ------
        LoadError
            When one cannot be started.
        """
        # A fork would take the threads of the Kafka clients along, half of them.
        context = multiprocessing.get_context("spawn")
        for share in range(self.processes):
            mine, theirs = context.Pipe()
            child = context.Process(target=_child, args=(share, self.processes, theirs), daemon=True)
            child.start()
            theirs.close()
            self._ends.append(mine)
            self._children.append(child)
        for share, end in enumerate(self._ends):
            self._heard(share, end)

    def begin(self, plan: Plan) -> None:
        """Tell them what to do; they hear of one plan."""
        self.plan = plan
        for end in self._ends:
            end.send(plan)

    def listen(self, seconds: float) -> bool:
        """Hear what they say; true when all are done.

        Raises
        ------
        LoadError
            When one could not go on.
        """
        for end in wait([end for end in self._ends if not end.closed], seconds):
            assert isinstance(end, Connection)  # noqa: S101 - nothing else was waited for
            told = self._heard(self._ends.index(end), end)
            if told.done:
                end.close()
        return all(end.closed for end in self._ends)

    def _heard(self, share: int, end: Connection) -> Told:
        try:
            told: Told = end.recv()
        except EOFError:
            raise LoadError(f"process {share} of the generator died without a word") from None
        if told.error:
            raise LoadError(told.error)
        self._told[share] = told
        return told

    def stop(self) -> None:
        """End them, if they have not ended."""
        for end in self._ends:
            if not end.closed:
                end.close()
        for child in self._children:
            child.join(_JOIN_S)
            if child.is_alive():
                child.terminate()

    @property
    def progress(self) -> Progress:
        """All of them together; event time and delay are those of the one that is furthest."""
        every = [told.progress for told in self._told.values()]
        return Progress(
            events=sum(one.events for one in every),
            messages=sum(one.messages for one in every),
            ts_ms=max((one.ts_ms for one in every), default=0),
            behind_s=max((one.behind_s for one in every), default=0.0),
            worst_behind_s=max((one.worst_behind_s for one in every), default=0.0),
            behind_limit_s=self.plan.behind_limit_s if self.plan else BEHIND_S,
        )

    def account(self) -> Account:
        """What was done, once it has begun."""
        plan = self.plan
        assert plan is not None  # noqa: S101 - begin() has it
        progress, schedule = self.progress, plan.schedule
        wire = sum((told.wire for told in self._told.values()), WireAccount())
        cpu_s = sum(told.cpu_s for told in self._told.values())
        return Account(
            scenario=plan.scenario,
            seed=plan.seed,
            encoding=plan.encoding.value,
            processes=self.processes,
            start_ms=schedule.start_ms,
            begin_ms=schedule.begin_ms,
            speed=schedule.speed,
            duration_s=plan.duration_s,
            events=progress.events,
            messages=progress.messages,
            worst_behind_s=round(progress.worst_behind_s, 3),
            behind_limit_s=progress.behind_limit_s,
            void=progress.fell_behind,
            cpu_us_per_event=round(cpu_s / max(progress.events, 1) * 1e6, 3),
            wire=wire,
        )


def _child(share: int, shares: int, parent: Connection) -> None:
    def pause(seconds: float) -> bool:
        # The parent says nothing more: that there is something to read means that it has gone.
        return parent.poll(seconds)

    try:
        parent.send(Told(Progress(), WireAccount()))
        work(parent.recv(), share, shares, parent.send, pause)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def command(
    scenario: Annotated[str, typer.Argument(help="A scenario's name, or the path of its file.", show_default=False)],
    *,
    bootstrap: Annotated[str, typer.Option(help="Brokers to start from, host:port, comma-separated.")] = _BOOTSTRAP,
    kafka: Annotated[list[str], typer.Option(help="More settings of librdkafka, name=value: TLS, log-in.")] = [],  # noqa: B006
    topic_prefix: Annotated[str, typer.Option(help="Put before every topic.")] = "",
    seed: Annotated[int | None, typer.Option(min=0, help="Another run of its kind.")] = None,
    speed: Annotated[float, typer.Option(min=1e-3, help="How fast event time runs.")] = 1.0,
    duration_s: Annotated[int, typer.Option(min=0, help="How much event time is played; 0 is all of it.")] = 0,
    encoding: Annotated[Encoding, typer.Option(help="An event per message, or Arrow IPC streams.")] = Encoding.JSON,
    stretch_s: Annotated[int, typer.Option(min=1, help="Event time that is made in one go.")] = 10,
    processes: Annotated[int, typer.Option(min=1, max=64, help="That share the work; the events stay the same.")] = 1,
    lead_s: Annotated[float, typer.Option(min=0.0, help="Head start in making messages.")] = 3.0,
    ahead: Annotated[int, typer.Option(min=1, help="Stretches that a process makes before they are due.")] = 3,
    behind_limit_s: Annotated[float, typer.Option(min=0.001, help="A generator later than this voids the run.")] = 1.0,
    duplicates_ratio: Annotated[float, typer.Option(help="Share of messages that are sent twice.")] = 0.0,
    late_ratio: Annotated[float, typer.Option(help="Share that is sent --late-s too late.")] = 0.0,
    late_s: Annotated[int, typer.Option(min=1, help="Event time by which the late ones are late.")] = 60,
    reordered_ratio: Annotated[float, typer.Option(help="Share that others overtake, by half a second at most.")] = 0.0,
    poison_ratio: Annotated[float, typer.Option(help="Share that is joined by a message no reader can decode.")] = 0.0,
    truth_file: Annotated[Path | None, typer.Option(help="What is injected goes here, one JSON object a line.")] = None,
    truth_topic: Annotated[str, typer.Option(help="It goes to this topic too, when the run begins.")] = "",
    group: Annotated[list[str], typer.Option(help="A consumer group whose lag is shown.")] = [],  # noqa: B006
    account: Annotated[Path | None, typer.Option(help="The run's account goes here, as JSON.")] = None,
) -> None:
    """Play a scenario into Kafka on an absolute schedule; void, with exit code 1, when the generator falls behind."""
    loaded = _loaded(scenario, seed)
    length_s = min(duration_s, loaded.duration_s) if duration_s else loaded.duration_s
    wire = WireFaults(
        duplicates_ratio=_share("duplicates", duplicates_ratio),
        late_ratio=_share("late", late_ratio),
        late_ms=late_s * 1000,
        reordered_ratio=_share("reordered", reordered_ratio),
        poison_ratio=_share("poison", poison_ratio),
    )
    plan = Plan(
        scenario, loaded.seed, Schedule(0, speed), 0.0, length_s, client_config(bootstrap, kafka),
        topic_prefix=topic_prefix, encoding=encoding, wire=wire, stretch_s=stretch_s, ahead=ahead,
        behind_limit_s=behind_limit_s,
    )  # fmt: skip
    with closing(LagWatch(plan.kafka, group)) as lags, Running(processes) as running:
        plan = _scheduled(plan, lead_s)
        running.begin(plan)
        truths = _before(loaded.truths(plan.schedule.start_ms), plan)
        _publish(truths, truth_file, truth_topic, plan.kafka)
        with LiveView(f"{loaded.name}, seed {loaded.seed}", truths, Console(stderr=True)) as view:
            while not running.listen(_SHOW_S):
                view.show(running.progress, lags.latest)
        _conclude(running.account(), account)


def _scheduled(plan: Plan, lead_s: float) -> Plan:
    """The plan with a schedule that begins ``lead_s`` seconds from now."""
    now_ms = time.time_ns() // 1_000_000  # noqa: TID251 - the schedule's only look at the clock
    schedule = Schedule.ending_now(now_ms + round(lead_s * 1000), plan.duration_s, plan.schedule.speed)
    return replace(plan, schedule=schedule, begin_s=time.monotonic() + lead_s)


def _conclude(done: Account, file: Path | None) -> None:
    if file is not None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(done)))
    Console().print(_summary(done), highlight=False, soft_wrap=True)
    if done.void:
        raise LoadError(
            f"the run is void: the generator was up to {done.worst_behind_s:.2f} s late, the limit is "
            f"{done.behind_limit_s:g} s. Take a lower --speed, more --processes, or a longer --lead-s."
        )


def _loaded(scenario: str, seed: int | None) -> Scenario:
    try:
        return load(scenario, seed=seed)
    except ScenarioError as error:
        raise LoadError(str(error)) from error


def _share(fate: str, ratio: float) -> float:
    if not 0 <= ratio <= 1:
        raise typer.BadParameter(f"{ratio:g} is no share: it is 0…1", param_hint=f"--{fate}-ratio")
    return ratio


def _before(truths: Sequence[Truth], plan: Plan) -> list[Truth]:
    """Those that begin before the run ends."""
    end_ms = plan.schedule.start_ms + plan.duration_s * 1000
    return [truth for truth in truths if truth.onset_ms < end_ms]


def _publish(truths: Sequence[Truth], file: Path | None, topic: str, config: dict[str, str]) -> None:
    if file is not None:
        write(file, truths)
    if topic:
        with closing(KafkaSink({**config}, topic, spread=False)) as sink:
            sink.send([Message(truth.onset_ms, key(truth).encode(), encode(truth)) for truth in truths])


def _summary(done: Account) -> str:
    spoilt = {name: count for name, count in msgspec.structs.asdict(done.wire).items() if count and name != "messages"}
    fates = "".join(f", {count:,} {name}" for name, count in spoilt.items())
    return (
        f"{done.events:,} events in {done.messages:,} messages{fates}; {done.cpu_us_per_event:.2f} µs of CPU an event; "
        f"at worst {done.worst_behind_s:.2f} s behind the schedule"
    )
