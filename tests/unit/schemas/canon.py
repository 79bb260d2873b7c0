"""What a decoded batch says of each event, free of how it is laid out in columns."""

import math
from collections.abc import Sequence
from typing import Any

from schemas.columns import Decoded, EventColumns


def events(columns: EventColumns) -> list[dict[str, Any]]:
    """One dictionary per event, in the batch's order."""
    found: list[dict[str, Any]] = [
        {
            "record": int(columns.record[row]),
            "index": int(columns.index[row]),
            "ts_ms": int(columns.ts_ms[row]),
            "key": columns.keys[int(columns.key[row])],
            "event_id": columns.event_id[row],
            "numeric": {
                name: float(values[row]) for name, values in columns.numeric.items() if not math.isnan(values[row])
            },
            "counted": {},
            "features": {},
        }
        for row in range(len(columns))
    ]
    for name, counter in columns.counted.items():
        for row, code in zip(counter.rows.tolist(), counter.codes.tolist(), strict=True):
            found[row]["counted"].setdefault(name, []).append(counter.values[code])
    for block in columns.blocks:
        for at, row in enumerate(block.rows.tolist()):
            assert not found[row]["features"], "an event stands in two blocks"
            for feature, name in enumerate(block.names):
                value = float(block.values[feature, at])
                found[row]["features"][name] = None if math.isnan(value) else value
        for feature, (places, texts) in block.texts.items():
            for place, text in zip(places.tolist(), texts, strict=True):
                values = found[int(block.rows[place])]["features"]
                assert values[block.names[feature]] is None, "a value is both a number and a text"
                values[block.names[feature]] = text
    for event in found:
        for values in event["counted"].values():
            values.sort()
    return found


def letters(decoded: Decoded) -> list[tuple[int, str, str, int]]:
    return [(letter.record, letter.reason.value, letter.message, letter.events) for letter in decoded.dead]


def joined(parts: Sequence[tuple[int, Decoded]]) -> tuple[list[dict[str, Any]], list[tuple[int, str, str, int]]]:
    """Events and letters of several batches, each of which began at some record of a longer one."""
    all_events = [
        {**event, "record": event["record"] + start} for start, part in parts for event in events(part.columns)
    ]
    all_letters = [(record + start, *rest) for start, part in parts for record, *rest in letters(part)]
    return all_events, all_letters  # type: ignore[return-value]  # the rest keeps its types


def covered(decoded: Decoded, count: int) -> None:
    """Every record is in the columns, the dead letters, or both, and the columns keep their promises."""
    columns = decoded.columns
    records = set(columns.record.tolist()) | {letter.record for letter in decoded.dead}
    assert records == set(range(count))
    n = len(columns)
    assert len(columns.index) == len(columns.key) == len(columns.event_id) == n
    pairs = list(zip(columns.record.tolist(), columns.index.tolist(), strict=True))
    assert pairs == sorted(set(pairs))
    assert len(set(columns.keys)) == len(columns.keys)
    for values in columns.numeric.values():
        assert len(values) == n
        assert not any(math.isinf(value) for value in values.tolist())
    for counter in columns.counted.values():
        assert counter.rows.tolist() == sorted(counter.rows.tolist())
        assert len(set(counter.values)) == len(counter.values)
    assert len({block.names for block in columns.blocks}) == len(columns.blocks)
    for block in columns.blocks:
        assert block.rows.tolist() == sorted(set(block.rows.tolist()))
        assert block.values.shape == (len(block.names), len(block.rows))
        assert block.values.flags.c_contiguous
        assert list(block.names) == sorted(set(block.names))
