"""Which encoding a message is in, told by its own first bytes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from schemas.codecs.limits import Limits
from schemas.codecs.morgue import Morgue
from schemas.codecs.refused import Refused
from schemas.columns import Reason

_ARROW: Final = b"\xff\xff\xff\xff"
_CONFLUENT: Final = 0
_CONFLUENT_HEAD: Final = 5
_JSON_SPACE: Final = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Sorted:
    """Bodies by encoding, each with the place of its record."""

    json_records: list[int] = field(default_factory=list)
    json: list[bytes] = field(default_factory=list)
    arrow_records: list[int] = field(default_factory=list)
    arrow: list[bytes] = field(default_factory=list)


def sort(values: Sequence[bytes | None], records: Iterable[int], limits: Limits, morgue: Morgue) -> Sorted:
    """Tell the encodings of ``records`` apart; what has none, or is nothing, or is too much, goes to the morgue."""
    found = Sorted()
    for record in records:
        value = values[record]
        if not value:
            morgue.add(record, Reason.NULL_VALUE, "the message has no value" if value is None else "the value is empty")
        elif isinstance(value, Refused):
            morgue.add(record, value.reason, value.words, value.events)
        elif len(value) > limits.max_message_bytes:
            text = f"the message has {len(value)} bytes, at most {limits.max_message_bytes} are read"
            morgue.add(record, Reason.TOO_LARGE, text)
        elif value[:4] == _ARROW:
            found.arrow_records.append(record)
            found.arrow.append(value)
        elif _is_object(value):
            found.json_records.append(record)
            found.json.append(value)
        elif value[0] == _CONFLUENT:
            _unframe(record, value, found, morgue)
        else:
            start = bytes(value[:8]).hex(" ")
            morgue.add(record, Reason.UNKNOWN_ENCODING, f"starts with {start}: neither JSON, Arrow IPC nor Confluent")
    return found


def _is_object(value: bytes) -> bool:
    return value[:1] == b"{" or bytes(value[:64]).lstrip(_JSON_SPACE)[:1] == b"{"


def _unframe(record: int, value: bytes, found: Sorted, morgue: Morgue) -> None:
    if len(value) <= _CONFLUENT_HEAD:
        text = f"Confluent framing takes 5 bytes and a body, there are {len(value)} bytes"
        morgue.add(record, Reason.INVALID_FRAMING, text)
        return
    body = value[_CONFLUENT_HEAD:]
    if _is_object(body):
        found.json_records.append(record)
        found.json.append(body)
        return
    schema_id = int.from_bytes(value[1:_CONFLUENT_HEAD], "big")
    text = f"schema {schema_id} is not JSON: Avro and Protobuf bodies cannot be read yet, send JSON or Arrow IPC"
    morgue.add(record, Reason.UNKNOWN_ENCODING, text)
