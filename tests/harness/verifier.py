"""What must hold of an installation after whatever was done to it, recomputed from the raw topic.

1. *Windows.* Every number of every window in ClickHouse, read with FINAL, is that of the events of the raw topic: none
   missing, none too many, late ones by the rule of offset order.
2. *One value.* Whatever was published more than once says the same each time: a pane its counts, a row and a finding
   every bit.
3. *Findings.* Those on the topic are those of one uninterrupted life over the raw topic: the same ids, no more, no
   fewer. Holds where baselines were there before the first event, and nothing was idle. Where they were learned on the
   way, findings and baselines are those of one uninterrupted life over the topic ``panes``: at which moment ingest
   has heard of a baseline is in there.
4. *Alerts.* The alert topic is the fold of the findings topic in its order: same ids, same bodies, each once, in the
   order of their numbers. ClickHouse holds the same. Against the uninterrupted life the episodes are equal, by id.
   How many updates an episode has in between may differ: it follows from how the findings of several partitions of
   ``panes`` meet in one topic.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import msgspec
import numpy as np
from confluent_kafka import Message

from schemas import baselines as baseline_codec
from schemas import findings as finding_codec
from schemas import panes as pane_codec
from schemas import rows as row_codec
from schemas.alerts import encode as encode_alert
from schemas.baselines import Baseline
from schemas.findings import Finding, FindingMessage
from schemas.panes import Pane, column
from schemas.rows import TABLES
from schemas.topics import TopicName
from streams.analyse.build import partition_maker
from streams.analyse.partition import AnalysePartition
from streams.clock import ManualClock
from streams.metrics import Metrics
from streams.rehearsal import fold, rehearse, steps_of
from tests.harness.expectations import SHOWN_S, check_everything
from tests.harness.installation import Installation
from tests.harness.oracle import SIZES_S, Edges, Oracle
from tests.harness.outside import Outside
from tests.harness.raw import RawTopic, read_raw
from tests.harness.waiting import wait_for

_KEYS: Final = (
    "family", "model", "model_version", "segment", "quantity", "counter", "detector", "window_s", "start_ms", "part",
)  # fmt: skip
ALL_SIZES_S: Final = (*SIZES_S, 3_600)
_NEVER_S: Final = 1e12
_WINDOWED: Final = ("volumes", "ids", "numerics", "categories", "scores")


@dataclass(frozen=True)
class Life:
    """What one life says: its findings; the baselines that it learns, None where they were there before it."""

    findings: list[FindingMessage]
    baselines: dict[str, Baseline] | None = None


@dataclass
class Verifier:
    """Checks an installation.

    Parameters
    ----------
    installation
        Its traffic has been sent, what closes the last windows too; its workers run.
    edges
        Of the baselines that were there before the first event; None: learned on the way, so that findings depend on
        when ingest has heard of them.
    zombies
        A worker has slept through the loss of its partitions: what it still sends may come again, saying the same.
    """

    installation: Installation
    edges: Edges | None = None
    zombies: bool = False
    _last: tuple[int, Life] | None = field(default=None, init=False, repr=False)

    def check(self) -> str:
        """Wait for the last windows, then hold everything against the raw topic; a line that says how much that was."""
        raw = self.raw()
        assert not raw.gaps, f"events that Kafka has not got: {raw.gaps[:5]} of {len(raw.gaps)}"
        oracle = Oracle(raw.traffic, ALL_SIZES_S, raw.watermark_ms)
        check_everything(self.installation, oracle, edges=self.edges)
        self.check_panes()
        self.check_rows()
        found = self.check_findings()
        alerts = self.check_alerts()
        return f"{oracle.events:,} events, {int(oracle.late.sum())} late, {found} findings, {alerts} alert events"

    def raw(self) -> RawTopic:
        """The source topic, read to its end."""
        messages = self.installation.read(TopicName.PREDICTIONS)
        return read_raw(messages, self.installation.settings.topics.partitions)

    # -- one value ---------------------------------------------------------------------------------------------------

    def check_panes(self) -> int:
        """A pane that came again has the same counts; how many came again."""
        said: dict[tuple[Any, ...], set[tuple[Any, ...]]] = defaultdict(set)
        copies: Counter[tuple[Any, ...]] = Counter()
        for message in self.installation.read(TopicName.PANES):
            pane = pane_codec.decode(message.value() or b"")
            if isinstance(pane, Pane):
                key = (pane.scope, pane.start_ms, pane.source_topic, pane.source_partition)
                said[key].add(_counts(pane))
                copies[key] += 1
        _check_one_value("panes", said)
        return sum(1 for count in copies.values() if count > 1)

    def check_rows(self) -> None:
        """A row of a window has one version and one value, to the last bit, however often it was sent."""
        said: dict[tuple[Any, ...], set[bytes]] = defaultdict(set)
        for message in self.installation.read(TopicName.ROWS):
            batch = row_codec.decode(message.value() or b"")
            if batch.table not in _WINDOWED:
                continue
            places = [i for i, name in enumerate(TABLES[batch.table]) if name in _KEYS]
            for row in zip(*batch.columns, strict=True):
                said[batch.table, *(row[i] for i in places)].add(msgspec.msgpack.encode(row))
        _check_one_value("rows", said)

    # -- findings and alerts -----------------------------------------------------------------------------------------

    def findings(self) -> list[FindingMessage]:
        """The findings topic."""
        return [finding_codec.decode(message.value() or b"") for message in self.installation.read(TopicName.FINDINGS)]

    def check_findings(self) -> int:
        """The findings are those of an uninterrupted life, and one of an id says what all of it say; how many."""
        # Where partitions fall idle the last windows close by the clock, while this looks.
        compared = wait_for("findings as of one life", self._compare_findings, SHOWN_S, until=_Lives.agree)
        _check_one_value("findings", compared.said)
        return len(compared.said)

    def _compare_findings(self) -> "_Lives":
        life = self.lived_again() if self.edges is None else Life(self.rehearsed)
        said: dict[str, set[bytes]] = defaultdict(set)
        for finding in _findings(self.findings()):
            said[finding.id].add(finding_codec.encode(finding))
        baselines = None if life.baselines is None else self.installation.read(TopicName.BASELINES)
        return _Lives(life, said, None if baselines is None else _baselines(baselines))

    @cached_property
    def rehearsed(self) -> list[FindingMessage]:
        """The findings of an uninterrupted life."""
        raw = self.installation.read(TopicName.PREDICTIONS)
        baselines = [(m.key() or b"", m.value()) for m in self.installation.read(TopicName.BASELINES)]
        # Nothing is idle where this is asked.
        lived = rehearse(self.installation.settings, steps_of(raw), baselines, idle_closes=False)
        return list(lived.findings)

    def lived_again(self) -> "Life":
        """What an uninterrupted life of analyse makes of the topic ``panes``."""
        logs: dict[int, list[bytes]] = defaultdict(list)
        for message in sorted(self.installation.read(TopicName.PANES), key=lambda message: message.offset() or 0):
            logs[message.partition() or 0].append(message.value() or b"")
        size = sum(map(len, logs.values()))
        if self._last is None or self._last[0] != size:
            self._last = size, _live(logs, partition_maker(self.installation.settings, Metrics(), ManualClock()))
        return self._last[1]

    def check_alerts(self) -> int:
        """The alert topic is the fold of the findings; how many events it has."""
        expected = wait_for("the alert topic is the fold of the findings", self._compare, SHOWN_S, until=_agrees)
        events = self.installation.alerts()
        bodies: dict[str, set[bytes]] = defaultdict(set)
        for ce_id, body in events:
            bodies[ce_id].add(encode_alert(body))
        _check_one_value("alerts", bodies)
        wrong = [ce_id for ce_id, body in expected.wanted.items() if bodies[ce_id] != {body}]
        assert not wrong, f"alert events with another body than the fold's: {wrong[:5]}"
        if not self.zombies:
            twice = {ce_id: count for ce_id, count in Counter(ce_id for ce_id, _ in events).items() if count > 1}
            assert not twice, f"alert events that came more than once: {twice}"
        self._check_order()
        if self.edges is not None:
            self._check_episodes()
        return len(bodies)

    def _compare(self) -> "_Comparison":
        events = fold(self.installation.settings, self.findings())
        wanted = {event.ce_id: encode_alert(event.alert) for event in events if event.published}
        shown = self.installation.query("SELECT id, version FROM alerts_raw FINAL")
        return _Comparison(
            wanted,
            {ce_id for ce_id, _ in self.installation.alerts()},
            {(event.alert.id, event.alert.sequence) for event in events},
            set(shown),
        )

    def _check_order(self) -> None:
        """First copies alone: a zombie may say again what it said."""
        first = dict(
            reversed([(ce_id, (place, body)) for place, (ce_id, body) in enumerate(self.installation.alerts())])
        )
        last: dict[str, int] = {}
        for _, body in sorted(first.values(), key=lambda pair: pair[0]):
            before, last[body.id] = last.get(body.id, 0), body.sequence
            assert body.sequence > before, f"event {body.sequence} of alert {body.id} came after event {before}"

    def _check_episodes(self) -> None:
        published = {body.id for _, body in self.installation.alerts()}
        wanted = {event.alert.id for event in fold(self.installation.settings, self.rehearsed) if event.published}
        assert published == wanted, f"alerts missing {wanted - published}, too many {published - wanted}"


@dataclass(frozen=True)
class _Lives:
    """One life, and what the lives that there were have said: copies by their ids."""

    life: Life
    said: Mapping[str, set[bytes]]
    baselines: Mapping[str, Baseline] | None

    def agree(self) -> bool:
        """Whether neither has said what the other has not."""
        return not self._apart()

    def __repr__(self) -> str:
        apart = self._apart()
        return f"{len(apart)} that only one of both has said: {sorted(map(str, apart))[:5]}"

    def _apart(self) -> list[tuple[Any, ...]]:
        wanted = {finding.id: finding for finding in _findings(self.life.findings)}
        apart = [("missing", *_short(finding)) for key, finding in wanted.items() if key not in self.said]
        surplus = (finding_codec.decode(min(self.said[key])) for key in self.said.keys() - wanted.keys())
        apart += [("surplus", *_short(finding)) for finding in _findings(surplus)]
        said, learned = self.baselines or {}, self.life.baselines or {}
        apart += [("missing", *_learned(learned[key])) for key in learned.keys() - said.keys()]
        return apart + [("surplus", *_learned(said[key])) for key in said.keys() - learned.keys()]


@dataclass(frozen=True)
class _Comparison:
    """Alert events: as they follow from the findings, on the topic, and in ClickHouse."""

    wanted: Mapping[str, bytes]
    found: set[str]
    recorded: set[tuple[str, int]]
    shown: set[tuple[Any, ...]]

    def __repr__(self) -> str:
        missing, surplus = self.wanted.keys() - self.found, self.found - self.wanted.keys()
        return f"missing {sorted(missing)}, surplus {sorted(surplus)}, in ClickHouse {self.recorded ^ self.shown}"


def _agrees(comparison: _Comparison) -> bool:
    return comparison.found == comparison.wanted.keys() and comparison.shown == comparison.recorded


def _counts(pane: Pane) -> tuple[Any, ...]:
    """What does not depend on how an open pane's events were grouped: everything but moments and bins."""
    stats = column(pane.numeric.stats, np.float64).reshape(-1, 5)
    counts = dict(zip(pane.numeric.names, stats[:, 0].tolist(), strict=True))
    named = (*pane.categories, *pane.counters)
    texts = {(part.name, value): n for part in named for value, n in zip(part.values, part.counts, strict=True)}
    return (pane.rows, pane.late, tuple(sorted(counts.items())), tuple(sorted(texts.items())), pane.ids)


