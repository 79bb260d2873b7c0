"""``halcyon gpu-agent`` on a real broker."""

from __future__ import annotations

import msgspec
import pytest

from deploy.local.kafka import LocalKafka
from schemas.gpu import GpuSample
from schemas.topics import Sizes, declarations
from streams.cli.app import run
from streams.cli.feed import Feed
from streams.config import KafkaSettings
from streams.topics import Topic, TopicAdmin
from tests.unit.alert.helpers import T0


def test_a_sample_of_each_gpu_arrives(
    kafka: LocalKafka, topic_prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = next(
        one for one in declarations(Sizes(partitions=2), topic_prefix) if one.name.endswith("gpu-telemetry")
    )
    TopicAdmin({"bootstrap.servers": kafka.bootstrap}).apply(
        [Topic(declared.name, declared.partitions, 1, declared.config)]
    )
    monkeypatch.setenv("HALCYON_KAFKA__BOOTSTRAP_SERVERS", kafka.bootstrap)
    monkeypatch.setenv("HALCYON_KAFKA__TOPIC_PREFIX", topic_prefix)
    assert run(["gpu-agent", "--once", "--simulate", "7", "--gpus", "3", "--host", "node-1", "--model", "llm"]) == 0
    assert "3 samples sent" in capsys.readouterr().err
    found: list[GpuSample] = []
    with Feed(
        KafkaSettings(bootstrap_servers=kafka.bootstrap), declared.name, msgspec.json.Decoder(GpuSample).decode
    ) as feed:
        while len(found) < 3:
            found += feed.take(1.0)
    assert {(sample.host, sample.model, sample.gpu_index) for sample in found} == {
        ("node-1", "llm", n) for n in range(3)
    }
    assert all(sample.ts_ms > T0 for sample in found)
