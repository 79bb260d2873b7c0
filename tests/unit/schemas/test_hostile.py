"""What a producer may send to do harm: every size it controls has a bound, and nothing it sends is run.

Each message here is small, and would take gigabytes or minutes, or run something, if its own word were taken for it.
"""

import io
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.codecs import Limits, decode_gpu, decode_predictions
from schemas.codecs.ipc_guard import size_of
from schemas.codecs.refused import Refused
from schemas.columns import Decoded, Reason

NOW_MS = 1_767_225_600_000
MIB = 1 << 20
GOOD = b'{"ts_ms": %d, "model": "good"}' % NOW_MS
ONE_EVENT: dict[str, Any] = {"ts_ms": pa.array([NOW_MS]), "model": pa.array(["m"])}
ONE_SAMPLE: dict[str, Any] = {"ts_ms": pa.array([NOW_MS]), "host": pa.array(["h"]), "gpu_uuid": pa.array(["g"])}


def stream(*batches: dict[str, Any], metadata: dict[bytes, bytes] | None = None) -> bytes:
    """An Arrow message of these batches, the fields of the last column with ``metadata``."""
    made = [pa.record_batch(batch) for batch in batches]
    schema = made[0].schema
    if metadata:
        last = len(schema) - 1
        schema = schema.set(last, schema.field(last).with_metadata(metadata))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in made:
            writer.write_batch(batch.cast(schema) if metadata else batch)
    return sink.getvalue()


def long_list(entries: int) -> pa.Array:
    """One list of so many nulls, in four bytes."""
    return pa.ListArray.from_arrays(pa.array([0, entries], pa.int32()), pa.nulls(entries))


def only_reason(decoded: Decoded) -> Reason:
    """The one dead letter's."""
    (letter,) = decoded.dead
    return letter.reason


def test_a_list_of_two_thousand_million_nulls() -> None:
    message = stream({**ONE_SAMPLE, "xid": long_list(2**31 - 1)})
    assert len(message) < 1_000
    tracemalloc.start()

    decoded = decode_gpu([message, message])

    assert tracemalloc.get_traced_memory()[1] < MIB
    tracemalloc.stop()
    assert [letter.reason for letter in decoded.dead] == [Reason.TOO_LARGE] * 2


@pytest.mark.parametrize("where", ["column", "dictionary", "struct", "list"])
def test_lengths_without_bytes_are_counted_wherever_they_stand(where: str) -> None:
    nulls, count = pa.nulls(1_000), 1_000
    columns = {
        "column": {"x": nulls},
        "dictionary": {"x": pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), nulls)},
        "struct": {"x": pa.StructArray.from_arrays([nulls], ["a"])},
        "list": {"x": long_list(1_000)},
    }[where]
    assert count <= size_of(stream(columns)).values <= 2 * count + 1


def test_a_dictionary_is_counted_for_every_batch_that_brings_it_along() -> None:
    words = pa.array([f"{number:x}" for number in range(1_000)])
    batch = {**ONE_EVENT, "model_version": pa.DictionaryArray.from_arrays(pa.array([1], pa.int16()), words)}
    one, many = size_of(stream(batch)).values, size_of(stream(*[batch] * 50)).values
    assert one == 1_003
    assert many == 50 * one
    limits = Limits(max_values_per_message=40 * one)
    assert only_reason(decode_predictions([stream(*[batch] * 50)], None, None, limits)) is Reason.TOO_LARGE
    assert len(decode_predictions([stream(*[batch] * 30)], None, None, limits).columns) == 30


def test_codes_of_one_event_are_bounded_in_either_encoding() -> None:
    limits = Limits(max_codes=3)
    arrow = stream({**ONE_SAMPLE, "xid": pa.array([[74, 79, 94, 95, 48]])})
    json = b'{"ts_ms": %d, "host": "h", "gpu_uuid": "g", "xid": [74, 79, 94, 95, 48]}' % NOW_MS
    for message in (arrow, json):
        counted = decode_gpu([message], None, None, limits).columns.counted
        assert [counted["xid"].values[code] for code in counted["xid"].codes.tolist()] == ["74", "79", "94"]
        assert counted["truncated"].values == ("codes",)


@pytest.mark.parametrize("over", [0, 1])
def test_a_message_is_as_large_as_allowed_and_no_larger(over: int) -> None:
    limits = Limits(max_message_bytes=2_000)
    padded = GOOD[:-1] + b" " * (2_000 + over - len(GOOD)) + b"}"
    decoded = decode_predictions([GOOD, padded, GOOD], None, None, limits)
    assert [letter.reason for letter in decoded.dead] == [Reason.TOO_LARGE] * over
    assert len(decoded.columns) == 3 - over


