"""From rows to messages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa

from loadgen.producer import Message
from loadgen.replay.convert import holds_numbers, values
from loadgen.replay.errors import ReplayError
from loadgen.replay.families import FAMILIES, KEYS, Shape
from loadgen.replay.mapping import Rule, parse_rules
from loadgen.replay.source import Scan, Source, open_source, scan, sorted_batches

_encoder = msgspec.json.Encoder()
FUTURE_MS: Final = 300_000
"""Events further ahead of the clock than this would go to the dead letters."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A file, ready to be played: its rules are checked and its times are known.

    ``shift_ms`` is added to every event time. ``limit`` bounds the rows read.
    """

    family: str
    source: Source
    rules: Sequence[Rule]
    scan: Scan
    shift_ms: int = 0
    sort: bool = False
    limit: int | None = None

    @property
    def first_ms(self) -> int:
        """The earliest event time as it will be sent."""
        return self.scan.first_ms + self.shift_ms

    @property
    def last_ms(self) -> int:
        """The latest event time as it will be sent."""
        return self.scan.last_ms + self.shift_ms

    def messages(self) -> Iterator[Message]:
        """One message per row, in the order of the file, or by event time with ``sort``.

        Raises
        ------
        ReplayError
            If a value cannot be used; names row and column.
        """
        numeric: dict[str, bool] = {}
        row = 1
        for batch in self._batches():
            for rule in self.rules:
                if rule.column and rule.target.shape is Shape.VALUE and not numeric.get(str(rule.target)):
                    known = batch.column(rule.column)
                    if known.null_count < len(known):
                        numeric.setdefault(str(rule.target), holds_numbers(known))
            yield from self._encode(batch, row, numeric)
            row += batch.num_rows

    def _batches(self) -> Iterator[pa.RecordBatch]:
        names = [rule.column for rule in self.rules if rule.column]
        if self.sort:
            yield from sorted_batches(self.source, names, time_rule(self.rules), self.limit)
            return
        left = self.scan.rows
        for batch in self.source.batches(names):
            if left <= 0:
                return
            yield batch.slice(0, left)
            left -= min(batch.num_rows, left)

    def _encode(self, batch: pa.RecordBatch, first_row: int, numeric: dict[str, bool]) -> Iterator[Message]:
        columns = [self._column(rule, batch, first_row, numeric) for rule in self.rules]
        paths = [rule.target.path for rule in self.rules]
        key_name = KEYS[self.family]
        named = f"{self.source.path.name.split('.')[0]}-"
        for place, row in enumerate(zip(*columns, strict=True)):
            event: dict[str, Any] = {}
            for path, value in zip(paths, row, strict=True):
                if value is None:
                    # A null feature is a null; any other field is as good left out.
                    if len(path) > 1 and path[0] in {"features", "values"}:
                        event.setdefault(path[0], {})[path[1]] = None
                elif len(path) == 1:
                    event[path[0]] = value
                else:
                    event.setdefault(path[0], {})[path[1]] = value
            event.setdefault("event_id", f"{named}{first_row + place}")
            yield Message(event["ts_ms"], str(event.get(key_name, "")).encode(), _encoder.encode(event))

    def _column(self, rule: Rule, batch: pa.RecordBatch, first_row: int, numeric: dict[str, bool]) -> list[Any]:
        if not rule.column:
            return [rule.constant] * batch.num_rows
        column = batch.column(rule.column)
        listed = values(rule, column, first_row, numeric=numeric.get(str(rule.target), False))
        if rule.target.shape is Shape.TIME:
            return [value + self.shift_ms for value in listed]
        return listed


def prepare(path: Path, family: str, maps: Sequence[str], *, sort: bool = False, limit: int | None = None) -> Replay:
    """Open a file, check the mapping, and read its times once.

    Raises
    ------
    ReplayError
        If the file or the mapping cannot be used.
    """
    if family not in FAMILIES:
        raise ReplayError(f"--as {family}: choose one of {', '.join(FAMILIES)}")
    source = open_source(path)
    rules = parse_rules(family, maps, source.columns)
    return Replay(family, source, rules, scan(source, time_rule(rules), limit), sort=sort, limit=limit)


def time_rule(rules: Sequence[Rule]) -> Rule:
    """The rule that gives the event time."""
    return next(rule for rule in rules if str(rule.target) == "ts_ms")


def shift_to(scan_: Scan, anchor: str, now_ms: int, speed: float) -> int:
    """By how many ms to move all events so that they are where ``anchor`` wants them.

    ``now``: the last event is due now, or, at a speed, when the playing ends. ``start=TIME``, ``end=TIME``: the first
    or the last event is at an ISO 8601 time. ``by=SECONDS``: that much later, as another file was moved.

    Raises
    ------
    ReplayError
        If the anchor cannot be understood.
    """
    if anchor == "now":
        span_ms = scan_.last_ms - scan_.first_ms
        return now_ms - scan_.last_ms + (round(span_ms / speed) if speed > 0 else 0)
    which, equals, text = anchor.partition("=")
    if which == "by" and equals:
        return _shift_ms(text)
    if not equals or which not in {"start", "end"}:
        raise ReplayError(f"--anchor {anchor}: write now, start=TIME, end=TIME or by=SECONDS")
    return _iso_ms(text) - (scan_.first_ms if which == "start" else scan_.last_ms)


def _shift_ms(text: str) -> int:
    try:
        return round(float(text) * 1000)
    except ValueError as error:
        raise ReplayError(f"--anchor by={text}: {text!r} is no number of seconds") from error


def _iso_ms(text: str) -> int:
    for kind in (pa.timestamp("ms"), pa.timestamp("ms", tz="UTC")):
        try:
            return int(pa.scalar(text).cast(kind).cast(pa.int64()).as_py())
        except pa.ArrowInvalid:
            continue
    raise ReplayError(f"{text!r} is no ISO 8601 time, such as 2026-05-01T12:00:00Z")
