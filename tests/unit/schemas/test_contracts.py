"""The examples, the generated schemas, the topics and the names hold together."""

import importlib
import json
from pathlib import Path

import msgspec
import pytest

import schemas
from schemas import control, generate, labels, names, topics
from schemas.codecs import DECODERS
from schemas.columns import Reason
from schemas.predictions import GenAi, Prediction

HERE = Path(schemas.__file__).parent
EXAMPLES = sorted((HERE / "examples").glob("*.json"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_a_message_and_says_nothing_that_is_not_read(path: Path) -> None:
    struct = generate.PUBLIC[path.name.split(".")[0]]

    message = msgspec.json.decode(path.read_bytes(), type=struct)

    said = json.loads(path.read_text(encoding="utf-8"))
    read = json.loads(msgspec.json.encode(message))
    assert {name: value for name, value in said.items() if value is not None} == read


def test_every_public_family_has_an_example_and_every_topic_a_declaration() -> None:
    assert {path.name.split(".")[0] for path in EXAMPLES} == set(generate.PUBLIC)
    assert {topic.name for topic in topics.declarations()} == {name.value for name in topics.TopicName}


@pytest.mark.parametrize("topic", list(topics.SOURCES))
def test_examples_of_source_topics_decode_into_columns(topic: topics.TopicName) -> None:
    messages = [path.read_bytes() for path in EXAMPLES if path.name.startswith(f"{topic.value}.")]

    decoded = DECODERS[topics.SOURCES[topic]](messages, None, None)

    assert not decoded.dead
    assert len(decoded.columns) == len(messages) > 0


@pytest.mark.parametrize("name", sorted(generate.outputs()))
def test_generated_schemas_are_up_to_date(name: str) -> None:
    path = HERE / name

    assert path.read_text(encoding="utf-8") == generate.outputs()[name], "run python -m schemas.generate"


def test_nothing_but_what_is_generated_stands_beside_it() -> None:
    found = {f"{folder}/{path.name}" for folder in ("json", "avro") for path in (HERE / folder).iterdir()}

    assert found == set(generate.outputs())


def test_the_json_schema_names_what_is_required() -> None:
    definition = generate.json_schema("predictions")["$defs"]["Prediction"]

    assert definition["required"] == ["ts_ms", "model"]
    assert set(definition["properties"]) == set(Prediction.__struct_fields__)


def test_avro_defines_a_record_once_and_gives_optional_fields_null() -> None:
    text = json.dumps(generate.avro_schema("alerts"))

    assert text.count('"name": "Observation"') == 1
    assert '"halcyon.Observation"' in text
    fields = {field["name"]: field for field in generate.avro_schema("predictions")["fields"]}
    assert fields["score"] == {"name": "score", "type": ["null", "double"], "default": None}
    assert "default" not in fields["model"]


def test_source_topics_are_stamped_by_the_broker_and_take_what_is_too_large_to_decode() -> None:
    declared = {topic.name: topic for topic in topics.declarations(topics.Sizes(partitions=3), "x.")}

    for name in topics.SOURCES:
        config = declared[f"x.{name}"].config
        assert config["message.timestamp.type"] == "LogAppendTime"
        dead_letters = int(declared["x.dead-letters"].config["max.message.bytes"])
        assert 10 * topics.MIB < int(config["max.message.bytes"]) < dead_letters
    assert declared["x.state"].config["cleanup.policy"] == "compact"
    assert declared["x.state"].partitions == declared["x.panes"].partitions == 3
    assert declared["x.findings"].partitions == 1


def test_renamed_attributes_end_in_a_name_that_is_not_renamed_again() -> None:
    for name in names.RENAMED:
        assert names.modern(name) not in names.RENAMED
        assert names.field_of(name) is not None, name


def test_every_mapped_field_is_one_that_messages_have() -> None:
    families = importlib.import_module("schemas.codecs.families")
    known = {
        *families.PREDICTIONS.numeric,
        *families.PREDICTIONS.counted,
        *families.GPU.numeric,
        "memory_used_ratio",
    }

    assert {field for field, _ in names.FIELDS.values()} <= known


def test_labels_are_read_strictly() -> None:
    assert labels.decode(b'{"event_id":"a","ts_ms":5,"model":"m","label":1}').label == 1

    with pytest.raises(msgspec.ValidationError, match=r"\$.event_id"):
        labels.decode(b'{"event_id":"","ts_ms":5,"model":"m","label":1}')


def test_control_messages_go_round() -> None:
    message = control.Control(kind=control.ControlKind.SILENCE, matchers={"model": "m"}, ends_ms=9)

    assert control.decode(control.encode(message)) == message

    with pytest.raises(msgspec.ValidationError, match=r"\$.kind"):
        control.decode(b'{"kind":"joke"}')


def test_the_reference_shows_every_example_field_reason_and_topic() -> None:
    text = (HERE.parent / "docs" / "messages.md").read_text(encoding="utf-8")

    for path in EXAMPLES:
        assert path.read_text(encoding="utf-8").rstrip() in text, f"docs/messages.md has another {path.name}"
    for topic in topics.TopicName:
        assert f"## {topic}\n" in text or f"`{topic}`" in text
    for name in (*Prediction.__struct_fields__, *GenAi.__struct_fields__, *Reason):
        assert f"`{name}`" in text, name
