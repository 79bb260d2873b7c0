"""The loop, the recordings and the simulation."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from schemas.gpu import GpuSample
from streams.clock import ManualClock
from streams.errors import ConfigError
from streams.gpu_agent.agent import MAX_PENDING, Agent, interval_s, to_text, to_topic
from streams.gpu_agent.sources import RecordedSource, SimulatedSource, open_source


class Sent:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes | None, bytes | None]] = []
        self.stuck = 0

    @property
    def pending(self) -> int:
        return self.stuck

    def send(self, topic: str, value: bytes | None, key: bytes | None = None) -> None:
        self.messages.append((topic, value, key))


class Xids(SimulatedSource):
    """Two GPUs that report an XID in every reading; remembers what was put back."""

    def __init__(self) -> None:
        super().__init__(1, 2, "node-1")
        self.returned: list[GpuSample] = []

    def put_back(self, samples: Sequence[GpuSample]) -> None:
        self.returned += samples


async def test_a_beat_sends_one_message_a_gpu_keyed_by_it() -> None:
    sender = Sent()
    agent = Agent(Xids(), to_topic(sender, "gpu-telemetry"), ManualClock(5_000), 1.0)
    await agent.beat()
    decoded = [msgspec.json.decode(value or b"", type=GpuSample) for _, value, _ in sender.messages]
    assert [(sample.ts_ms, sample.gpu_index) for sample in decoded] == [(5_000, 0), (5_000, 1)]
    assert [key for _, _, key in sender.messages] == [sample.gpu_uuid.encode() for sample in decoded]
    assert {topic for topic, _, _ in sender.messages} == {"gpu-telemetry"}


async def test_brokers_that_are_away_do_not_fill_the_memory_and_xids_are_kept() -> None:
    sender, source = Sent(), Xids()
    agent = Agent(source, to_topic(sender, "gpu-telemetry"), ManualClock(), 1.0)
    sender.stuck = MAX_PENDING - 1
    await agent.beat()
    assert sender.messages == []
    assert len(source.returned) == 2
    assert agent.outcome.left_out == 2
    sender.stuck = 0
    await agent.beat()
    assert agent.outcome.sent == 2


async def test_the_beat_is_kept_and_a_slow_reading_skips_beats() -> None:
    clock, stop, lines = ManualClock(), asyncio.Event(), list[str]()
    beats: list[int] = []
    took_s = iter([0.2, 2.5, 0.0, 0.0])

    class Slow(SimulatedSource):
        def read(self, ts_ms: int) -> list[GpuSample]:
            beats.append(ts_ms)
            clock.advance(next(took_s))
            if len(beats) == 4:
                stop.set()
            return super().read(ts_ms)

    async def pause(seconds: float) -> None:
        clock.advance(seconds)

    agent = Agent(Slow(1, 1, "node-1"), to_text(lines.append), clock, 1.0)
    await agent.run(stop, pause)
    assert beats == [0, 1_000, 4_000, 5_000]
    assert agent.outcome.missed_beats == 2
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)


async def test_a_stop_does_not_wait_for_the_next_beat() -> None:
    stop = asyncio.Event()
    agent = Agent(Xids(), to_text(lambda _: stop.set()), ManualClock(), 3_600.0)
    await asyncio.wait_for(agent.run(stop), timeout=60)
    assert stop.is_set()


def test_a_seed_fixes_the_simulation_and_its_values_are_plausible() -> None:
    def play(seed: int) -> list[GpuSample]:
        source = SimulatedSource(seed, 3, "node-1", "llm")
        return [sample for second in range(600) for sample in source.read(second * 1_000)]

    assert play(4) == play(4)
    assert play(4) != play(5)
    samples = play(4)
    assert all(msgspec.json.decode(msgspec.json.encode(sample), type=GpuSample) == sample for sample in samples)
    assert len({sample.gpu_uuid for sample in samples}) == 3
    temperatures = [sample.temperature_c or 0 for sample in samples]
    assert 35 <= min(temperatures) < max(temperatures) <= 85
    energies = [sample.energy_j_total or 0 for sample in samples if sample.gpu_index == 0]
    assert energies == sorted(energies)


def test_a_recording_is_played_in_a_circle_as_if_now(tmp_path: Path) -> None:
    lines: list[str] = []
    write = to_text(lines.append)
    simulated = SimulatedSource(1, 2, "node-1")
    for second in range(2):
        write(simulated.read(second * 1_000))
    path = tmp_path / "gpus.jsonl"
    path.write_text("".join(lines) + "\n")
    source = RecordedSource(path)
    readings = [source.read(ts_ms) for ts_ms in (70_000, 71_000, 72_000)]
    assert [[sample.ts_ms for sample in reading] for reading in readings] == [[70_000] * 2, [71_000] * 2, [72_000] * 2]
    assert [sample.power_w for sample in readings[0]] == [sample.power_w for sample in readings[2]]
    assert len({sample.event_id for reading in readings for sample in reading}) == 6


@pytest.mark.parametrize("content", ["", "\n", "{", '{"ts_ms": 1}'])
def test_a_recording_that_cannot_be_used_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "gpus.jsonl"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"gpus\.jsonl"):
        RecordedSource(path)
    with pytest.raises(ConfigError, match="nowhere"):
        RecordedSource(tmp_path / "nowhere")


def test_a_number_is_a_seed_and_all_else_a_file(tmp_path: Path) -> None:
    assert isinstance(open_source("7", "node-1", None, 2), SimulatedSource)
    with pytest.raises(ConfigError):
        open_source(str(tmp_path / "7.jsonl"), "node-1", None, 2)


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("500ms", 0.5), ("2m", 120), ("0.25", 0.25)])
def test_intervals(text: str, seconds: float) -> None:
    assert interval_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "1ms", "2h", "-1s", "fast"])
def test_intervals_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--interval"):
        interval_s(text)
