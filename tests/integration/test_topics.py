from confluent_kafka.admin import AdminClient

from deploy.local.kafka import LocalKafka
from streams.cli.topics import declared
from streams.config import load_settings
from streams.topics import Action, Topic, TopicAdmin


def admin(kafka: LocalKafka) -> TopicAdmin:
    return TopicAdmin({"bootstrap.servers": kafka.bootstrap})


def test_applying_creates_everything_and_then_nothing(kafka: LocalKafka, topic_prefix: str) -> None:
    settings = load_settings(
        env={}, overrides={"kafka": {"topic_prefix": topic_prefix}, "topics": {"partitions": 2, "retention_hours": 5}}
    )
    topics = declared(settings)
    done = admin(kafka).apply(topics)
    assert {change.action for change in done} == {Action.CREATE}
    assert len(done) == len(topics)
    assert admin(kafka).apply(topics) == []
    found = admin(kafka).find([topic_prefix + "predictions", topic_prefix + "state", topic_prefix + "nothing"])
    assert set(found) == {topic_prefix + "predictions", topic_prefix + "state"}
    assert found[topic_prefix + "predictions"].partitions == 2
    assert found[topic_prefix + "predictions"].config["retention.ms"] == str(5 * 3_600_000)
    assert found[topic_prefix + "state"].config["cleanup.policy"] == "compact"


def test_applying_grows_and_corrects_and_deletes_nothing(kafka: LocalKafka, topic_prefix: str) -> None:
    name, other = topic_prefix + "grown", topic_prefix + "foreign"
    admin(kafka).apply([Topic(name, 1, 1, {"retention.ms": "60000"}), Topic(other, 1)])
    done = admin(kafka).apply([Topic(name, 3, 1, {"retention.ms": "120000"})])
    assert [change.action for change in done] == [Action.GROW, Action.CONFIGURE]
    found = admin(kafka).find([name, other])
    assert found[name].partitions == 3
    assert found[name].effective["retention.ms"] == "120000"
    assert other in AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=30).topics


def test_a_fixed_topic_is_left_and_said(kafka: LocalKafka, topic_prefix: str) -> None:
    name = topic_prefix + "state"
    admin(kafka).apply([Topic(name, 1, fixed=True)])
    (kept,) = admin(kafka).apply([Topic(name, 3, fixed=True)])
    assert kept.action is Action.KEEP
    assert admin(kafka).find([name])[name].partitions == 1
