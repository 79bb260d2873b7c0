"""Puts the ingest stage together out of the settings."""

from schemas.codecs import Limits
from schemas.topics import SOURCES, TopicName
from streams.baselines import BaselineFeed
from streams.clock import Clock
from streams.config import Settings
from streams.ingest.scoping import PaneLimits
from streams.ingest.stage import Brokers, IngestStage, IngestTimes, IngestTopics
from streams.metrics import Metrics
from streams.state import Sender


def ingest_stage(
    settings: Settings, clock: Clock, metrics: Metrics, producer: Sender, brokers: Brokers, feed: BaselineFeed
) -> IngestStage:
    """The stage that turns raw events into panes."""
    kafka, caps, times = settings.kafka, settings.caps, settings.time
    topics = IngestTopics(
        {kafka.source(name): family for name, family in SOURCES.items()},
        kafka.topic(TopicName.PANES),
        kafka.topic(TopicName.DEAD_LETTERS),
    )
    return IngestStage(
        topics,
        IngestTimes(times.pane_s * 1000, int(times.out_of_orderness_s * 1000), times.idle_timeout_s),
        pane_limits(settings),
        Limits(
            max_message_bytes=caps.max_message_bytes,
            max_decompressed_bytes=caps.max_decompressed_bytes,
            max_events_per_message=caps.max_events_per_message,
            max_values_per_message=caps.max_values_per_message,
            max_features=caps.features_per_event,
            max_segments=caps.segments_per_event,
            max_text_chars=caps.text_chars,
            max_future_s=int(times.max_future_s),
        ),
        producer,
        brokers,
        feed,
        metrics,
        clock,
    )


def pane_limits(settings: Settings) -> PaneLimits:
    """The caps of a pane, from the settings."""
    caps = settings.caps
    return PaneLimits(
        scopes=caps.scopes,
        features=caps.features_per_scope,
        categories=caps.categories_per_feature,
        segments=caps.segments,
        segment_fields=settings.segments.fields,
        sample_rows=caps.sample_rows,
        sample_bytes=caps.sample_bytes,
        sample_ids=caps.sample_ids,
    )
