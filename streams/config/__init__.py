"""The settings: one immutable tree, read once from defaults, a file, the environment and the command line.

This package alone reads the environment. Everything else is given the section it needs.
"""

from streams.config.baselines import BaselineSettings
from streams.config.loading import load_settings
from streams.config.sections import (
    AlertSettings,
    CapSettings,
    ClickHouseSettings,
    DecisionSettings,
    HealthSettings,
    KafkaSettings,
    LoggingSettings,
    SegmentSettings,
    TimeSettings,
    TopicSettings,
    WebSettings,
)
from streams.config.slos import SloSettings
from streams.config.tree import Settings

__all__ = [
    "AlertSettings",
    "BaselineSettings",
    "CapSettings",
    "ClickHouseSettings",
    "DecisionSettings",
    "HealthSettings",
    "KafkaSettings",
    "LoggingSettings",
    "SegmentSettings",
    "Settings",
    "SloSettings",
    "TimeSettings",
    "TopicSettings",
    "WebSettings",
    "load_settings",
]
