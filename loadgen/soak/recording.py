"""What a soak test has seen, one JSON line at a time: what was written survives the test's own end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from loadgen.truth import Truth


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """How the test was set up. Times are seconds since the epoch, rates events a second."""

    at_s: float
    duration_s: float
    warm_up_s: float
    capacity_per_s: float
    rate_per_s: float
    scenario: str
    seed: int
    machine: str = ""


class Reading(msgspec.Struct, frozen=True, tag="reading"):
    """One worker at one moment, from its ``/metrics``; ``cpu_s`` is what it has used since its start."""

    at_s: float
    worker: str
    rss_bytes: float
    cpu_s: float
    open_files: float
    threads: float
    lag_events: float
    open_windows: float
    started_s: float = 0.0
    watermark_delay_s: float | None = None
    dead_letters: float = 0.0


class Gap(msgspec.Struct, frozen=True, tag="gap"):
    """A worker did not answer."""

    at_s: float
    worker: str
    why: str


class Load(msgspec.Struct, frozen=True, tag="load"):
    """How far the generator is: events so far, and how late it is against its own schedule."""

    at_s: float
    events: int
    behind_s: float


class Injected(msgspec.Struct, frozen=True, tag="injected"):
    """A fault of the load, by its ground truth."""

    truth: Truth


class Heard(msgspec.Struct, frozen=True, tag="heard"):
    """A firing alert event as its consumer got it: ``at_s``, and the end of the window it speaks of."""

    at_s: float
    window_end_s: float
    name: str
    entity: str
    severity: str


Entry = Begun | Reading | Gap | Load | Injected | Heard
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Entry)


@dataclass(slots=True)
class Recording:
    """All of a soak test, in the order of time."""

    begun: Begun
    readings: dict[str, list[Reading]] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    truths: list[Truth] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """Sort entries by what they are.

        Raises
        ------
        ValueError
            If they do not say how the test was set up.
        """
        kept = list(entries)
        begun = next((entry for entry in kept if isinstance(entry, Begun)), None)
        if begun is None:
            raise ValueError("the recording does not say how the test began: its first line is missing")
        whole = cls(begun)
        for entry in kept:
            whole.add(entry)
        return whole

    def add(self, entry: Entry) -> None:
        """Take one more entry."""
        match entry:
            case Reading():
                self.readings.setdefault(entry.worker, []).append(entry)
            case Gap():
                self.gaps.append(entry)
            case Load():
                self.loads.append(entry)
            case Injected():
                self.truths.append(entry.truth)
            case Heard():
                self.heard.append(entry)
            case Begun():
                self.begun = entry


def line(entry: Entry) -> bytes:
    """One line of a recording's file."""
    return _encoder.encode(entry) + b"\n"


def load(path: Path) -> Recording:
    """Read a recording's file; a last line that was cut off is left out.

    Raises
    ------
    ValueError
        If another line is no entry, with its number, or the beginning is missing.
    """
    lines = path.read_bytes().splitlines(keepends=True)
    entries = []
    for number, raw in enumerate(lines, 1):
        if number == len(lines) and not raw.endswith(b"\n"):
            break
        try:
            entries.append(_decoder.decode(raw))
        except msgspec.DecodeError as error:
            raise ValueError(f"{path}, line {number} is no entry of a soak test: {error}") from error
    return Recording.of(entries)


_PLAIN: Final = {
    "process_resident_memory_bytes": "rss_bytes",
    "process_cpu_seconds_total": "cpu_s",
    "process_open_fds": "open_files",
    "process_threads": "threads",
    "process_start_time_seconds": "started_s",
}
_SUMMED: Final = {
    "halcyon_lag_events": "lag_events",
    "halcyon_open_windows": "open_windows",
    "halcyon_dead_letter_events_total": "dead_letters",
}
_DELAY: Final = "halcyon_watermark_delay_seconds"


def reading(page: str, worker: str, at_s: float) -> Reading:
    """A worker's ``/metrics`` as a reading: sums over its partitions, the longest delay.

    Raises
    ------
    ValueError
        If the page is not in the Prometheus text format, or lacks what every worker tells of its process.
    """
    found: dict[str, float] = dict.fromkeys(_SUMMED.values(), 0.0)
    delays: list[float] = []
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in _PLAIN:
                found[_PLAIN[sample.name]] = sample.value
            elif sample.name in _SUMMED:
                found[_SUMMED[sample.name]] += sample.value
            elif sample.name == _DELAY:
                delays.append(sample.value)
    missing = [name for name, attribute in _PLAIN.items() if attribute not in found]
    if missing:
        raise ValueError(f"the metrics of {worker} lack {', '.join(missing)}: is this a Halcyon worker's page?")
    return Reading(at_s=at_s, worker=worker, watermark_delay_s=max(delays, default=None), **found)


def column(readings: Sequence[Reading], name: str) -> list[float]:
    """One number of each reading; NaN where there is none."""
    values = (getattr(reading, name) for reading in readings)
    return [float("nan") if value is None else float(value) for value in values]


class HeardDelays(msgspec.Struct, frozen=True):
    """From the end of the window an alert event speaks of to its consumer: when it was heard, and after how long."""

    at_s: list[float]
    seconds: list[float]


def delays(recording: Recording) -> HeardDelays:
    """The delays of all firing events, in the order they were heard."""
    heard = sorted(recording.heard, key=lambda event: event.at_s)
    return HeardDelays([event.at_s for event in heard], [event.at_s - event.window_end_s for event in heard])
