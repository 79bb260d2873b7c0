import json
import math
from typing import Any

import numpy as np
import pytest

from schemas.codecs import Limits, decode_features, decode_gpu, decode_predictions
from schemas.columns import CodedTexts, EventKey, Reason
from tests.unit.schemas.canon import covered, events, letters

NOW_MS = 1_767_225_600_000


def prediction(**fields: Any) -> bytes:
    return json.dumps({"ts_ms": NOW_MS, "model": "cards", **fields}).encode()


def gpu(**fields: Any) -> bytes:
    return json.dumps({"ts_ms": NOW_MS, "host": "h1", "gpu_uuid": "GPU-1", **fields}).encode()


def test_fields_become_columns() -> None:
    decoded = decode_predictions(
        [
            prediction(latency_ms=12, score=0.25, decision="deny", segment={"country": "DE"}, event_id="a"),
            prediction(status="timeout", cost_usd=0.5, model_version="2"),
        ]
    )

    columns = decoded.columns
    assert not decoded.dead
    assert columns.ts_ms.tolist() == [NOW_MS, NOW_MS]
    assert [columns.keys[key] for key in columns.key.tolist()] == [
        EventKey("cards", "", (("country", "DE"),)),
        EventKey("cards", "2", ()),
    ]
    np.testing.assert_equal(columns.numeric["latency_ms"], [12.0, np.nan])
    np.testing.assert_equal(columns.numeric["cost_usd"], [np.nan, 0.5])
    assert list(columns.event_id) == ["a", ""]
    status, decision = columns.counted["status"], columns.counted["decision"]
    assert [status.values[code] for code in status.codes.tolist()] == ["ok", "timeout"]
    assert (decision.rows.tolist(), decision.values) == ([0], ("deny",))


def test_a_quantity_that_is_null_throughout_is_left_out() -> None:
    columns = decode_predictions([prediction(score=None), prediction()]).columns

    assert dict(columns.numeric) == {}


def test_features_of_the_same_names_stand_in_one_block_in_whatever_order_they_come() -> None:
    decoded = decode_predictions(
        [
            prediction(features={"b": 2, "a": 1.5}),
            prediction(features={"a": "x", "b": True}),
            prediction(features={"a": None, "c": 3}),
            prediction(features={}),
            prediction(),
        ]
    )

    first, second = decoded.columns.blocks
    assert (first.names, first.rows.tolist()) == (("a", "b"), [0, 1])
    np.testing.assert_equal(first.values, [[1.5, np.nan], [2.0, np.nan]])
    assert {place: (at.tolist(), list(texts)) for place, (at, texts) in first.texts.items()} == {
        0: ([1], ["x"]),
        1: ([1], ["true"]),
    }
    assert (second.names, second.rows.tolist()) == (("a", "c"), [2])


def test_texts_of_features_come_with_their_codes() -> None:
    messages = [prediction(features={"country": country}) for country in ("DE", "FR", "DE")]

    _, texts = decode_predictions(messages).columns.blocks[0].texts[0]

    assert isinstance(texts, CodedTexts)
    assert (texts.codes.tolist(), texts.values, list(texts[1:])) == ([0, 1, 0], ("DE", "FR"), ["FR", "DE"])


@pytest.mark.parametrize("count", [1, 200])
@pytest.mark.parametrize(
    ("value", "number", "text"),
    [
        (1, 1.0, None),
        (True, math.nan, "true"),
        (False, math.nan, "false"),
        ("1.5", math.nan, "1.5"),
        (10**30, 1e30, None),
    ],
)
def test_what_a_value_is_does_not_depend_on_its_neighbours(count: int, value: Any, number: float, text: Any) -> None:
    others = [prediction(features={"f": other}) for other in (0.5, "DE", None, True)]

    block = decode_predictions([*others, *[prediction(features={"f": value})] * count]).columns.blocks[0]

    np.testing.assert_equal(block.values[0, -1], number)
    at, texts = block.texts[0]
    assert dict(zip(at.tolist(), texts, strict=True)).get(3 + count) == text


