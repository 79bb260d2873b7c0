from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.codecs import Limits, decode_features, decode_gpu, decode_predictions, encode_arrow, encode_json
from schemas.codecs.ipc_guard import size_of
from schemas.columns import CodedTexts, EventKey, Reason
from schemas.predictions import Prediction
from tests.unit.schemas.canon import covered, events, letters

NOW_MS = 1_767_225_600_000


def arrow(count: int = 3, **columns: Any) -> bytes:
    return encode_arrow({"ts_ms": [NOW_MS + n for n in range(count)], "model": ["cards"] * count, **columns})


def stream(columns: Mapping[str, Any], batches: int = 1, **options: Any) -> bytes:
    table = pa.table(dict(columns))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in table.to_batches(max_chunksize=max(1, len(table) // batches)):
            writer.write_batch(batch)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded


def said(message: bytes) -> list[dict[str, Any]]:
    decoded = decode_predictions([message])
    assert letters(decoded) == []
    return events(decoded.columns)


def test_columns_become_columns_without_a_copy() -> None:
    message = arrow(latency_ms=np.array([1.0, 2.0, 3.0]), features={"a": np.array([4.0, 5.0, 6.0])})

    columns = decode_predictions([message]).columns

    assert columns.numeric["latency_ms"].tolist() == [1.0, 2.0, 3.0]
    assert columns.numeric["latency_ms"].base is not None
    assert columns.index.tolist() == [0, 1, 2]
    assert columns.blocks[0].values.tolist() == [[4.0, 5.0, 6.0]]
    assert list(columns.event_id) == ["", "", ""]


FEATURES: list[dict[str, Any]] = [{"a": 1.5, "b": "x"}, {"a": None, "b": None}, {"a": -2.0, "b": "y"}]
SEGMENTS: list[dict[str, Any]] = [{"c": "DE"}, {"c": None}, {"c": "DE"}]


@pytest.mark.parametrize(
    "columns",
    [
        {"features": pa.array(FEATURES), "segment": pa.array(SEGMENTS)},
        {
            "features.b": pa.array(["x", None, "y"]).dictionary_encode(),
            "features.a": pa.array([1.5, None, -2.0], pa.float32()),
            "segment": pa.array([list(each.items()) for each in SEGMENTS], pa.map_(pa.string(), pa.string())),
        },
        {
            "features.a": pa.array([1.5, None, -2.0]),
            "features.b": pa.array(["x", None, "y"], pa.string_view()),
            "segment.c": pa.array(["DE", None, "DE"], pa.large_string()),
        },
    ],
)
def test_every_layout_says_the_same(columns: dict[str, Any]) -> None:
    found = said(arrow(**columns))

    assert [event["features"] for event in found] == FEATURES
    assert [event["key"].segments for event in found] == [(("c", "DE"),), (), (("c", "DE"),)]


def test_a_map_tells_the_features_of_each_event() -> None:
    given = [[("b", 1.0), ("a", 2.0)], None, [("a", 3.0), ("b", None)], [], [("a", 4.0), ("a", 5.0)]]
    column = pa.array(given, pa.map_(pa.string(), pa.float64()))

    found = said(arrow(5, features=column))

    assert [event["features"] for event in found] == [{"a": 2.0, "b": 1.0}, {}, {"a": 3.0, "b": None}, {}, {"a": 5.0}]


def test_a_map_of_texts_and_of_booleans() -> None:
    texts = pa.array([[("a", "x"), ("b", None)], [("a", "y"), ("b", "x")]], pa.map_(pa.string(), pa.string()))
    flags = pa.array([[("a", True)], [("a", None)]], pa.map_(pa.string(), pa.bool_()))

    assert [event["features"] for event in said(arrow(2, features=texts))] == [
        {"a": "x", "b": None},
        {"a": "y", "b": "x"},
    ]
    assert [event["features"] for event in said(arrow(2, features=flags))] == [{"a": "true"}, {"a": None}]


def test_a_null_struct_is_no_features() -> None:
    columns = decode_predictions([arrow(features=pa.array([{"a": 1.0}, None, {"a": 2.0}]))]).columns

    assert columns.blocks[0].rows.tolist() == [0, 2]
    assert columns.blocks[0].values.tolist() == [[1.0, 2.0]]


def test_nan_is_null_and_infinities_are_counted() -> None:
    message = arrow(score=[np.nan, np.inf, 1.0], features={"a": [-np.inf, 2.0, np.nan]})

    columns = decode_predictions([message]).columns

    np.testing.assert_equal(columns.numeric["score"], [np.nan, np.nan, 1.0])
    np.testing.assert_equal(columns.blocks[0].values, [[np.nan, 2.0, np.nan]])
    counted = columns.counted["non_finite"]
    pairs = [
        (row, counted.values[code]) for row, code in zip(counted.rows.tolist(), counted.codes.tolist(), strict=True)
    ]
    assert pairs == [(0, "features.a"), (1, "score")]


def test_only_the_bad_events_of_a_message_go() -> None:
    message = encode_arrow(
        {
            "ts_ms": [NOW_MS, 0, NOW_MS + 10**9, NOW_MS, None, NOW_MS],
            "model": ["a", "b", "c", None, "e", "f"],
            "latency_ms": [1.0, 2.0, 3.0, 4.0, 5.0, -6.0],
        }
    )

    decoded = decode_predictions([message, encode_json(Prediction(ts_ms=NOW_MS, model="g"))], None, [NOW_MS, NOW_MS])

    covered(decoded, 2)
    assert [event["key"].model for event in events(decoded.columns)] == ["a", "g"]
    assert decoded.columns.keys == (EventKey("a"), EventKey("g"))
    assert [(letter.record, letter.reason, letter.events) for letter in decoded.dead] == [
        (0, Reason.TIME_BEFORE_2000, 5)
    ]
    assert decoded.dead[0].message == "ts_ms is 0, before the year 2000 - event 1"


def test_the_place_of_a_bad_event_is_told() -> None:
    decoded = decode_predictions([arrow(latency_ms=[1.0, -2.0, 3.0])])

    assert letters(decoded) == [(0, "schema_mismatch", "expected a number >= 0 - at `$.latency_ms` of event 1", 1)]
    assert decoded.columns.index.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"model": [1, 2, 3]}, "column `model` is int64, expected text"),
        ({"ts_ms": ["a", "b", "c"]}, "column `ts_ms` is dictionary<values=string"),
        ({"latency_ms": ["1", "2", "3"]}, "expected a number"),
        ({"status": [1, 2, 3]}, "column `status` is int64, expected text"),
        ({"features": [1, 2, 3]}, "expected a struct or a map"),
        ({"features": pa.array([{"a": [1]}] * 3)}, "column `features.a` is list"),
        ({"features": pa.array([{"a": 1}] * 3), "features.b": [1, 2, 3]}, "send one of them"),
        ({"segment": [1, 2, 3]}, "column `segment` is int64"),
        ({"gen_ai": [1, 2, 3]}, "column `gen_ai` is int64, expected a struct"),
        ({"event_id": [1, 2, 3]}, "column `event_id` is int64, expected text"),
    ],
)
def test_columns_of_a_wrong_type_are_told_of(columns: dict[str, Any], words: str) -> None:
    decoded = decode_predictions([arrow(**columns), arrow(1)])

    assert [(letter.record, letter.reason, letter.events) for letter in decoded.dead] == [
        (0, Reason.SCHEMA_MISMATCH, 3)
    ]
    assert words in decoded.dead[0].message
    assert len(decoded.columns) == 1


