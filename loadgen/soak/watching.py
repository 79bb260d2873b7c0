"""Watches an installation from outside: its workers' pages, and its alerts, into a file as they come."""

import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from confluent_kafka import Consumer, KafkaException

from loadgen.producer import LoadError
from loadgen.soak.recording import Entry, Gap, Heard, Reading, Recording, line, reading
from schemas import alerts
from schemas.alerts import Status

_ANSWER_S: Final = 5.0
_POLL_S: Final = 0.5
_JOIN_S: Final = 10.0


def workers_in(folder: Path) -> dict[str, str]:
    """Worker → address, from the ``*.url`` files that workers leave where ``web.ready_file`` says.

    Raises
    ------
    LoadError
        If there are none.
    """
    found = {path.stem: path.read_text(encoding="utf-8").strip() for path in sorted(folder.glob("*.url"))}
    if not found:
        raise LoadError(
            f"no worker has said its address in {folder}: start them ('halcyon up'), or name the folder with --workers"
        )
    return found


def page(url: str) -> str:
    """A worker's ``/metrics``."""
    with urllib.request.urlopen(url + "/metrics", timeout=_ANSWER_S) as answer:  # noqa: S310 - the worker's own http://
        return str(answer.read(), "utf-8")


@dataclass
class Journal:
    """Entries as they come, in a file line by line and in memory."""

    file: BinaryIO
    recording: Recording
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, entry: Entry) -> None:
        """Write an entry, at once."""
        with self._lock:
            self.file.write(line(entry))
            self.file.flush()
            self.recording.add(entry)


@dataclass
class Watch:
    """Threads that read pages and alerts while a block lasts.

    Attributes
    ----------
    workers
        Worker → address of its pages.
    add
        Receives what is seen.
    now_s
        Seconds since the epoch.
    interval_s
        Between two looks at the pages.
    """

    workers: Mapping[str, str]
    add: Callable[[Entry], None]
    now_s: Callable[[], float]
    interval_s: float = 5.0
    consumer_config: Mapping[str, Any] | None = None
    alert_topic: str = "alerts"
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        jobs = [self._read_pages] if self.consumer_config is None else [self._read_pages, self._hear]
        self._threads = [threading.Thread(target=job, name=f"soak{job.__name__}", daemon=True) for job in jobs]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_JOIN_S)

    def lag_events(self) -> float:
        """What waits now in all stages together.

        Raises
        ------
        LoadError
            If a worker does not answer.
        """
        readings = [self.look(worker, url) for worker, url in self.workers.items()]
        silent = [entry for entry in readings if isinstance(entry, Gap)]
        if silent:
            raise LoadError(f"the worker {silent[0].worker} does not answer: {silent[0].why}")
        return sum(entry.lag_events for entry in readings if isinstance(entry, Reading))

    def look(self, worker: str, url: str) -> Reading | Gap:
        """One look at one worker."""
        try:
            text = page(url)
            return reading(text, worker, self.now_s())
        except (OSError, ValueError) as error:
            return Gap(self.now_s(), worker, str(error))

    def _read_pages(self) -> None:
        due_s = time.monotonic()
        while not self._stop.is_set():
            for worker, url in self.workers.items():
                self.add(self.look(worker, url))
            due_s += self.interval_s
            self._stop.wait(max(due_s - time.monotonic(), 0.0))

    def _hear(self) -> None:
        consumer = Consumer({
            "group.id": f"halcyon-soak-{uuid.uuid4()}", "auto.offset.reset": "latest",
            "enable.auto.commit": False, **(self.consumer_config or {}),
        })  # fmt: skip
        consumer.subscribe([self.alert_topic])
        try:
            while not self._stop.is_set():
                message = consumer.poll(_POLL_S)
                if message is not None and not message.error():
                    self._hear_one(message.value() or b"")
        except KafkaException as error:
            self.add(Gap(self.now_s(), self.alert_topic, str(error)))
        finally:
            consumer.close()

    def _hear_one(self, raw: bytes) -> None:
        at_s = self.now_s()
        try:
            alert = alerts.decode(raw)
        except ValueError as error:
            self.add(Gap(at_s, self.alert_topic, str(error)))
            return
        if alert.status is Status.FIRING:
            labels = alert.labels
            entity = labels.get("model", labels.get("host", ""))
            seen = alert.evidence.leading
            end_s = (seen.window_start_ms + seen.window_ms) / 1000
            self.add(Heard(at_s, end_s, labels.get("alertname", ""), entity, labels.get("severity", "")))