def test_segments_are_made_canonical() -> None:
    messages = [
        b'{"ts_ms":%d,"model":"m","segment":{"b":"x","a":1}}' % NOW_MS,
        b'{"ts_ms":%d,"model":"m","segment": {"a" : 1.0, "b":"x", "c":null}}' % NOW_MS,
        b'{"ts_ms":%d,"model":"m","segment":null}' % NOW_MS,
        b'{"ts_ms":%d,"model":"m","segment":{"vip":true}}' % NOW_MS,
    ]

    columns = decode_predictions(messages).columns

    assert columns.keys == (
        EventKey("m", "", (("a", "1"), ("b", "x"))),
        EventKey("m"),
        EventKey("m", "", (("vip", "true"),)),
    )
    assert columns.key.tolist() == [0, 0, 1, 2]


def test_generative_fields_become_quantities_and_counters() -> None:
    columns = decode_predictions(
        [prediction(), prediction(gen_ai={"input_tokens": 7, "finish_reason": "stop", "error_type": "oom"})]
    ).columns

    np.testing.assert_equal(columns.numeric["gen_ai.input_tokens"], [np.nan, 7.0])
    assert columns.counted["gen_ai.finish_reason"].rows.tolist() == [1]
    status = columns.counted["status"]
    assert [status.values[code] for code in status.codes.tolist()] == ["ok", "oom"]


@pytest.mark.parametrize(
    ("message", "reason", "words"),
    [
        (None, Reason.NULL_VALUE, "no value"),
        (b"", Reason.NULL_VALUE, "empty"),
        (b"{" + b" " * 1_048_576, Reason.TOO_LARGE, "1048577 bytes, at most 1048576"),
        (b"hello", Reason.UNKNOWN_ENCODING, "68 65 6c 6c 6f"),
        (b"[1]", Reason.UNKNOWN_ENCODING, "neither JSON"),
        (b"\0\0\0\0\7", Reason.INVALID_FRAMING, "5 bytes"),
        (b"\0\0\0\1\7\2ab", Reason.UNKNOWN_ENCODING, "schema 263"),
        (b'{"ts_ms":', Reason.INVALID_JSON, "truncated"),
        (b'{"ts_ms":1,"model":NaN}', Reason.INVALID_JSON, "invalid"),
        (b'{"ts_ms":1,"model":"\xff"}', Reason.INVALID_JSON, "utf-8"),
        (b'{"ts_ms":1,"x":' + b"[" * 100_000, Reason.INVALID_JSON, "deep"),
        (b'{"model":"m"}', Reason.SCHEMA_MISMATCH, "`ts_ms`"),
        (b'{"ts_ms":1767225600000}', Reason.SCHEMA_MISMATCH, "`model`"),
        (prediction(model=7), Reason.SCHEMA_MISMATCH, "$.model"),
        (prediction(ts_ms="now"), Reason.SCHEMA_MISMATCH, "$.ts_ms"),
        (prediction(ts_ms=10**19), Reason.SCHEMA_MISMATCH, "$.ts_ms"),
        (prediction(latency_ms="12"), Reason.SCHEMA_MISMATCH, "$.latency_ms"),
        (prediction(latency_ms=-1), Reason.SCHEMA_MISMATCH, "$.latency_ms"),
        (b'{"ts_ms":1767225600000,"model":"m","score":1e999}', Reason.SCHEMA_MISMATCH, "$.score"),
        (prediction(features={"f": [1]}), Reason.SCHEMA_MISMATCH, "$.features"),
        (prediction(segment={"s": {}}), Reason.SCHEMA_MISMATCH, "$.segment"),
        (b'{"ts_ms":1767225600000,"model":"m","segment":{"s":"\xff"}}', Reason.INVALID_JSON, "utf-8"),
        (prediction(gen_ai={"input_tokens": "x"}), Reason.SCHEMA_MISMATCH, "$.gen_ai.input_tokens"),
        (prediction(ts_ms=0), Reason.TIME_BEFORE_2000, "ts_ms is 0"),
        (prediction(ts_ms=1_767_225_600), Reason.TIME_BEFORE_2000, "seconds"),
        (prediction(ts_ms=NOW_MS * 1000), Reason.TIME_IN_FUTURE, "microseconds"),
        (prediction(ts_ms=NOW_MS * 1_000_000), Reason.TIME_IN_FUTURE, "nanoseconds"),
        (prediction(ts_ms=NOW_MS + 300_001), Reason.TIME_IN_FUTURE, "300 s after"),
        (prediction(ts_ms=4_070_908_800_000), Reason.TIME_IN_FUTURE, "300 s after"),
    ],
)
def test_what_cannot_be_used_is_told_of_and_its_neighbours_stay(message: Any, reason: Reason, words: str) -> None:
    batch = [prediction(event_id="before"), message, prediction(event_id="after")]

    decoded = decode_predictions(batch, None, [NOW_MS] * 3)

    covered(decoded, 3)
    assert [(letter.record, letter.reason, letter.events) for letter in decoded.dead] == [(1, reason, 1)]
    assert words in decoded.dead[0].message
    assert list(decoded.columns.event_id) == ["before", "after"]
    assert decoded.columns.record.tolist() == [0, 2]