def test_a_missing_column_is_told_of() -> None:
    decoded = decode_predictions([encode_arrow({"model": ["a"]}), encode_arrow({"ts_ms": [NOW_MS]})])

    assert [letter.message for letter in decoded.dead] == [
        "no column `ts_ms`, which is required",
        "no column `model`, which is required",
    ]


def test_a_null_key_in_one_message_leaves_its_neighbours_alone() -> None:
    good, bad = arrow(1, features=pa.array([[("a", 1.0)]], pa.map_(pa.string(), pa.float64()))), arrow(2)

    decoded = decode_predictions([good, bad, good])

    assert not decoded.dead
    assert decoded.columns.record.tolist() == [0, 1, 1, 2]


def test_broken_streams_are_told_of() -> None:
    message = arrow(50, features={"a": np.arange(50.0)})
    empty = stream(pa.table({"ts_ms": pa.array([], pa.int64()), "model": pa.array([], pa.string())}).to_pydict() | {})

    decoded = decode_predictions([message[: len(message) // 2], message[:12], b"\xff" * 40, empty])

    assert [letter.reason for letter in decoded.dead] == [*[Reason.INVALID_ARROW] * 3, Reason.NULL_VALUE]


def test_many_messages_of_one_schema_and_changing_dictionaries() -> None:
    def message(names: list[str]) -> bytes:
        return encode_arrow({"ts_ms": [NOW_MS] * 2, "model": pa.array(names).dictionary_encode(), "status": names})

    decoded = decode_predictions([message(["a", "b"]), message(["c", "a"]), message(["b", "b"])])

    assert [event["key"].model for event in events(decoded.columns)] == ["a", "b", "c", "a", "b", "b"]
    assert decoded.columns.record.tolist() == [0, 0, 1, 1, 2, 2]


def test_several_batches_in_one_message() -> None:
    message = stream({"ts_ms": [NOW_MS] * 6, "model": list("aabbcc")}, batches=3)

    columns = decode_predictions([message]).columns

    assert columns.index.tolist() == [0, 1, 2, 3, 4, 5]
    assert [columns.keys[key].model for key in columns.key.tolist()] == list("aabbcc")


def test_timestamps_are_times() -> None:
    times = pa.array([NOW_MS * 1000 + 999], pa.timestamp("us", "UTC"))

    columns = decode_predictions([encode_arrow({"ts_ms": times, "model": ["a"]})]).columns

    assert columns.ts_ms.tolist() == [NOW_MS]


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_what_would_blow_up_is_refused_before_it_does(compression: str) -> None:
    models = pa.array(["m"] * 60_000).dictionary_encode()
    columns = {"ts_ms": np.full(60_000, NOW_MS), "model": models, "x": np.zeros(60_000)}
    bomb = stream(columns, compression=compression)

    decoded = decode_predictions([bomb, arrow(1)], None, None, Limits(max_decompressed_bytes=600_000))

    assert len(bomb) < 10_000 < size_of(bomb).decompressed_bytes
    assert [(letter.record, letter.reason) for letter in decoded.dead] == [(0, Reason.TOO_LARGE)]
    assert len(decode_predictions([bomb]).columns) == 60_000


def test_more_events_than_a_message_may_hold() -> None:
    nothing = stream({"x": pa.nulls(10**7)})

    decoded = decode_predictions([arrow(5), nothing], None, None, Limits(max_events_per_message=4))

    assert [(letter.reason, letter.events) for letter in decoded.dead] == [
        (Reason.TOO_LARGE, 5),
        (Reason.TOO_LARGE, 10**7),
    ]


def test_limits_within_an_event() -> None:
    limits = Limits(max_features=1, max_segments=1, max_text_chars=4)
    message = arrow(
        2, event_id=["e", "too long"], status=["ok", "long status"],
        segment={"b": ["x", "x"], "a": ["y", None]}, features={"z": ["long text", "z"], "a": [1.0, 2.0]},
    )  # fmt: skip

    columns = decode_predictions([message], None, None, limits).columns

    assert list(columns.event_id) == ["e", "too "]
    assert [columns.keys[key].segments for key in columns.key.tolist()] == [(("b", "x"),)] * 2
    assert (columns.blocks[0].names, list(columns.blocks[0].texts[0][1])) == (("z",), ["long", "z"])
    assert [event["counted"] for event in events(columns)] == [
        {"status": ["ok"], "truncated": ["features", "segments", "texts"]},
        {"status": ["long"], "truncated": ["features", "texts"]},
    ]


def test_texts_of_features_hold_what_is_there_and_no_more() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([2, 0, 2], pa.int8()), ["x", "never", "y"])

    _, texts = decode_predictions([arrow(features={"a": column})]).columns.blocks[0].texts[0]

    assert isinstance(texts, CodedTexts)
    assert sorted(texts.values) == ["x", "y"]
    assert list(texts) == ["y", "x", "y"]


def test_gpu_and_feature_columns() -> None:
    gpu = encode_arrow(
        {
            "ts_ms": [NOW_MS] * 3,
            "host": ["h"] * 3,
            "gpu_uuid": ["g1", "g2", "g1"],
            "model": ["llm", None, "llm"],
            "memory_used_bytes": pa.array([2, None, 4], pa.uint64()),
            "memory_total_bytes": [8.0, 8.0, 2.0**63],
            "xid": pa.array([[79, 31], None, []], pa.list_(pa.int32())),
            "clocks_event_reasons": [4, None, 1],
        }
    )
    reads = encode_arrow(
        {"ts_ms": [NOW_MS], "feature_set": ["f"], "source_ts_ms": [NOW_MS - 5], "values": {"a": [1.0]}}
    )

    columns = decode_gpu([gpu]).columns

    assert set(columns.keys) == {EventKey("h", "g2"), EventKey("h", "g1", (("model", "llm"),))}
    np.testing.assert_equal(columns.numeric["memory_used_ratio"], [0.25, np.nan, np.nan])
    assert [event["counted"] for event in events(columns)] == [
        {"xid": ["31", "79"], "clocks_event_reason": ["sw_power_cap"]},
        {},
        {"clocks_event_reason": ["gpu_idle"]},
    ]
    assert events(decode_features([reads]).columns)[0] == {
        "record": 0, "index": 0, "ts_ms": NOW_MS, "key": EventKey("f"), "event_id": "", "counted": {},
        "numeric": {"freshness_ms": 5.0}, "features": {"a": 1.0},
    }  # fmt: skip


def test_encoding_events_of_two_schemas_is_refused() -> None:
    one, other = (Prediction(ts_ms=NOW_MS, model="m", features={name: 1.0}) for name in ("a", "b"))

    with pytest.raises(ValueError, match="names of their features"):
        encode_arrow([one, other])


def test_as_many_keys_as_events() -> None:
    count = 6_000
    many = {
        name: [f"{name}{(n * step) % count}" for n in range(count)] for name, step in (("a", 1), ("b", 7), ("c", 11))
    }
    message = encode_arrow({"ts_ms": [NOW_MS] * count, "model": many["a"], "segment": many})

    columns = decode_predictions([message]).columns

    assert len(columns.keys) == count
    found = [columns.keys[key] for key in columns.key.tolist()]
    assert found == [EventKey(a, "", (("a", a), ("b", b), ("c", c))) for a, b, c in zip(*many.values(), strict=True)]


def test_generative_fields_as_a_struct_and_as_flat_columns() -> None:
    given = [{"input_tokens": 7, "error_type": None}, None, {"input_tokens": None, "error_type": "oom"}]
    nested = said(arrow(gen_ai=pa.array(given), status=["ok", None, None]))
    columns: dict[str, Any] = {"gen_ai.input_tokens": [7, None, None], "gen_ai.error_type": [None, None, "oom"]}
    flat = said(arrow(**columns, status=["ok", None, None]))

    assert nested == flat
    assert [event["numeric"] for event in nested] == [{"gen_ai.input_tokens": 7.0}, {}, {}]
    assert [event["counted"] for event in nested] == [
        {"status": ["ok"]},
        {"status": ["ok"]},
        {"status": ["oom"], "gen_ai.error_type": ["oom"]},
    ]
