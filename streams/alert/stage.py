"""Stage 3 as the transport sees it: findings in, each alert event out once, the state saved before a commit."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from schemas import alerts, findings, rows
from schemas.columns import Reason
from schemas.findings import Finding, Severity
from streams import dead_letters
from streams.alert.control import silence_of
from streams.alert.episode import AlertEvent
from streams.alert.lifecycle import AlertBook
from streams.alert.policy import AlertPolicy
from streams.alert.rows import alerts_rows, findings_rows
from streams.clock import Clock
from streams.metrics import Metrics
from streams.stage import Batch, ConsumerRecord, Position, TopicPartition
from streams.state import Sender, StateStore

log = logging.getLogger(__name__)

STATE_KEY: Final = "alert/0"
ORIGIN_HEADER: Final = "ce_findingsoffset"
"""Extension attribute of an alert event: the offset in ``findings`` of the message that brought it about."""

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Published:
    """What stands at the end of the alert topic: the events' ids, and the last finding that brought one about."""

    ids: frozenset[str]
    last_origin: int = -1


class AlertLog(Protocol):
    """The alert topic, read back."""

    async def ends(self) -> dict[int, int]:
        """Partition → offset after its last message."""
        ...

    async def source_end(self) -> int:
        """The offset after the last finding."""
        ...

    async def published_since(self, ends: Mapping[int, int]) -> Published:
        """What came after these offsets; a partition that is not named is read from its beginning."""
        ...

    async def close(self) -> None:
        """Let go of the brokers."""
        ...


@dataclass(frozen=True, slots=True)
class ControlRecord:
    """A message of the control topic."""

    topic: str
    partition: int
    offset: int
    value: bytes | None


class ControlFeed(Protocol):
    """The control topic. Every alert worker reads all of it: a group would give it to one that holds no findings."""

    async def seek(self, positions: Mapping[int, int]) -> None:
        """Read on from these offsets, partitions that are not named from their beginning."""
        ...

    async def poll(self) -> Sequence[ControlRecord]:
        """What has come since, possibly nothing; does not wait for more."""
        ...

    async def close(self) -> None:
        """Let go of the brokers."""
        ...


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """The fold, where in ``findings`` and ``control`` it stands, and where the alert topic ended then."""

    book: bytes
    findings_offset: int
    control_offsets: dict[int, int]
    alert_ends: dict[int, int]


@dataclass(frozen=True, slots=True)
class AlertTopics:
    """Names of the topics, with their prefix."""

    findings: str = "findings"
    alerts: str = "alerts"
    rows: str = "rows"
    dead_letters: str = "dead-letters"


