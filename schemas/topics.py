"""The topics, as data: what ``halcyon topics apply`` creates. Names and meanings of the settings are Kafka's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from schemas.scopes import Family

HOUR_MS: Final = 3_600_000
MIB: Final = 1024 * 1024


class TopicName(StrEnum):
    """All topics; an installation may put a prefix before each."""

    PREDICTIONS = "predictions"
    FEATURES = "features"
    GPU_TELEMETRY = "gpu-telemetry"
    LABELS = "labels"
    CONTROL = "control"
    BASELINES = "baselines"
    PANES = "panes"
    FINDINGS = "findings"
    ROWS = "rows"
    STATE = "state"
    ALERTS = "alerts"
    DEAD_LETTERS = "dead-letters"


SOURCES: Final[Mapping[TopicName, Family]] = {
    TopicName.PREDICTIONS: Family.PREDICTION,
    TopicName.FEATURES: Family.FEATURE,
    TopicName.GPU_TELEMETRY: Family.GPU,
    TopicName.LABELS: Family.LABEL,
}
"""Source topic → the family of its events."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What differs between installations.

    ``partitions`` is of each source topic, of ``panes`` and of ``state``. ``max_message_bytes`` is what a source topic
    takes: well above what is decoded, so that a message that is too large arrives, and is told of, instead of being
    refused by the broker where only its producer sees it.
    """

    partitions: int = 8
    retention_hours: int = 72
    internal_retention_hours: int = 24
    dead_letter_retention_hours: int = 168
    max_message_bytes: int = 12 * MIB


@dataclass(frozen=True, slots=True)
class TopicDeclaration:
    """One topic as it should be; ``config`` holds the broker's own names and values, as text."""

    name: str
    partitions: int
    config: Mapping[str, str]


_DEFAULTS: Final = Sizes()


def declarations(sizes: Sizes = _DEFAULTS, prefix: str = "") -> tuple[TopicDeclaration, ...]:
    """All topics of an installation.

    Source topics are stamped by the broker (``LogAppendTime``): only then does the append time say something about how
    far ahead a producer's clock is. ``findings``, ``alerts`` and ``control`` are tiny and ordered: one partition.

    Examples
    --------
    >>> [(t.name, t.partitions) for t in declarations(Sizes(partitions=4), "prod.")][:2]
    [('prod.predictions', 4), ('prod.features', 4)]
    """
    many, keep, inner = sizes.partitions, sizes.retention_hours, sizes.internal_retention_hours
    raw = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(sizes.max_message_bytes)}
    # a dead letter is its message and a few headers more
    dead = {"max.message.bytes": str(sizes.max_message_bytes + MIB)}
    large = {"max.message.bytes": str(16 * MIB)}
    # People write it, and librdkafka, which reads it, decompresses without a bound: a thousandfold of this is bearable.
    small = {"max.message.bytes": str(MIB // 16)}
    declared = (
        (TopicName.PREDICTIONS, many, _kept(keep) | raw),
        (TopicName.FEATURES, many, _kept(keep) | raw),
        (TopicName.GPU_TELEMETRY, many, _kept(keep) | raw),
        (TopicName.LABELS, many, _kept(keep) | raw),
        (TopicName.CONTROL, 1, {"cleanup.policy": "delete", "retention.ms": "-1"} | small),
        (TopicName.BASELINES, 1, _compacted() | large),
        (TopicName.PANES, many, _kept(inner) | large),
        (TopicName.FINDINGS, 1, _kept(inner)),
        (TopicName.ROWS, many, _kept(inner) | large),
        (TopicName.STATE, many, _compacted() | large),
        (TopicName.ALERTS, 1, _kept(keep)),
        (TopicName.DEAD_LETTERS, many, _kept(sizes.dead_letter_retention_hours) | dead),
    )
    return tuple(TopicDeclaration(prefix + name, count, config) for name, count, config in declared)


def _kept(hours: int) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(hours * HOUR_MS)}


def _compacted() -> dict[str, str]:
    return {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1", "segment.ms": str(HOUR_MS)}