def test_the_future_is_bounded_where_the_append_time_is_not_known() -> None:
    times = [4_070_908_800_000, 7_258_118_400_001]

    decoded = decode_predictions([prediction(ts_ms=ts) for ts in times], None, [-1, 0])

    assert [(letter.record, letter.reason) for letter in decoded.dead] == [(1, Reason.TIME_IN_FUTURE)]


def test_what_is_too_much_within_an_event_is_cut_and_counted() -> None:
    limits = Limits(max_features=2, max_segments=1, max_text_chars=4)
    event = prediction(
        model="long model", segment={"b": "x", "a": "y"}, features={"z": "long text", "b": 1, "a": 2, "long name": 3}
    )

    columns = decode_predictions([prediction(), event], None, None, limits).columns

    assert columns.keys[columns.key[1]] == EventKey("long", "", (("b", "x"),))
    assert columns.blocks[0].names == ("b", "z")
    assert list(columns.blocks[0].texts[1][1]) == ["long"]
    cut = columns.counted["truncated"]
    pairs = [(row, cut.values[code]) for row, code in zip(cut.rows.tolist(), cut.codes.tolist(), strict=True)]
    assert sorted(pairs) == [(0, "texts"), (1, "features"), (1, "segments"), (1, "texts")]


def test_five_thousand_features_and_many_models_stay_bounded() -> None:
    wide = prediction(features={f"f{number:04}": number for number in range(5_000)})
    many = [prediction(model=f"m{number}") for number in range(2_000)]

    columns = decode_predictions([wide, *many]).columns

    assert len(columns.blocks[0].names) == 1_024
    assert columns.counted["truncated"].values == ("features",)
    assert len(columns.keys) == 2_001


def test_of_a_name_that_comes_twice_the_last_value_counts() -> None:
    message = b'{"ts_ms":%d,"model":"a","model":"b","features":{"x":1,"x":2}}' % NOW_MS

    for batch in ([message], [message] * 100):
        columns = decode_predictions(batch).columns
        assert columns.keys == (EventKey("b"),)
        assert columns.blocks[0].values.tolist() == [[2.0] * len(batch)]