def _check_one_value(what: str, said: Mapping[Any, set[Any]]) -> None:
    several = {key: values for key, values in said.items() if len(values) > 1}
    example = next(iter(several.items()), None)
    assert not several, f"{len(several)} of {len(said)} {what} were published with different values: {example}"


def _findings(messages: Iterable[FindingMessage]) -> Iterable[Finding]:
    return (message for message in messages if isinstance(message, Finding))


def _live(logs: Mapping[int, list[bytes]], new_partition: Callable[[int], AnalysePartition]) -> Life:
    found, learned = list[FindingMessage](), dict[str, Baseline]()
    for log in logs.values():
        life = Outside(log, new_partition, saved_every_s=_NEVER_S)
        asyncio.run(life.live(random.Random(0), len(log)))
        found += [finding_codec.decode(raw) for copies in life.findings().values() for raw in copies]
        learned |= {baseline.id: baseline for baseline in life.known}
    return Life(found, learned)


def _baselines(messages: Iterable[Message]) -> dict[str, Baseline]:
    values = [message.value() for message in messages]
    found = [baseline_codec.decode(value) for value in values if value is not None]
    return {baseline.id: baseline for baseline in found}


def _learned(baseline: Baseline) -> tuple[Any, ...]:
    return (baseline.scope, baseline.effective_from_ms, baseline.built_from, baseline.id)


def _short(finding: Finding) -> tuple[Any, ...]:
    scope = finding.scope
    who = (scope.model, scope.model_version, scope.segment, finding.quantity)
    return (*who, finding.detector, finding.window_ms // 1000, finding.window_start_ms, finding.firing)
