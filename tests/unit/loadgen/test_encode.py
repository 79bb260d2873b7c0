import msgspec
import numpy as np
import pyarrow as pa

from loadgen.columns import Predictions
from loadgen.encode import arrow_messages, json_messages, messages
from loadgen.encode_families import json_of
from loadgen.scenarios import demo
from schemas.predictions import Prediction

START_MS = 1_780_000_000_000
decoder = msgspec.json.Decoder(Prediction)


def made(place: int, second: int) -> Predictions:
    block = next(demo().mix(START_MS).seconds(second, second + 1))[place]
    assert isinstance(block, Predictions)
    return block


def test_every_message_is_a_valid_prediction() -> None:
    for predictions in (made(place, 0) for place in range(3)):
        encoded = json_messages(predictions)
        assert len(encoded) == len(predictions)
        for place, message in enumerate(encoded):
            event = decoder.decode(message.value)
            assert event.event_id == predictions.event_id[place]
            assert event.ts_ms == message.ts_ms == predictions.ts_ms[place]
            assert event.latency_ms == round(float(predictions.response.latency_ms[place]), 6)


def test_null_features_are_null_on_the_wire() -> None:
    predictions = made(1, 2500)
    nulls = np.isnan(predictions.features["user_embedding_norm"].astype(float))
    assert nulls.any()
    decoded = [decoder.decode(message.value) for message in json_messages(predictions)]
    seen = [event.features is not None and event.features["user_embedding_norm"] is None for event in decoded]
    assert seen == nulls.tolist()


def test_arrow_carries_what_json_carries() -> None:
    predictions = made(2, 5)
    (message,) = arrow_messages(predictions)
    rows = pa.ipc.open_stream(message.value).read_all().to_pylist()
    assert message.events == len(rows) == len(predictions)
    for row, encoded in zip(rows, json_messages(predictions), strict=True):
        event = decoder.decode(encoded.value)
        assert row["event_id"] == event.event_id
        assert row["ts_ms"] == event.ts_ms
        assert row["segment"] == event.segment
        assert event.gen_ai is not None
        assert row["gen_ai"]["output_tokens"] == event.gen_ai.output_tokens


def test_a_mix_is_merged_by_event_time() -> None:
    played = list(messages(demo().mix(START_MS).seconds(0, 20), json_of))
    times = [message.ts_ms for message in played]
    assert times == sorted(times)
    assert len({message.key.rsplit(b"-", 3)[0] for message in played}) == 3