def test_cloud_events_headers_stand_in_for_what_the_body_lacks() -> None:
    headers = [("ce_id", b"from-header"), ("ce_time", b"2026-01-01T00:00:01.250+01:00"), ("other", None)]
    batch = [
        b'{"model":"m"}',
        b'{"model":"m","ts_ms":%d,"event_id":"own"}' % NOW_MS,
        b'{"model":"m"}',
        b'{"model":"m"}',
    ]

    decoded = decode_predictions(batch, [headers, headers, [("ce_time", b"yesterday")], None], [NOW_MS] * 4)

    assert list(decoded.columns.event_id) == ["from-header", "own"]
    assert decoded.columns.ts_ms.tolist() == [NOW_MS - 3_600_000 + 1_250, NOW_MS]
    assert [(letter.record, letter.reason) for letter in decoded.dead] == [
        (2, Reason.SCHEMA_MISMATCH),
        (3, Reason.SCHEMA_MISMATCH),
    ]


def test_confluent_framed_json_is_json() -> None:
    decoded = decode_predictions([b"\0\0\0\0\5" + prediction(event_id="framed"), b" \n" + prediction()])

    assert not decoded.dead
    assert list(decoded.columns.event_id) == ["framed", ""]


def test_feature_reads_tell_how_old_their_values_are() -> None:
    read = {"ts_ms": NOW_MS, "feature_set": "history", "values": {"n": 3}, "source_ts_ms": NOW_MS - 1_500}

    columns = decode_features([json.dumps(read).encode(), b'{"ts_ms":%d,"feature_set":"other"}' % NOW_MS]).columns

    assert columns.keys == (EventKey("history"), EventKey("other"))
    np.testing.assert_equal(dict(columns.numeric), {"freshness_ms": [1500.0, np.nan]})
    assert (columns.blocks[0].names, columns.blocks[0].rows.tolist()) == (("n",), [0])


def test_gpu_samples_become_gauges_and_counters() -> None:
    messages = [
        gpu(
            power_w=300,
            memory_used_bytes=20,
            memory_total_bytes=80,
            xid=[79, 31, 79],
            clocks_event_reasons=0b1001000100,
        ),
        gpu(temperature_c=2.0**47, energy_j_total=9_223_372_036_854_775_792, memory_total_bytes=0, model="llm"),
    ]

    columns = decode_gpu(messages).columns

    assert columns.keys == (EventKey("h1", "GPU-1"), EventKey("h1", "GPU-1", (("model", "llm"),)))
    np.testing.assert_equal(columns.numeric["power_w"], [300.0, np.nan])
    np.testing.assert_equal(columns.numeric["memory_used_ratio"], [0.25, np.nan])
    assert "temperature_c" not in columns.numeric
    assert "energy_j_total" not in columns.numeric
    assert events(columns)[0]["counted"] == {
        "xid": ["31", "79", "79"],
        "clocks_event_reason": ["bit_9", "hw_thermal_slowdown", "sw_power_cap"],
    }


def test_a_utilisation_in_percent_is_refused() -> None:
    decoded = decode_gpu([gpu(utilization_ratio=87)])

    assert letters(decoded) == [(0, "schema_mismatch", "Expected `float` <= 1.0 - at `$.utilization_ratio`", 1)]


def test_an_empty_batch_is_empty() -> None:
    decoded = decode_predictions([])

    assert (len(decoded.columns), len(decoded.dead)) == (0, 0)


def test_any_name_may_name_a_feature() -> None:
    odd = ['"quoted"', "new\nline", "", "ü", "f0", "class"]
    message = prediction(features={name: float(place) for place, name in enumerate(odd)})

    for batch in ([message], [message] * 100):
        (block,) = decode_predictions(batch).columns.blocks
        assert dict(zip(block.names, block.values[:, -1].tolist(), strict=True)) == dict(
            zip(odd, range(6), strict=True)
        )


def test_event_ids_are_read_like_any_texts() -> None:
    long = [prediction(event_id=event_id) for event_id in ("a", None, "x" * 300)]

    for headers in (None, [[("ce_id", b"h")]] * 3):
        ids = decode_predictions(long, headers).columns.event_id
        assert len(ids) == 3
        assert list(ids[:2]) == ["a", "h" if headers else ""]
        assert len(ids[2]) == 256
