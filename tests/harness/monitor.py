"""*Committed ≤ durable*, at every moment: what a committed offset vouches for is there when it is asked for.

A look takes the committed offsets of all groups first, and then reads the topics and the tables that they speak of, up
to where these are now. What is not there then was vouched for too early, even if it came a moment later.
"""

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import KafkaException, Message

from schemas import findings as finding_codec
from schemas import panes as pane_codec
from schemas import rows as row_codec
from schemas.findings import FindingMessage, Progress
from schemas.panes import Pane
from schemas.topics import TopicName
from streams.alert.build import alert_policy
from streams.alert.lifecycle import AlertBook
from streams.alert.stage import STATE_KEY, Snapshot
from streams.compacted import Record
from streams.state import newest
from tests.harness.installation import STAGES, Installation, text
from tests.harness.raw import events_of
from tests.harness.tailing import Tail
from tests.harness.traffic import BOUND_MS, PANE_MS

NEVER: Final = -(2**60)
_EVERY_S: Final = 0.5
_TOPICS: Final = (
    TopicName.STATE, TopicName.PREDICTIONS, TopicName.PANES, TopicName.ROWS, TopicName.FINDINGS, TopicName.ALERTS,
)  # fmt: skip
"""The state first: what it says must be in the topics that are read after it."""

Places = Mapping[int, tuple[int, str]]
"""Partition → committed offset and its metadata."""
RowKey = tuple[str, str, str, int, int]
"""(model, version, segment, window_s, start_ms)."""