class AlertStage:
    """Folds findings into alerts and publishes each event exactly once.

    The order is always: produce, wait for the acknowledgements, save the snapshot, commit. A life that ends anywhere in
    between is repeated by the next from the snapshot on: the fold is deterministic, so the same events come with the
    same ids, and those that stand on the alert topic behind the snapshot's end are not sent again.

    A silence must stand at one place of the fold in every life, though it comes from another topic. So what was
    published since the snapshot is repeated first, without it; then it is applied, and the snapshot saved before
    anything follows.

    Parameters
    ----------
    policy, topics
        The knobs, the topics' names.
    sender, states, alert_log, control
        The outside. `sender` must be idempotent and acknowledge only what all replicas have.
    clock, metrics
        For the span between snapshots.
    snapshot_every_s
        How long a finding may wait for its commit: what a restart repeats at most.
    """

    name = "alert"

    def __init__(  # noqa: PLR0913 - each is one system outside
        self,
        policy: AlertPolicy,
        topics: AlertTopics,
        *,
        sender: Sender,
        states: StateStore,
        alert_log: AlertLog,
        control: ControlFeed,
        clock: Clock,
        metrics: Metrics,
        snapshot_every_s: float = 5.0,
    ) -> None:
        self._policy, self._topics = policy, topics
        self._sender, self._states, self._alert_log, self._control = sender, states, alert_log, control
        self._clock, self._metrics, self._snapshot_every_s = clock, metrics, snapshot_every_s
        self._tp = TopicPartition(topics.findings, 0)
        self._book: AlertBook | None = None
        self._already = Published(frozenset())
        self._next = 0
        self._control_next: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._held: list[ControlRecord] = []
        self._safe: dict[TopicPartition, Position] = {}
        self._unsaved, self._saved_s = False, 0.0
        self._silent_until = 0
        self._overflow: Counter[str] = Counter()

    @property
    def topics(self) -> Sequence[str]:
        """``findings`` alone; control is read beside the group."""
        return (self._topics.findings,)

    async def start(self) -> None:
        """Nothing to open: everything outside is handed in."""

    async def stop(self) -> None:
        """Let go of what is read beside the group."""
        await self._alert_log.close()
        await self._control.close()

    async def assigned(
        self, partitions: Mapping[TopicPartition, Position | None]
    ) -> Mapping[TopicPartition, int | None]:
        """Take the fold up where its snapshot stands, and learn what was published behind it."""
        if self._tp not in partitions:
            return {}
        self._forget()
        self._safe = {}
        raw = await self._states.load(STATE_KEY)
        saved = Snapshot(AlertBook(self._policy).to_bytes(), 0, {}, {}) if raw is None else _decoder.decode(raw)
        self._book = AlertBook.from_bytes(saved.book, self._policy)
        # Without a snapshot nothing was ever committed, and all that stands on the topic may come again.
        self._already = await self._alert_log.published_since(saved.alert_ends)
        self._next, self._control_next = saved.findings_offset, dict(saved.control_offsets)
        self._ends = dict(saved.alert_ends)
        await self._control.seek(self._control_next)
        self._saved_s = self._clock.monotonic_s()
        if self._already.ids:
            log.info("%d alert events stand behind the snapshot and are not sent again", len(self._already.ids))
        position = partitions[self._tp]
        self._silent_until = position.offset if raw is None and position is not None else 0
        if raw is None:
            return self._make_anew() if self._silent_until else {}
        if self._next > await self._alert_log.source_end():
            log.warning("the topic %s was made anew: reading it from its beginning", self._topics.findings)
            self._next, self._already = 0, Published(self._already.ids)
        self._safe = {self._tp: Position(self._next)}
        return {self._tp: self._next}

    def _make_anew(self) -> Mapping[TopicPartition, int | None]:
        """Fold the findings from their beginning again, and say nothing before an earlier life had said it all."""
        self._metrics.state_lost(self.name)
        log.warning(
            "%s[%d] was read up to offset %d, but its state is gone from the state topic: folding anew what the topic "
            "still holds, silently up to there. An alert that began before that may begin again.",
            *self._tp, self._silent_until,
        )  # fmt: skip
        return {self._tp: 0}

    async def process(self, batch: Batch) -> None:
        """Fold the batch; hand over what it brings about."""
        book = self._book
        if book is None or batch.tp != self._tp:
            return
        seen: list[tuple[int, Finding]] = []
        events: list[AlertEvent] = []
        for record in batch.records:
            if record.offset < self._next:
                continue
            message = self._decoded(record)
            told = [] if message is None else book.fold(message)
            self._next = record.offset + 1
            if record.offset < self._silent_until:
                continue
            if isinstance(message, Finding):
                seen.append((record.offset + 1, message))
            events += self._publish(told, record.offset)
            self._unsaved = True
        for rowbatch in (findings_rows(seen), alerts_rows(events)):
            if len(rowbatch):
                self._sender.send(self._topics.rows, rows.encode(rowbatch), rowbatch.table.encode())
        self._count(book)

    async def tick(self) -> None:
        """Take control messages, and save when it is time."""
        if self._book is None:
            return
        self._held += await self._control.poll()
        # What an earlier life published without these messages is repeated without them.
        if self._held and self._repeated:
            self._take_control(self._book)
            await self._save(self._book)
        elif self._unsaved and self._clock.monotonic_s() - self._saved_s >= self._snapshot_every_s:
            await self._save(self._book)

    async def revoked(self, partitions: AbstractSet[TopicPartition]) -> None:
        """Save, so that the next owner repeats nothing."""
        if self._book is None or self._tp not in partitions:
            return
        if self._unsaved:
            await self._save(self._book)
        self._forget()

    def committable(self) -> Mapping[TopicPartition, Position]:
        """The offset the last snapshot stands at."""
        return self._safe

    # ------------------------------------------------------------------------------------------------------- inside

    @property
    def _repeated(self) -> bool:
        """Whether the fold has passed everything that an earlier life has published since the snapshot."""
        return self._next > max(self._already.last_origin, self._silent_until - 1)

    def _forget(self) -> None:
        """Hold nothing, as before the first assignment; what may be committed still may."""
        self._book, self._already, self._next = None, Published(frozenset()), 0
        self._control_next, self._held = {}, []
        self._unsaved, self._overflow = False, Counter()

    def _publish(self, events: list[AlertEvent], origin: int) -> list[AlertEvent]:
        for event in events:
            if not event.published:
                continue
            self._metrics.alert_sent(event.severity.value, event.alert.status.value)
            if event.ce_id in self._already.ids:
                continue
            headers = alerts.headers(event.ce_id, event.alert.status, event.time_ms, self._policy.source)
            headers.append((ORIGIN_HEADER, str(origin).encode()))
            self._sender.send(
                self._topics.alerts, alerts.encode(event.alert), event.alert.fingerprint.encode(), headers
            )
        return events

    async def _save(self, book: AlertBook) -> None:
        started_s = self._clock.monotonic_s()
        await self._sender.barrier()
        # While an earlier life's events are repeated, some that the fold has yet to reach stand on the topic already.
        if self._repeated:
            self._ends = await self._alert_log.ends()
        raw = _encoder.encode(Snapshot(book.to_bytes(), self._next, self._control_next, self._ends))
        await self._states.save(STATE_KEY, raw)
        self._safe = {self._tp: Position(self._next)}
        self._unsaved, self._saved_s = False, self._clock.monotonic_s()
        self._metrics.snapshot_taken(0, len(raw), self._saved_s - started_s)

    def _take_control(self, book: AlertBook) -> None:
        for record in self._held:
            try:
                silence = silence_of(record.value)
            except msgspec.DecodeError as error:
                log.warning("control message at offset %d cannot be read: %s", record.offset, error)
                self._metrics.dead_lettered(record.topic, Reason.UNKNOWN_ENCODING.value)
                silence = None
            if silence is not None and not book.silence(silence):
                log.warning("silence %s is not valid, or there are too many; it has no effect", silence.id)
            self._control_next[record.partition] = record.offset + 1
        self._held = []

    def _decoded(self, record: ConsumerRecord[bytes, bytes]) -> findings.FindingMessage | None:
        """The message; None if it cannot be read, after its bytes have gone to the dead letters."""
        try:
            return findings.decode(record.value or b"")
        except msgspec.DecodeError as error:
            if record.offset < self._silent_until:
                return None
            self._metrics.dead_lettered(record.topic, Reason.UNKNOWN_ENCODING.value)
            told = dead_letters.headers(record, Reason.UNKNOWN_ENCODING.value, str(error))
            self._sender.send(self._topics.dead_letters, record.value, record.key, told)
            return None

    def _count(self, book: AlertBook) -> None:
        firing = book.firing()
        for severity in Severity:
            self._metrics.alerts_firing(severity.value, firing[severity])
        for kind, count in (book.overflow - self._overflow).items():
            self._metrics.capped(kind, count)
        self._overflow = Counter(book.overflow)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Snapshot)
