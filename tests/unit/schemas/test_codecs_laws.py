"""What holds for any input: nothing is lost, nothing raises, and where a batch is cut changes nothing."""

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.codecs import DECODERS, Limits, decode_predictions, encode_arrow
from schemas.predictions import Prediction
from schemas.scopes import Family
from tests.unit.schemas.canon import covered, events, joined, letters

NOW_MS = 1_767_225_600_000
LIMITS = Limits(
    max_message_bytes=2_000, max_features=4, max_segments=2, max_text_chars=8, max_events_per_message=6, max_future_s=60
)
LAWS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

names = st.sampled_from(["amount", "country", "age", "über", "a_name_too_long", "x", "y"])
floats = st.floats(allow_nan=False, allow_infinity=False, width=32)
values = (
    st.none()
    | floats
    | st.integers(-(10**20), 10**20)
    | st.booleans()
    | st.sampled_from(["DE", "FR", "", "longer than eight"])
)
times = st.sampled_from([NOW_MS, NOW_MS + 1, NOW_MS + 59_000, NOW_MS + 61_000, 0, -5, NOW_MS // 1000, NOW_MS * 1000])
anything = st.recursive(
    values, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2), max_leaves=4
)
gen_ai = st.fixed_dictionaries(
    {},
    optional={
        "input_tokens": st.integers(0, 9),
        "error_type": st.none() | st.just("oom"),
        "finish_reason": st.sampled_from(["stop", "length"]),
    },
)
good = st.fixed_dictionaries(
    {"ts_ms": times, "model": st.sampled_from(["cards", "a model with a long name", "llm"])},
    optional={
        "event_id": st.none() | st.text(max_size=12),
        "model_version": st.none() | st.sampled_from(["1", "2", "a long version"]),
        "segment": st.none() | st.dictionaries(names, values, max_size=4),
        "latency_ms": st.none() | st.floats(-1, 1e6, allow_nan=False),
        "status": st.none() | st.sampled_from(["ok", "timeout", "a long status", "a long status too"]),
        "score": st.none() | floats,
        "decision": st.none() | st.text(max_size=9),
        "features": st.none() | st.dictionaries(names, values, max_size=6),
        "gen_ai": st.none() | gen_ai,
        "extra": anything,
    },
)  # fmt: skip
wrong = st.dictionaries(
    st.sampled_from(["ts_ms", "model", "latency_ms", "features", "segment", "status", "gen_ai"]), anything, max_size=5
)


def as_json(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


def arrow(batch: list[dict[str, Any]]) -> bytes:
    """Events of the first one's schema; the others' features take part by name."""
    shape = list(batch[0].get("features") or {})
    rows = [
        {
            **{name: event.get(name) for name in ("event_id", "model_version", "status", "decision", "latency_ms")},
            "ts_ms": min(event["ts_ms"], 2**62),
            "model": event["model"],
            "features": {name: float(n) for n, name in enumerate(shape)} or None,
        }
        for event in batch
    ]
    return encode_arrow({name: [row[name] for row in rows] for name in rows[0]})


messages = st.one_of(
    good.map(as_json),
    good.map(as_json),
    wrong.map(as_json),
    good.map(lambda event: b"\0\0\0\0\7" + as_json(event)),
    good.map(lambda event: as_json(event)[:-7]),
    st.lists(good, min_size=1, max_size=8).map(arrow),
    st.lists(good, min_size=1, max_size=3).map(arrow).flatmap(
        lambda raw: st.tuples(st.integers(0, len(raw) - 1), st.binary(max_size=8)).map(
            lambda cut: raw[: cut[0]] + cut[1] + raw[cut[0] + len(cut[1]) :]
        )
    ),
    st.binary(max_size=40),
    st.none(),
    st.just(b""),
    st.just(b"{" + b" " * 3_000 + b"}"),
)  # fmt: skip


@pytest.mark.parametrize("family", list(DECODERS))
@given(batch=st.lists(messages, max_size=12))
@LAWS
def test_nothing_is_lost_and_nothing_raises(family: Family, batch: list[bytes | None]) -> None:
    decoded = DECODERS[family](batch, None, [NOW_MS] * len(batch), LIMITS)

    covered(decoded, len(batch))


@given(batch=st.lists(messages, max_size=12), cuts=st.lists(st.integers(0, 12), max_size=4))
@LAWS
def test_where_a_batch_is_cut_changes_nothing(batch: list[bytes | None], cuts: list[int]) -> None:
    stamps = [NOW_MS] * len(batch)
    whole = decode_predictions(batch, None, stamps, LIMITS)
    bounds = sorted({0, len(batch), *(cut for cut in cuts if cut < len(batch))})
    parts = [
        (start, decode_predictions(batch[start:end], None, stamps[start:end], LIMITS))
        for start, end in pairwise(bounds)
    ]

    assert joined(parts) == (events(whole.columns), letters(whole))


@given(event=good, other=good, count=st.integers(1, 4))
@LAWS
def test_a_batch_of_one_schema_says_what_each_message_says_alone(
    event: dict[str, Any], other: dict[str, Any], count: int
) -> None:
    batch = [as_json(event)] * 40 * count + [as_json(other)] + [as_json(event)] * 30

    whole = decode_predictions(batch, None, None, LIMITS)

    parts = [(start, decode_predictions([message], None, None, LIMITS)) for start, message in enumerate(batch)]
    assert joined(parts) == (events(whole.columns), letters(whole))


short = st.none() | st.text(max_size=3)
clean = st.builds(
    Prediction,
    ts_ms=st.integers(NOW_MS, NOW_MS + 1000),
    model=st.sampled_from(["cards", "llm"]),
    event_id=st.none() | st.text(max_size=5),
    model_version=st.none() | st.text(max_size=3),
    segment=st.none() | st.fixed_dictionaries({"country": short, "web": short}),
    latency_ms=st.none() | st.floats(0, 1e9),
    status=st.none() | st.sampled_from(["ok", "timeout"]),
    score=st.none() | floats,
    decision=st.none() | st.text(max_size=3),
    features=st.none() | st.fixed_dictionaries({"b": st.none() | floats, "a": short, "c": st.none() | st.booleans()}),
)  # fmt: skip


@given(batch=st.lists(clean, min_size=1, max_size=8))
@LAWS
def test_arrow_says_what_json_says(batch: list[Prediction]) -> None:
    by_json = decode_predictions([msgspec.json.encode(event) for event in batch])
    by_arrow = decode_predictions([encode_arrow(batch)])

    assert letters(by_arrow) == letters(by_json) == []
    places = ("record", "index")
    said = [{k: v for k, v in event.items() if k not in places} for event in events(by_arrow.columns)]
    assert said == [{k: v for k, v in event.items() if k not in places} for event in events(by_json.columns)]