def test_columns_by_the_thousand() -> None:
    wide = stream({**ONE_EVENT, **{f"features.f{number}": pa.array([1.0]) for number in range(3_000)}})
    columns = decode_predictions([wide]).columns
    assert len(columns.blocks[0].names) == Limits().max_features
    assert columns.counted["truncated"].values == ("features",)


def test_texts_are_cut_in_every_field() -> None:
    long, limits = "x" * 100_000, Limits(max_text_chars=16)
    fields = ("model", "model_version", "status", "decision", "event_id")
    event = {field: pa.array([long]) for field in fields} | {
        "ts_ms": pa.array([NOW_MS]),
        "segment": pa.array([{"s": long}]),
        "features": pa.array([{"f": long}]),
    }
    columns = decode_predictions([stream(event)], None, None, limits).columns
    (key,) = columns.keys
    kept = [key.model, key.model_version, *(value for _, value in key.segments), *columns.event_id]
    kept += [text for name in ("status", "decision") for text in columns.counted[name].values]
    kept += [text for _, texts in columns.blocks[0].texts.values() for text in texts]
    assert {len(text) for text in kept} == {16}
    assert len(kept) == 7


def test_names_that_are_too_long_are_left_out() -> None:
    long, limits = "x" * 1_000, Limits(max_text_chars=16)
    json = b'{"ts_ms": %d, "model": "m", "segment": {"%s": "v"}, "features": {"%s": 1, "b": 2}}'
    message = json % (NOW_MS, long.encode(), long.encode())
    columns = decode_predictions([message], None, None, limits).columns
    assert columns.keys[0].segments == ()
    assert columns.blocks[0].names == ("b",)


def test_header_texts_are_cut() -> None:
    headers = [("ce_id", b"x" * 100_000), ("ce_time", b"9" * 100_000)]
    columns = decode_predictions([GOOD], [headers], None, Limits(max_text_chars=16)).columns
    assert list(columns.event_id) == ["x" * 16]


@pytest.mark.parametrize("digits", [19, 400, 5_000])
def test_numbers_of_any_length(digits: int) -> None:
    message = b'{"ts_ms": %d, "model": "m", "features": {"f": %s}}' % (NOW_MS, b"9" * digits)
    decoded = decode_predictions([GOOD, message])
    assert len(decoded.columns) + len(decoded.dead) == 2


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting_of_any_depth(opening: bytes) -> None:
    deep = b'{"ts_ms": %d, "model": "m", "x": %s' % (NOW_MS, opening * 150_000)
    assert only_reason(decode_predictions([deep])) is Reason.INVALID_JSON


def test_a_whole_refused_batch_counts_all_its_events() -> None:
    refused = Refused.of(b"\0\0\0\0compressed", Reason.TOO_LARGE, "more than 5 bytes when decompressed", 70)
    decoded = decode_predictions([GOOD, refused, GOOD])
    assert [(letter.record, letter.reason, letter.message, letter.events) for letter in decoded.dead] == [
        (1, Reason.TOO_LARGE, "more than 5 bytes when decompressed", 70)
    ]
    assert len(decoded.columns) == 2


class _Bomb:
    """Touches a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_an_extension_type_is_not_unpickled(tmp_path: Path) -> None:
    """Arrow's Python extension types came with a pickle of themselves in the schema of a stream."""
    touched = tmp_path / "touched"
    payload = pickle.dumps(_Bomb(touched))
    pickle.loads(payload)  # noqa: S301 - what it would do
    assert touched.exists()
    touched.unlink()
    metadata = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": payload}
    message = stream({**ONE_EVENT, "features.f": pa.array([1.0])}, metadata=metadata)
    assert payload in message
    decode_predictions([message])
    assert not touched.exists()


def test_broken_headers_of_a_stream_are_told_of() -> None:
    message = bytearray(stream({**ONE_EVENT, "features.f": pa.array([1.0])}))
    rng = np.random.default_rng(7)
    for _ in range(500):
        broken = bytearray(message)
        for place in rng.integers(4, len(message), 3).tolist():
            broken[place] = int(rng.integers(256))
        decoded = decode_predictions([GOOD, bytes(broken)])
        assert len(decoded.columns) + sum(1 for _ in decoded.dead) >= 1
        assert decoded.columns.record[0] == 0
