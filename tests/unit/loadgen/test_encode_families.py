from collections.abc import Mapping

import msgspec
import numpy as np
import pytest

from loadgen.columns import Columns, GpuSamples, rows
from loadgen.encode_families import arrow_of, json_of
from loadgen.producer import Message
from schemas import labels
from schemas.codecs import DECODERS
from schemas.columns import EventColumns
from schemas.features import FeatureRead
from schemas.gpu import GpuSample
from schemas.predictions import Prediction
from schemas.scopes import Family
from schemas.topics import SOURCES, TopicName
from tests.unit.loadgen.scenes import injection, scene, written

XID = injection("gpu-0", {"effect": "xid", "code": 79, "every_s": 20}, kind="gpu_xid", onset_s=0, end_s=60)
NULLS = injection("history", {"effect": "nulls", "feature": "orders", "ratio": 0.3}, name="n", onset_s=0, end_s=60)
BLOCKS = written(scene(XID, NULLS), 0, 600)
STRUCTS: Mapping[TopicName, type[msgspec.Struct]] = {
    TopicName.PREDICTIONS: Prediction,
    TopicName.LABELS: labels.Label,
    TopicName.FEATURES: FeatureRead,
    TopicName.GPU_TELEMETRY: GpuSample,
}


def of(topic: TopicName) -> Columns:
    return next(block for block in BLOCKS if block.topic is topic)


def decoded(topic: TopicName, messages: list[Message]) -> EventColumns:
    made = DECODERS[SOURCES[topic]]([message.value for message in messages])
    assert list(made.dead) == []
    return made.columns


@pytest.mark.parametrize("topic", STRUCTS)
def test_every_message_is_valid_json_of_its_family(topic: TopicName) -> None:
    block = of(topic)
    messages = json_of(block)
    assert [message.ts_ms for message in messages] == block.ts_ms.tolist()
    for message in messages:
        event = msgspec.json.decode(message.value, type=STRUCTS[topic])
        assert event.ts_ms == message.ts_ms  # type: ignore[attr-defined]


@pytest.mark.parametrize("topic", SOURCES)
def test_arrow_is_decoded_to_what_json_is_decoded_to(topic: TopicName) -> None:
    block = of(topic)
    (message,) = arrow_of(block)
    assert (message.events, message.ts_ms) == (len(block), block.ts_ms[-1])
    one, two = decoded(topic, json_of(block)), decoded(topic, [message])
    np.testing.assert_array_equal(one.ts_ms, two.ts_ms)
    assert [one.keys[k] for k in one.key] == [two.keys[k] for k in two.key]
    assert set(one.numeric) == set(two.numeric)
    for name in one.numeric:
        np.testing.assert_allclose(one.numeric[name], two.numeric[name], atol=1e-6)
    for name in one.counted:
        a, b = one.counted[name], two.counted[name]
        assert [a.values[c] for c in a.codes] == [b.values[c] for c in b.codes]
    assert len(one.blocks) == len(two.blocks) == int(topic in {TopicName.PREDICTIONS, TopicName.FEATURES})
    for a_block, b_block in zip(one.blocks, two.blocks, strict=True):
        assert a_block.names == b_block.names
        np.testing.assert_allclose(a_block.values, b_block.values, atol=1e-6)


def test_keys_are_those_of_the_family() -> None:
    reads, samples, told = of(TopicName.FEATURES), of(TopicName.GPU_TELEMETRY), of(TopicName.LABELS)
    assert json_of(reads)[0].key.startswith(b"entity-")
    assert json_of(samples)[0].key.startswith(b"GPU-")
    assert json_of(told)[0].key.startswith(b"cards-a-1-")


def test_what_is_null_is_left_out_and_freshness_is_told() -> None:
    columns = decoded(TopicName.FEATURES, json_of(of(TopicName.FEATURES)))
    (block,) = columns.blocks
    assert np.isnan(block.values[block.names.index("orders")]).any()
    assert (columns.numeric["freshness_ms"] > 0).all()
    assert columns.family is Family.FEATURE


def test_xids_travel_with_their_sample() -> None:
    block = next(b for b in BLOCKS if isinstance(b, GpuSamples) and any(b.xid))
    for messages in (json_of(block), arrow_of(block)):
        xid = decoded(TopicName.GPU_TELEMETRY, messages).counted["xid"]
        assert xid.rows.tolist() == [place for place, codes in enumerate(block.xid) if codes]
        assert set(xid.values) == {"79"}


@pytest.mark.parametrize("topic", STRUCTS)
def test_nothing_makes_no_message(topic: TopicName) -> None:
    nothing = rows(of(topic), slice(0, 0))
    assert json_of(nothing) == arrow_of(nothing) == []
