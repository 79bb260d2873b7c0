"""Labels through real workers: what they say is in ClickHouse, under their own family, and what is none is buried."""

import json
import time
from pathlib import Path

import pytest

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from schemas.codecs import encode_arrow
from schemas.topics import TopicName
from tests.harness.installation import LEARNING, STAGES, installed
from tests.harness.waiting import wait_for

QUICK = {**LEARNING, "HALCYON_TIME__IDLE_TIMEOUT_S": "2", "HALCYON_TOPICS__PARTITIONS": "2"}
SHOWN_S = 180


@pytest.mark.slow
def test_labels_are_counted_beside_the_predictions_of_their_model(
    kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path: Path
) -> None:
    start_ms = int(time.time() * 1000) // 60_000 * 60_000 - 300_000
    times = [start_ms + 100 * i for i in range(500)]
    with installed(kafka, clickhouse, tmp_path, QUICK) as installation:
        installation.start(*STAGES)
        producer, labels = installation.producer(), installation.topic(TopicName.LABELS)
        classes = {
            "event_id": ["c0", "c1", "c2"],
            "ts_ms": times[:3],
            "model": ["claims"] * 3,
            "label": ["a", "b", "a"],
        }
        producer.produce(labels, encode_arrow(classes), partition=0)
        for i, ts_ms in enumerate(times):
            told = {"event_id": f"e{i}", "ts_ms": ts_ms, "model": "cards", "label": i % 5 == 0}
            producer.produce(labels, json.dumps(told).encode(), key=f"e{i}", partition=i % 2)
        producer.produce(labels, b'{"event_id": "x", "ts_ms": 1767225600000, "model": "cards"}', partition=1)
        asked = {"ts_ms": times[:50], "model": ["cards"] * 50, "score": [0.5] * 50}
        producer.produce(installation.topic(TopicName.PREDICTIONS), encode_arrow(asked), partition=0)
        assert producer.flush(60) == 0

        def shown() -> list[tuple[object, ...]]:
            installation.check_alive()
            return installation.query(
                "SELECT family, model, sum(rows) + sum(late) FROM volume "
                "WHERE window_s = 10 AND segment = '' AND model != '__invalid__' GROUP BY family, model ORDER BY ALL"
            )

        expected = [("label", "cards", 500), ("label", "claims", 3), ("prediction", "cards", 50)]
        wait_for("all are shown", shown, SHOWN_S, until=lambda rows: rows == expected)
        (numbers,) = installation.query(
            "SELECT sum(count), sum(sum) FROM windows WHERE family = 'label' AND quantity = 'label' AND window_s = 10"
        )
        assert numbers == (500, 100.0)
        counted = installation.query(
            "SELECT value, sum(count) FROM categories WHERE family = 'label' AND model = 'claims' "
            "AND quantity = 'label' AND window_s = 10 GROUP BY value ORDER BY value"
        )
        assert counted == [("a", 2), ("b", 1)]
        letters = wait_for("a dead letter", lambda: installation.read(TopicName.DEAD_LETTERS), SHOWN_S)
        assert [b'"x"' in (letter.value() or b"") for letter in letters] == [True]
        assert set(installation.stop().values()) == {0}