@dataclass
class _Source:
    """A source partition as far as it was read: what its committed offset must have brought to ``panes``."""

    watermark_ms: int = NEVER
    waiting: list[tuple[int, int, bool]] = field(default_factory=list)

    def take(self, offset: int, times_ms: list[int]) -> None:
        """Sort the events of a message into panes, by the rule of offset order."""
        for ts_ms in times_ms:
            start = ts_ms // PANE_MS * PANE_MS
            late = start + PANE_MS <= self.watermark_ms
            self.waiting.append((offset, self.watermark_ms // PANE_MS * PANE_MS if late else start, late))
            self.watermark_ms = max(self.watermark_ms, ts_ms - BOUND_MS)


@dataclass
class Seen:
    """What has been read so far of every topic, as far as somebody vouches for it."""

    sources: dict[int, _Source] = field(default_factory=lambda: defaultdict(_Source))
    pane_rows: dict[tuple[int, int, bool], dict[Any, int]] = field(default_factory=lambda: defaultdict(dict))
    panes: dict[int, list[tuple[int, RowKey]]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[int, list[tuple[int, RowKey]]] = field(default_factory=lambda: defaultdict(list))
    row_keys: set[RowKey] = field(default_factory=set)
    findings: list[FindingMessage] = field(default_factory=list)
    through_ms: dict[int, int] = field(default_factory=dict)
    alert_ids: set[str] = field(default_factory=set)
    states: dict[int, dict[bytes, Record]] = field(default_factory=lambda: defaultdict(dict))

    def predictions(self, message: Message) -> None:
        """A raw message."""
        events = events_of(message.value()) or []
        self.sources[message.partition() or 0].take(message.offset() or 0, [event["ts_ms"] for event in events])

    def panes_(self, message: Message) -> None:
        """A pane, or a watermark."""
        pane = pane_codec.decode(message.value() or b"")
        if not isinstance(pane, Pane):
            return
        scope = pane.scope
        if not scope.segment:
            self.pane_rows[pane.source_partition, pane.start_ms, False][scope] = pane.rows
            self.pane_rows[pane.source_partition, pane.start_ms, True][scope] = pane.late
        if pane.rows or pane.late:
            key = (scope.model, scope.model_version, scope.segment, PANE_MS // 1000, pane.start_ms)
            self.panes[message.partition() or 0].append((message.offset() or 0, key))

    def rows_(self, message: Message) -> None:
        """Rows for ClickHouse."""
        batch = row_codec.decode(message.value() or b"")
        if batch.table != "volumes":
            return
        for _, model, version, segment, window_s, start_ms, *_ in zip(*batch.columns, strict=True):
            key = (model, version, segment, window_s, start_ms)
            self.row_keys.add(key)
            self.rows[message.partition() or 0].append((message.offset() or 0, key))

    def findings_(self, message: Message) -> None:
        """A finding, or how far somebody has come."""
        found = finding_codec.decode(message.value() or b"")
        self.findings.append(found)
        if isinstance(found, Progress):
            known = self.through_ms.get(found.source_partition, NEVER)
            self.through_ms[found.source_partition] = max(known, found.through_ms)

    def alerts(self, message: Message) -> None:
        """An alert event."""
        self.alert_ids.add(text(dict(message.headers() or [])["ce_id"]))

    def state(self, message: Message) -> None:
        """A part of a snapshot."""
        record = Record(message.offset() or 0, message.key() or b"", message.value())
        self.states[message.partition() or 0][record.key] = record

    def snapshot(self, key: str) -> bytes | None:
        """The snapshot that a worker would load now."""
        own = [r for records in self.states.values() for r in records.values() if r.key.startswith(f"{key}/".encode())]
        return newest(key, own)


class Monitor:
    """Looks twice a second from a thread of its own, for as long as the block lasts.

    Parameters
    ----------
    installation
        Whose groups, topics and tables are looked at.
    with_state
        Whether the topic ``state`` is; a cell that takes it away says no.
    """

    def __init__(self, installation: Installation, *, with_state: bool = True) -> None:
        self.violations: list[str] = []
        self.looks = 0
        self.vouched: Counter[str] = Counter()
        self._installation, self._with_state = installation, with_state
        self._seen = Seen()
        self._book = AlertBook(alert_policy(installation.settings.alerts))
        self._folded = 0
        self._told: set[str] = set()
        self._unproven: set[RowKey] = set()
        self._loop = asyncio.new_event_loop()
        self._admin: AIOKafkaAdminClient | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(60)

    def check(self) -> str:
        """Look once more, then fail if anything was ever vouched for that was not there; how much was."""
        self._over.set()
        self._thread.join(60)
        assert self._failure is None, repr(self._failure)
        assert not self.violations, f"committed, and not there: {self.violations[:5]} of {len(self.violations)}"
        idle = [stage for stage in STAGES if not self.vouched[stage]]
        assert not idle, f"nothing was ever committed by {idle}: nothing was looked at"
        return f"{self.looks} looks at {dict(self.vouched)}"

    def _run(self) -> None:
        tails: dict[TopicName, Tail] = {}
        try:
            self._admin = self._loop.run_until_complete(_connected(self._installation.kafka.bootstrap))
            names = [name for name in _TOPICS if self._with_state or name is not TopicName.STATE]
            tails = {name: Tail(self._installation.kafka.bootstrap, self._installation.topic(name)) for name in names}
            while not self._over.wait(_EVERY_S):
                self._look(tails)
            self._look(tails)
        except BaseException as failure:  # noqa: BLE001 - told by check
            self._failure = failure
        finally:
            for tail in tails.values():
                tail.close()
            if self._admin is not None:
                self._loop.run_until_complete(self._admin.close())
            self._loop.close()

    def _look(self, tails: Mapping[TopicName, Tail]) -> None:
        try:
            places = {stage: self._committed(stage) for stage in STAGES}
            for name, tail in tails.items():
                taker: Callable[[Message], None] = {
                    TopicName.PREDICTIONS: self._seen.predictions,
                    TopicName.PANES: self._seen.panes_,
                    TopicName.ROWS: self._seen.rows_,
                    TopicName.FINDINGS: self._seen.findings_,
                    TopicName.ALERTS: self._seen.alerts,
                    TopicName.STATE: self._seen.state,
                }[name]
                for message in tail.fresh():
                    taker(message)
        except (KafkaException, KafkaError):
            return  # no broker answers: nothing can be known now
        self.looks += 1
        self._check_ingest(places["ingest"])
        self._check_analyse(places["analyse"])
        self._check_alert(places["alert"])
        self._check_write(places["write"])

    def _committed(self, stage: str) -> Places:
        settings, installation = self._installation.settings, self._installation
        group = f"{installation.prefix}{settings.kafka.client_id}-{stage}"
        topic = installation.topic(
            {"ingest": TopicName.PREDICTIONS, "analyse": TopicName.PANES, "alert": TopicName.FINDINGS}.get(
                stage, TopicName.ROWS
            )
        )
        assert self._admin is not None
        found = self._loop.run_until_complete(self._admin.list_consumer_group_offsets(group))
        own = {tp.partition: at for tp, at in found.items() if tp.topic == topic and at.offset >= 0}
        return {partition: (at.offset, at.metadata or "") for partition, at in own.items()}

    def _violated(self, text: str) -> None:
        self.violations.append(f"look {self.looks}: {text}")

    # -- what an offset vouches for ----------------------------------------------------------------------------------

    def _check_ingest(self, places: Places) -> None:
        """Every event before the offset is counted in a pane that is out."""
        for partition, (offset, metadata) in places.items():
            source = self._seen.sources[partition]
            due = Counter((start, late) for at, start, late in source.waiting if at < offset)
            for (start, late), count in due.items():
                out = sum(self._seen.pane_rows[partition, start, late].values())
                if out < count:
                    what = f"{count} {'late ' * late}events of pane {start}, and {out} are in panes"
                    self._violated(f"ingest[{partition}] at {offset} ({metadata}): {what}")
            source.waiting = [entry for entry in source.waiting if entry[0] >= offset]
            self.vouched["ingest"] += sum(due.values())

    def _check_analyse(self, places: Places) -> None:
        """Every pane before the offset is in the rows of its window; the state stands where the commit says."""
        for partition, (offset, metadata) in places.items():
            due = [key for at, key in self._seen.panes[partition] if at < offset]
            missing = [key for key in due if key not in self._seen.row_keys]
            if missing:
                self._violated(f"analyse[{partition}] at {offset} ({metadata}): no rows of {missing[:3]}")
            self._seen.panes[partition] = [entry for entry in self._seen.panes[partition] if entry[0] >= offset]
            self.vouched["analyse"] += len(due)
            if self._with_state and metadata:
                self._check_snapshot(partition, offset, int(metadata.rpartition(";")[2]))

    def _check_snapshot(self, partition: int, offset: int, stands_at: int) -> None:
        raw = self._seen.snapshot(f"analyse/{partition}")
        parts = {} if raw is None else msgspec.msgpack.decode(raw, strict=False)
        if parts.get("offset", -1) < stands_at:
            self._violated(f"analyse[{partition}] at {offset}: state at {parts.get('offset')}, committed {stands_at}")
        for family in parts.get("families", {}).values():
            through, said = family["closing"]["through_ms"], self._seen.through_ms.get(partition, NEVER)
            # Where it begins is not said, only how far it has come from there.
            if through > said > NEVER:
                self._violated(f"analyse[{partition}] at {offset}: closed through {through}, said {said}")

    def _check_alert(self, places: Places) -> None:
        """Every alert that follows from the findings before the offset is out; the state stands there."""
        offset = places.get(0, (0, ""))[0]
        for message in self._seen.findings[self._folded : offset]:
            self._told |= {event.ce_id for event in self._book.fold(message) if event.published}
        self.vouched["alert"] += max(0, offset - self._folded)
        self._folded = max(self._folded, offset)
        missing = self._told - self._seen.alert_ids
        if missing:
            self._violated(f"alert at {offset}: alerts {sorted(missing)[:3]} are not out")
        raw = self._seen.snapshot(STATE_KEY) if self._with_state and offset else None
        stands_at = -1 if raw is None else msgspec.msgpack.decode(raw, type=Snapshot).findings_offset
        if self._with_state and offset and stands_at < offset:
            self._violated(f"alert at {offset}: state at {stands_at}")

    def _check_write(self, places: Places) -> None:
        """Every row before the offset is in ClickHouse."""
        for partition, (offset, _) in places.items():
            due = [key for at, key in self._seen.rows[partition] if at < offset]
            self._seen.rows[partition] = [entry for entry in self._seen.rows[partition] if entry[0] >= offset]
            self.vouched["write"] += len(due)
            self._unproven |= set(due)
        if not self._unproven:
            return
        columns = "model, model_version, segment, toInt32(window_s), toUnixTimestamp64Milli(start_ms)"
        first_ms = min(start_ms for *_, start_ms in self._unproven)
        where = f"toUnixTimestamp64Milli(start_ms) >= {first_ms}"
        try:
            shown = {tuple(row) for row in self._installation.query(f"SELECT {columns} FROM volumes_raw WHERE {where}")}
        except (ClickHouseError, OSError):
            return  # asked again with the next look
        missing = self._unproven - shown
        if missing:
            self._violated(f"write at {dict(places)}: no rows in ClickHouse of {sorted(missing)[:3]}")
        self._unproven.clear()


async def _connected(bootstrap: str) -> AIOKafkaAdminClient:
    """A client that asks what is committed. confluent-kafka's lets the metadata run on into whatever stands behind."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    return admin
