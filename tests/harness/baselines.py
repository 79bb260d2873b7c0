"""Baselines that are there before the first event: with them, nothing depends on when one is learned."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from detectors.baseline import from_table
from schemas import rows as row_codec
from schemas.baselines import Baseline
from schemas.scopes import Family, Scope
from schemas.topics import TopicName
from streams.analyse.rows import baseline_rows
from streams.baselines import message
from streams.producer import Producer
from tests.harness.installation import Installation
from tests.harness.traffic import MODELS, Floats, Traffic

_ROWS: Final = 4_000


def publish_baselines(
    installation: Installation, traffic: Traffic, models: Sequence[tuple[str, str]] = MODELS
) -> dict[tuple[str, str], Mapping[str, Floats]]:
    """Baselines of all that the models' events measure, in force from the first pane on; edges by model and quantity.

    They are made of the first sixth of the traffic, before anything is wrong in it.
    """
    return {model: _publish_one(installation, traffic, model) for model in models}


def _publish_one(installation: Installation, traffic: Traffic, model: tuple[str, str]) -> Mapping[str, Floats]:
    rng = np.random.default_rng(5)
    own = np.flatnonzero((traffic.model == MODELS.index(model)) & (traffic.base_ms < traffic.span_ms / 6))
    sample = rng.choice(own, min(_ROWS, len(own)), replace=False)
    columns = {name: values[sample] for name, values in traffic.numeric.items()}
    scope = Scope(Family.PREDICTION, *model)
    baseline = from_table(scope, columns, built_from="a sample", effective_from_ms=traffic.start_ms)
    asyncio.run(_send(installation, baseline))
    return {quantity.name: np.frombuffer(quantity.edges, "<f8") for quantity in baseline.numeric if quantity.edges}


async def _send(installation: Installation, baseline: Baseline) -> None:
    producer = Producer(installation.kafka.bootstrap, max_message_bytes=14 << 20)
    key, value = message(baseline)
    producer.send(installation.topic(TopicName.BASELINES), value, key=key)
    for batch in baseline_rows(baseline, 1):
        producer.send(installation.topic(TopicName.ROWS), row_codec.encode(batch), key=batch.table.encode())
    await producer.barrier()
    await producer.close()
